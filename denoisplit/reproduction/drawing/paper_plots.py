"""The paper's plots: calibration, its dependence on the samples, denoising against splitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from denoisplit.evaluation.calibration import CalibrationCurve
from denoisplit.report.plots import Calibrated
from denoisplit.report.style import FAINT, ink, legend, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "D", "^")
PANEL = 3.4  # inches
LETTERS = 11


class Line(NamedTuple):
    """PSNR of one structure at several levels of noise."""

    structure: str
    label: str
    sigma: Sequence[float]  # of the Gaussian noise, raw intensity
    psnr: Sequence[float]  # dB
    sem: Sequence[float]  # dB; 0 where it is not known


def calibration_axes(axes: Axes, curves: Sequence[Calibrated], units: Sequence[float]) -> None:
    """RMSE against RMV of all structures after scaling, with the identity line.

    Parameters
    ----------
    curves : sequence of Calibrated
        One per structure, raw intensity.
    units : sequence of float
        What each structure's intensities are counted in, so that all have one scale.
    """
    plain(axes, "", "RMV", "RMSE")
    pairs = [(c.after, unit) for c, unit in zip(curves, units, strict=True)]
    _identity(axes, [(curve.rmv / unit, curve.rmse / unit) for curve, unit in pairs])
    for k, (structure, (curve, unit)) in enumerate(zip(curves, pairs, strict=True)):
        axes.scatter(
            curve.rmv / unit,
            curve.rmse / unit,
            s=14,
            color=ink(k),
            marker=MARKERS[k % 4],
            label=f"{_short(structure.name)} (std × {structure.scalar:.2f})",
            zorder=3,
            alpha=0.85,
        )
    legend(axes)


def calibration_alone(curves: Sequence[Calibrated], units: Sequence[float]) -> Figure:
    """The calibration plot alone; as `calibration_axes`."""
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
    """Fig. S.3: calibration curves for several numbers of posterior samples, a panel per structure.

    Parameters
    ----------
    names : sequence of str
        Structures.
    curves : mapping of number of samples to one curve per structure
    units : sequence of float
        As of `calibration_axes`.
    """
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0.95, 0.0, len(curves)))
    figure = new_figure(PANEL + 0.3, PANEL * len(names) + 0.3)
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        axes = figure.add_subplot(1, len(names), k + 1)
        plain(axes, name, "RMV", "RMSE" if k == 0 else "")
        _identity(axes, [(c[k].rmv / unit, c[k].rmse / unit) for c in curves.values()])
        for shade, (samples, found) in zip(shades, curves.items(), strict=True):
            axes.plot(
                found[k].rmv / unit,
                found[k].rmse / unit,
                color=shade,
                marker="o",
                markersize=3,
                linewidth=1.3,
                label=f"S = {samples}",
            )
        axes.set_aspect("equal")
        if k == 0:
            legend(axes)
    figure.tight_layout()
    return figure


def denoising_against_splitting(lines: Sequence[Line]) -> Figure:
    """Fig. S.2: PSNR over the absolute noise, a panel per structure, a line per network."""
    names = list(dict.fromkeys(line.structure for line in lines))
    labels = list(dict.fromkeys(line.label for line in lines))
    figure = new_figure(PANEL, PANEL * len(names) + 0.5)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        label = "PSNR (dB)" if place == 1 else ""
        plain(axes, name, "σ of the Gaussian noise (raw intensity)", label)
        for line in (line for line in lines if line.structure == name):
            k = labels.index(line.label)
            axes.errorbar(
                line.sigma,
                line.psnr,
                yerr=line.sem,
                color=ink(k),
                marker=MARKERS[k % 4],
                markersize=4,
                linewidth=1.6,
                capsize=2,
                label=line.label,
            )
        axes.locator_params(axis="x", nbins=5)  # five digits each, on public data
        legend(axes)
    figure.tight_layout()
    return figure


def _short(name: str) -> str:
    """A name that fits beside other words in a small plot."""
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1].rstrip()}…"


def _identity(axes: Axes, points: Sequence[tuple[object, object]]) -> None:
    """The identity line, from 0 to a little beyond all points (RMV, RMSE), on equal axes."""
    reach = 1.05 * max(float(np.max([np.max(x), np.max(y)])) for x, y in points)  # type: ignore[call-overload]
    axes.plot([0, reach], [0, reach], color=FAINT, linewidth=1.2, linestyle="--", label="identity")
    axes.set_xlim(0, reach)
    axes.set_ylim(0, reach)
