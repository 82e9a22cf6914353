"""Metrics as a table: plain text for the terminal, cells for the HTML page."""

from __future__ import annotations

from collections.abc import Mapping
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


def metrics_columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the table: every structure, and their mean where there are several."""
    columns = dict(metrics["structures"])
    return columns | {"mean": metrics["mean"]} if len(columns) > 1 else columns


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """One row per metric, one column per structure and for their mean, with standard errors."""
    columns = metrics_columns(metrics)
    width = max(16, *(len(name) + 2 for name in columns))
    lines = [f"{metrics['frames']} frames, {metrics['samples']} samples"]
    lines.append(" " * 24 + "".join(f"{name:>{width}}" for name in columns))
    for key, label in ROWS.items():
        if any(key not in column for column in columns.values()):
            continue  # a run of an earlier release
        cells = "".join(f"{cell(column[key], key):>{width}}" for column in columns.values())
        lines.append(f"{label:<24}{cells}")
    return "\n".join(lines) + "\n"


def cell(score: Mapping[str, float | None], key: str) -> str:
    """One value with its standard error; a dash where there is none."""
    digits = 2 if key.startswith("psnr") else 3
    mean, sem = score["mean"], score["sem"]
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" if sem is None else f"{mean:.{digits}f} ± {sem:.{digits}f}"
