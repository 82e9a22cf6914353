"""Tables of metrics: plain text for the terminal, HTML, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from denoisplit.jobs.options import FEW
from denoisplit.report.verdicts import error_bar_sentences, verdict_sentences

ROWS = {
    "psnr": "PSNR (dB)",
    "psnr_single_sample": "  of a single sample",
    "psnr_naive": "  of the noisy input",
    "psnr_blur": "  of the blurred input",
    "psnr_clean_mixture": "  of the noise-free input",
    "psnr_estimated": "PSNR, estimated without truth",
    "psnr_estimated_blur": "  of the best blurred input",
    "psnr_estimated_unsplit": "  of the unsplit mixture, denoised",
    "ms_ssim": "MS-SSIM",
    "ms_ssim_aligned": "  aligned",
    "noise_correlation": "correlation with noise",
    "calibration_error": "calibration error",
    "calibration_error_unscaled": "  before calibration",
    "error_over_claimed": "error over error bar",
    "coverage": "coverage of the 90 % interval",
    "mean_width": "mean width of the 90 % interval",
    "interval_score": "  interval score",
    "ause": "AUSE of the error bar",
    "ause_spread": "  of the scaled spread",
    "spearman": "rank correlation with the error",
    "spearman_spread": "  of the scaled spread",
}
LEGEND = {  # key of the row that needs it -> how to read it
    "psnr": "± is the standard error over frames. Higher PSNR and MS-SSIM are better; MS-SSIM is "
    "at most 1.",
    "calibration_error": "A calibration error of 0.1 means that the spread is off by 10 %.",
    "error_over_claimed": "Error over error bar is 1 for error bars of the right size.",
    "interval_score": "The interval score is the width of the 90 % interval plus a penalty for "
    "pixels outside it, in raw intensity; lower is better.",
    "ause": "AUSE is the area between the sparsification curves of the error bar and of the true "
    "error: 0 where error bars rank the pixels as their errors do.",
}
DASH = "-"
ESTIMATED = [key for key in ROWS if key.startswith("psnr_estimated")]
OF_ERROR_BARS = list(ROWS)[list(ROWS).index("error_over_claimed") :]
COMPARISONS = [key for key in ROWS if key not in (*ESTIMATED, *OF_ERROR_BARS)]  # with a truth
# in metrics["reference"]; earlier versions compared with these images, which rewards kept noise
NOISY = "recorded, noisy images"
VERDICT = "verdict on "  # followed by a structure: key and label of its row
NO_VALUE = {"mean": None, "sem": None}


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV text: a header and one line per row; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def lacks_truth(metrics: Mapping[str, Any]) -> bool:
    """Return whether the metrics are those of recorded images without a truth."""
    return NOISY in metrics.get("reference", "")


def metrics_columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the table: the structures and, if there are several, their mean."""
    columns = _structure_columns(metrics)
    return columns | {"mean": mean_column(metrics)} if len(columns) > 1 else columns


def mean_column(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics averaged over structures, without comparisons with noisy images."""
    columns = list(_structure_columns(metrics).values())
    averages = {
        key: _average([column[key] for column in columns])
        for key in (*ESTIMATED, *OF_ERROR_BARS)
        if all(key in column for column in columns)
    }
    return averages | _without_noisy(metrics, metrics["mean"])


def _structure_columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    bars = metrics.get("error_bars") or {}
    return {
        name: _without_noisy(metrics, scores) | _bar_scores(bars.get(name))
        for name, scores in metrics["structures"].items()
    }


def _bar_scores(scores: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the rows of error bars; a ratio has a range only if it is estimated."""
    if scores is None:
        return {}
    rows = {key: scores[key] for key in OF_ERROR_BARS}
    if not scores["estimated"]:
        rows["error_over_claimed"] = rows["error_over_claimed"]["value"]
    return rows


def _without_noisy(metrics: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return scores without the values of comparisons with recorded, noisy images."""
    if not lacks_truth(metrics):
        return dict(scores)
    return {key: NO_VALUE if key in COMPARISONS else score for key, score in scores.items()}


def _average(scores: Sequence[Any]) -> Any:
    """Average numbers, or ranges part by part; None if one of them is None."""
    if any(isinstance(score, Mapping) for score in scores):
        parts = [score or {} for score in scores]
        return {
            part: _average([score.get(part) for score in parts])
            for part in ("value", "low", "high")
        }
    return None if None in scores else sum(scores) / len(scores)


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """Return the metrics as plain text: verdicts, then a table with one column per structure."""
    sentences = [*verdict_sentences(metrics), *error_bar_sentences(metrics)]
    few = f": too few to judge their spread, draw {FEW} or more" * (metrics["samples"] < FEW)
    first = f"{metrics['frames']} frames, {metrics['samples']} samples{few}\n"
    table = text_table(metrics_columns(metrics))
    return "".join(f"{sentence}\n" for sentence in sentences) + first + table


def reference_text(metrics: Mapping[str, Any]) -> str:
    """Return what the metrics were compared with, or that there was nothing to compare with."""
    if lacks_truth(metrics):
        return "no truth: numbers that need one are left out, others are estimated"
    return f"compared with: {metrics.get('reference', 'unknown')}"


def text_table(columns: Mapping[str, Any], corner: str = "") -> str:
    """Return metrics of named columns as plain text; ``corner`` is above the row labels."""
    rows = [(corner, list(columns)), *table_rows(columns)]
    first = max(24, *(len(label) + 1 for label, _ in rows))
    width = max([16, *(len(text) + 2 for _, texts in rows for text in texts)])
    lines = [
        f"{label:<{first}}" + "".join(f"{text:>{width}}" for text in texts) for label, texts in rows
    ]
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
    """Return label and cells of each metric that has a value in any column."""
    verdicts = {key: key for col in columns.values() for key in col if key.startswith(VERDICT)}
    rows: list[tuple[str, list[str]]] = []
    for key, label in reversed((verdicts | ROWS).items()):
        texts = [cell(column.get(key), key) for column in columns.values()]
        # an indented row needs the one above it
        is_needed = bool(rows) and rows[-1][0].startswith(" ") and not label.startswith(" ")
        if is_needed or any(text != DASH for text in texts):
            rows.append((label, texts))
    return rows[::-1]


def legend(columns: Mapping[str, Any]) -> str:
    """Return how to read the rows of `table_rows` that are not self-explanatory."""
    labels = {label for label, _ in table_rows(columns)}
    return " ".join(text for key, text in LEGEND.items() if ROWS[key] in labels)


def cell(score: Mapping[str, float | None] | float | str | None, key: str) -> str:
    """Return one value with its standard error or range, or a dash if there is none."""
    if score is None or isinstance(score, str):
        return score or DASH
    if not isinstance(score, Mapping):
        if key == "coverage":
            return f"{100 * score:.1f} %"
        return f"{score:.0f}" if abs(score) >= 99.5 else f"{score:#.3g}"
    if "value" in score:
        return range_text(score, " dB" if key.startswith("psnr") else "")
    digits = 2 if key.startswith("psnr") else 3
    mean, sem = score["mean"], score["sem"]
    if mean is None:
        return DASH
    return f"{mean:.{digits}f}" if sem is None else f"{mean:.{digits}f} ± {sem:.{digits}f}"


def range_text(score: Mapping[str, float | None], unit: str = "") -> str:
    """Return a value with its range; only a bound, or a dash, if that is all there is."""
    value, low, high = (score[part] for part in ("value", "low", "high"))
    digits = 1 if unit else 2
    if value is not None:
        number = f"{value:.{digits}f}{unit}"
        return (
            number if None in (low, high) else f"{number} ({low:.{digits}f} to {high:.{digits}f})"
        )
    # the error is not distinguishable from zero: a PSNR has no upper end, a ratio no lower one
    if high is None and low is not None:
        return f"above {low:.{digits}f}{unit}"
    return DASH if high is None else f"below {high:.{digits}f}{unit}"
