"""Tables of metrics: plain text for the terminal, HTML, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

ROWS = {
    "psnr": "PSNR (dB)",
    "psnr_single_sample": "  of a single sample",
    "psnr_naive": "  of the noisy input",
    "psnr_blur": "  of the blurred input",
    "psnr_clean_mixture": "  of the noise-free input",
    "ms_ssim": "MS-SSIM",
    "ms_ssim_aligned": "  aligned",
    "noise_correlation": "correlation with noise",
    "calibration_error": "calibration error",
    "calibration_error_unscaled": "  before calibration",
}


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV text: a header and one line per row; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def metrics_columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the table: the structures and, if there are several, their mean."""
    columns = dict(metrics["structures"])
    return columns | {"mean": metrics["mean"]} if len(columns) > 1 else columns


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Return the metrics as plain text, with standard errors: one column per structure."""
    first = f"{metrics['frames']} frames, {metrics['samples']} samples\n"
    return first + text_table(metrics_columns(metrics))


def text_table(columns: Mapping[str, Any], corner: str = "") -> str:
    """Return metrics of named columns as plain text; ``corner`` is above the row labels."""
    width = max([16, *(len(name) + 2 for name in columns)])
    lines = [f"{corner:<24}" + "".join(f"{name:>{width}}" for name in columns)]
    for label, cells in table_rows(columns):
        lines.append(f"{label:<24}" + "".join(f"{text:>{width}}" for text in cells))
    return "\n".join(lines) + "\n"


def html_table(columns: Mapping[str, Any]) -> str:
    """Return metrics of named columns as HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = []
    for label, texts in table_rows(columns):
        cells = "".join(f"<td>{text}</td>" for text in texts)
        kind = "inner" if label.startswith(" ") else "main"
        body.append(f'<tr class="{kind}"><th>{escape(label.strip())}</th>{cells}</tr>')
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def table_rows(columns: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return label and cells of each metric that all columns have; older runs have fewer."""
    return [
        (label, [cell(column[key], key) for column in columns.values()])
        for key, label in ROWS.items()
        if all(key in column for column in columns.values())
    ]


def cell(average: Mapping[str, float | None], key: str) -> str:
    """Return one value with its standard error, or a dash if there is none."""
    digits = 2 if key.startswith("psnr") else 3
    mean, sem = average["mean"], average["sem"]
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" if sem is None else f"{mean:.{digits}f} ± {sem:.{digits}f}"
