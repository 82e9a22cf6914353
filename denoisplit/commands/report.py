"""Metrics as a plain table for the terminal."""

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
    "calibration_error": "calibration error",
    "calibration_error_unscaled": "  before calibration",
}


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """One row per metric, one column per structure and for their mean, with standard errors."""
    columns = {**metrics["structures"], "mean": metrics["mean"]}
    width = max(16, *(len(name) + 2 for name in columns))
    lines = [f"{metrics['frames']} frames, {metrics['samples']} samples"]
    lines.append(" " * 24 + "".join(f"{name:>{width}}" for name in columns))
    for key, label in ROWS.items():
        cells = "".join(f"{_cell(column[key], key):>{width}}" for column in columns.values())
        lines.append(f"{label:<24}{cells}")
    return "\n".join(lines) + "\n"


def _cell(score: Mapping[str, float | None], key: str) -> str:
    digits = 2 if key.startswith("psnr") else 3
    mean, sem = score["mean"], score["sem"]
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" if sem is None else f"{mean:.{digits}f} ± {sem:.{digits}f}"
