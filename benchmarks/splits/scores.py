"""Scores of a split against its truth, and the table and plot of all cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common import table
from benchmarks.splits.methods import Split
from denoisplit.evaluation.error_bars import REMOVED, sparsification_curve
from denoisplit.evaluation.metrics import range_invariant_psnr

Array = npt.NDArray[np.float32]
Cells = Mapping[tuple[str, str, int], Mapping[str, Any]]  # (pair, method, seed) -> scores

SECONDS = ("training", "calibration", "prediction")


def scores_of(names: Sequence[str], truth: Sequence[Array], split: Split) -> dict[str, Any]:
    """Return PSNR, coverage of the 90 % interval and AUSE of every structure; and the seconds.

    PSNR is range-invariant, and a mean over tiles; the others are of the pixels of all tiles.
    """
    scores: dict[str, Any] = {}
    for k, name in enumerate(names):
        pairs = zip(truth, split.means, strict=True)
        psnr = float(np.mean([range_invariant_psnr(t[k], m[k]) for t, m in pairs]))
        scores[name] = {"psnr": psnr, "coverage": None, "ause": None}
        if split.bars is not None:
            bars = list(zip(truth, split.bars, strict=True))
            squared = _pooled([(bar.decoded[k] - t[k]) ** 2 for t, bar in bars])
            half = _pooled([bar.half_width[k] for _, bar in bars if bar.half_width is not None])
            std = _pooled([bar.std[k] for _, bar in bars])
            curve, oracle = (sparsification_curve(by, squared) for by in (std, squared))
            scores[name]["coverage"] = float((squared <= half**2).mean())
            scores[name]["ause"] = float(np.trapezoid(curve - oracle, REMOVED) / curve[0])
    return scores | {"seconds": {name: getattr(split, name) for name in SECONDS}}


def _pooled(frames: Sequence[Array]) -> npt.NDArray[np.float64]:
    return np.concatenate([frame.ravel() for frame in frames]).astype(np.float64)


def table_of(cells: Cells) -> str:
    """Return the table in Markdown: means over seeds, with their least and greatest value."""
    head = ["pair", "method", "seeds", "structure", "PSNR, dB", "90 % interval covers", "AUSE"]
    rows: list[list[str]] = []
    for pair, method in dict.fromkeys((pair, method) for pair, method, _ in cells):
        chosen = [one for key, one in cells.items() if key[:2] == (pair, method)]
        seconds = [_range([one["seconds"][name] for one in chosen], 0) for name in SECONDS]
        for k, name in enumerate(pair.split("_")):
            scores = [one[name] for one in chosen]
            values = [
                _range([one[key] for one in scores], digits)
                for key, digits in (("psnr", 2), ("coverage", 3), ("ause", 2))
            ]
            first = [pair.replace("_", " + "), method, str(len(chosen))] if not k else [""] * 3
            rows.append([*first, name, *values, *(seconds if not k else [""] * 3)])
    return table([*head, *(f"{name}, s" for name in SECONDS)], rows)


def _range(values: Sequence[float | None], digits: int) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return ""
    mean = f"{np.mean(present):.{digits}f}"
    if len(present) == 1:
        return mean
    return f"{mean} ({min(present):.{digits}f} to {max(present):.{digits}f})"


def plot(path: Path, cells: Cells) -> None:
    """Draw the mean PSNR of the structures against the processor seconds of the training."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pairs = list(dict.fromkeys(pair for pair, _, _ in cells))
    figure = Figure(figsize=(4.5 * len(pairs), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, pair in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        for method in dict.fromkeys(method for one, method, _ in cells if one == pair):
            chosen = [one for key, one in cells.items() if key[:2] == (pair, method)]
            psnr = [np.mean([one[name]["psnr"] for name in pair.split("_")]) for one in chosen]
            axes.plot([one["seconds"]["training"] for one in chosen], psnr, "o", label=method)
        axes.set(title=pair.replace("_", " + "), xlabel="training, processor s", ylabel="PSNR, dB")
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
