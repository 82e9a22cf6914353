"""The paper's plots: calibration, its dependence on the samples, denoising against splitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from denoisplit.evaluation.calibration import CalibrationCurve
from denoisplit.images.display import ink
from denoisplit.report.plots import StructureCalibration
from denoisplit.report.style import FAINT, legend, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = ("o", "s", "D", "^")  # matplotlib markers
PANEL = 3.4  # inches
LETTERS = 11


class Line(NamedTuple):
    """PSNR of one structure at several levels of noise."""

    structure: str
    label: str
    sigma: Sequence[float]  # of the Gaussian noise, raw intensity
    psnr: Sequence[float]  # dB
    sem: Sequence[float]  # dB; 0 where it is not known


def line_with_errors(
    axes: Axes, k: int, x: Sequence[float], y: Sequence[float], sem: Sequence[float], label: str
) -> None:
    """Draw line k of a plot, with the standard errors of its points."""
    axes.errorbar(
        x,
        y,
        yerr=sem,
        color=ink(k),
        marker=POINTS[k % len(POINTS)],
        markersize=4,
        linewidth=1.6,
        capsize=2,
        label=label,
    )


def calibration_axes(
    axes: Axes, curves: Sequence[StructureCalibration], units: Sequence[float]
) -> None:
    """Draw RMSE against RMV of all structures after scaling, with the identity line.

    Parameters
    ----------
    curves : sequence of StructureCalibration
        One per structure, raw intensity.
    units : sequence of float
        Unit of each structure's intensities in the plot, so that all share one scale.
    """
    plain(axes, "", "RMV", "RMSE")
    points = [(c.after.rmv / u, c.after.rmse / u) for c, u in zip(curves, units, strict=True)]
    _draw_identity(axes, points)
    for k, (structure, (rmv, rmse)) in enumerate(zip(curves, points, strict=True)):
        label = f"{_shortened(structure.name)} (std × {structure.scalar:.2f})"
        marker = POINTS[k % len(POINTS)]
        axes.scatter(
            rmv, rmse, s=14, color=ink(k), marker=marker, label=label, zorder=3, alpha=0.85
        )
    legend(axes)


def calibration_alone(curves: Sequence[StructureCalibration], units: Sequence[float]) -> Figure:
    """Draw the calibration plot alone; parameters as for `calibration_axes`."""
    figure = new_figure(PANEL + 0.4, PANEL + 0.6)
    axes = figure.add_subplot()
    calibration_axes(axes, curves, units)
    axes.set_xlabel("RMV (standard deviations of the structure)")
    axes.set_ylabel("RMSE (standard deviations of the structure)")
    axes.set_aspect("equal")
    figure.tight_layout()
    return figure


def samples_calibration_figure(
    names: Sequence[str], curves: Mapping[int, Sequence[CalibrationCurve]], units: Sequence[float]
) -> Figure:
    """Draw Fig. S.3: calibration for several numbers of posterior samples, a panel per structure.

    Parameters
    ----------
    names : sequence of str
        Structures.
    curves : mapping of number of samples to one curve per structure
    units : sequence of float
        As for `calibration_axes`.
    """
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0.95, 0.0, len(curves)))
    figure = new_figure(PANEL + 0.3, PANEL * len(names) + 0.3)
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        axes = figure.add_subplot(1, len(names), k + 1)
        plain(axes, name, "RMV", "RMSE" if k == 0 else "")
        points = [(c[k].rmv / unit, c[k].rmse / unit) for c in curves.values()]
        _draw_identity(axes, points)
        for shade, samples, (rmv, rmse) in zip(shades, curves, points, strict=True):
            label = f"S = {samples}"
            axes.plot(rmv, rmse, color=shade, marker="o", markersize=3, linewidth=1.3, label=label)
        axes.set_aspect("equal")
        if k == 0:
            legend(axes)
    figure.tight_layout()
    return figure


def denoising_against_splitting(lines: Sequence[Line]) -> Figure:
    """Draw Fig. S.2: PSNR over the absolute noise, a panel per structure, a line per network."""
    names = list(dict.fromkeys(line.structure for line in lines))
    labels = list(dict.fromkeys(line.label for line in lines))
    figure = new_figure(PANEL, PANEL * len(names) + 0.5)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        label = "PSNR (dB)" if place == 1 else ""
        plain(axes, name, "σ of the Gaussian noise (raw intensity)", label)
        for line in (line for line in lines if line.structure == name):
            k = labels.index(line.label)
            line_with_errors(axes, k, line.sigma, line.psnr, line.sem, line.label)
        axes.locator_params(axis="x", nbins=5)  # values of public data have five digits
        legend(axes)
    figure.tight_layout()
    return figure


def _shortened(name: str) -> str:
    """Return a name that fits beside other words in a small plot."""
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1].rstrip()}…"


def _draw_identity(axes: Axes, points: Sequence[tuple[object, object]]) -> None:
    """Draw the identity line from 0 to just beyond all points (RMV, RMSE), on equal axes."""
    reach = 1.05 * max(float(np.max([np.max(x), np.max(y)])) for x, y in points)  # type: ignore[call-overload]
    axes.plot([0, reach], [0, reach], color=FAINT, linewidth=1.2, linestyle="--", label="identity")
    axes.set_xlim(0, reach)
    axes.set_ylim(0, reach)
