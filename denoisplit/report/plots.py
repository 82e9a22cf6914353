"""Plots of a run: losses, calibration, noise models."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.calibration import CalibrationCurve, binned_errors
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.risk import SquaredErrors, noise_variance, squared_errors
from denoisplit.files.csv_file import read_rows
from denoisplit.images.display import ink
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import Prediction
from denoisplit.report.style import FAINT, INK, legend, new_figure, plain, square_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Flat = npt.NDArray[np.float64]

LOSSES = {"loss": "loss = data term + KL", "data": "data term", "kl": "KL"}
MAX_PAIRS = 400_000  # pixels that a figure of a noise model uses
DENSITY_BINS = 120
CURVE_QUANTILES = (0.001, 0.999)  # of the std, between which calibration curves are drawn
DENSITY_PIXELS = 150  # needed to estimate a density or a variance


# ---------------------------------------------------------------- losses


def read_history(path: Path, required: Sequence[str] = ("step",)) -> dict[str, Flat]:
    """Return the columns of history.csv; missing values are NaN, but in required columns.

    Raises
    ------
    InputError
        If it is damaged.
    """
    rows = read_rows(path, required)
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def loss_figure(history: Mapping[str, Flat]) -> Figure:
    """Draw loss, data term and KL over the steps, for training and validation frames."""
    figure = new_figure(2.9)
    for place, (key, title) in enumerate(LOSSES.items(), start=1):
        axes = figure.add_subplot(1, len(LOSSES), place)
        plain(axes, title, "step", "")
        for part, label, colour in (("train", "training", FAINT), ("val", "validation", INK)):
            if (name := f"{part}_{key}") not in history:  # of a damaged file
                continue
            axes.plot(
                history["step"],
                history[name],
                color=colour,
                label=label,
                marker="o",
                markersize=3.5,
                linewidth=1.6,
            )
        if place == 1:
            legend(axes)
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.17, top=0.89, wspace=0.2)
    return figure


# ---------------------------------------------------------------- calibration


@dataclass(frozen=True)
class StructureCalibration:
    """Calibration curves of one structure on test frames, before and after scaling the std.

    Attributes
    ----------
    name : str
    scalar : float
        Calibration scalar.
    before, after : CalibrationCurve
        With the bare and with the scaled std.
    within : float or None
        Share of the pixels whose truth is within one scaled std of the mean; None without truth.
    """

    name: str
    scalar: float
    before: CalibrationCurve
    after: CalibrationCurve
    within: float | None


def structure_calibrations(
    frames: EvaluationFrames,
    predictions: Sequence[Prediction],
    scalars: Mapping[str, float],
    errors: Sequence[SquaredErrors] | None = None,
    keep: tuple[float, float] = CURVE_QUANTILES,
) -> list[StructureCalibration]:
    """Compute the calibration curves of every structure, over the pooled pixels of all frames.

    Without a truth there are none, unless estimated errors are given.

    Parameters
    ----------
    predictions : sequence of Prediction
        One per frame, with stds.
    scalars : mapping of name to float
        Calibration scalars, in channel order.
    errors : sequence of SquaredErrors, optional
        Of the means of recorded frames; see `denoisplit.evaluation.risk`.
    keep : tuple of float
        See `denoisplit.evaluation.calibration.calibration_curve`.
    """
    if frames.has_truth:
        errors = squared_errors(frames, [p.mean for p in predictions])
    if errors is None:
        return []
    calibrations = []
    for k, (name, scalar) in enumerate(scalars.items()):
        inside = [frame.inside[k] for frame in errors]
        spreads = [p.spread[k] for p in predictions if p.spread is not None]
        std, squared = (
            np.concatenate([f[used] for f, used in zip(images, inside, strict=True)])
            for images in (spreads, [frame.values[k] for frame in errors])
        )
        before, after = (binned_errors(squared, std, a, keep=keep) for a in (1.0, scalar))
        within = float(np.mean(squared <= (scalar * std) ** 2)) if frames.has_truth else None
        calibrations.append(StructureCalibration(name, scalar, before, after, within))
    return calibrations


def calibration_figure(structures: Sequence[StructureCalibration]) -> Figure:
    """Draw RMSE against RMV with the identity line, one square panel per structure."""
    figure, panels = square_panels(len(structures))
    for k, (structure, axes) in enumerate(zip(structures, panels, strict=True)):
        plain(axes, structure.name, "predicted error (RMV)", "real error (RMSE)")
        both = (structure.before, structure.after)
        reach = 1.05 * max(max(c.rmv.max(), c.rmse.max()) for c in both)
        axes.plot(
            [0, reach], [0, reach], color=FAINT, linewidth=1.2, linestyle="--", label="identity"
        )
        for curve, label, colour in (
            (structure.before, "before scaling", FAINT),
            (structure.after, f"std × {structure.scalar:.2f}", ink(k)),
        ):
            area = 8 + 150 * curve.count / curve.count.sum()
            axes.scatter(curve.rmv, curve.rmse, s=area, color=colour, label=label, zorder=3)
        axes.set_xlim(0, reach)
        axes.set_ylim(0, reach)
        legend(axes)
    return figure


# ---------------------------------------------------------------- noise models


class NoiseModelRow(NamedTuple):
    """Noise model to draw, optionally with pairs of signal and observation."""

    model: GaussianMixture
    name: str
    colour: str
    signal: Sequence[npt.NDArray[Any]] = ()
    observed: Sequence[npt.NDArray[Any]] = ()


def noise_models_figure(rows: Sequence[NoiseModelRow]) -> Figure:
    """Draw a row for each noise model, optionally with pairs of signal and observation.

    Left: joint histogram of signal and observation (colour: count to the power of 0.25) or, without
    pairs, the density of the model; middle: densities at two signals; right: variance.
    """
    figure = new_figure(3.0 * len(rows))
    figure.set_layout_engine("constrained", w_pad=0.12, wspace=0.06)  # ticks have up to five digits
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        left, middle, right = part.subplots(1, 3)
        _draw_noise_model(left, middle, right, row)
        for axes in (left, middle, right):
            axes.locator_params(axis="x", nbins=4)
    return figure


def _draw_noise_model(left: Axes, middle: Axes, right: Axes, row: NoiseModelRow) -> None:
    model, name, colour, signal, observed = row
    s, x = _thinned(signal), _thinned(observed)
    if s.size:
        low, high = float(s.min()), float(np.quantile(s, 0.9995))
        marked = (float(np.quantile(s, 0.3)), float(np.quantile(s, 0.98)))
    else:
        low, high = float(model.min_signal), float(model.max_signal)
        marked = (low + 0.15 * (high - low), low + 0.7 * (high - low))
    high = max(high, low + 1e-6)
    margin = 0.03 * (high - low)
    widest = float(np.sqrt(noise_variance(model, np.array([low, high])).max()))
    span = (low - 3.5 * widest, high + 3.5 * widest)

    _joint(left, model, (low - margin, high + margin), span, s, x)
    left.set_title(name, loc="left", fontsize=10, color=INK, pad=6)
    for value, style in zip(marked, ("-", "--"), strict=True):
        left.axvline(value, color="white", linewidth=1.2, linestyle=style)
        _density(middle, model, value, 0.015 * (high - low), style, colour, s, x)
    plain(middle, "density at two signals", "observation", "")
    middle.set_yticks([])
    legend(middle)
    line = np.linspace(low, high, 200)
    right.plot(line, noise_variance(model, line), color=colour, linewidth=1.8, label="noise model")
    if s.size:
        right.scatter(*_variances(s, x, (low, high)), s=14, color=FAINT, zorder=3, label="pairs")
    right.set_ylim(0, 1.06 * right.get_ylim()[1])
    plain(right, "variance against signal", "signal", "")
    legend(right)


def noise_density(model: GaussianMixture, observed: Flat, signal: Flat) -> Flat:
    """Return the density of observations given signals, broadcasting."""
    import torch

    with torch.inference_mode():  # on a copy: the caller's model must stay on its device
        log_density = (
            copy.deepcopy(model).cpu().log_prob(torch.as_tensor(observed), torch.as_tensor(signal))
        )
    return log_density.double().exp().numpy()


def _thinned(frames: Sequence[npt.NDArray[Any]]) -> Flat:
    """Return the pixels of all frames, at most about `MAX_PAIRS`, evenly thinned."""
    if not frames:
        return np.empty(0)
    pixels = np.concatenate([np.ravel(frame) for frame in frames]).astype(np.float64)
    return pixels[:: max(1, pixels.size // MAX_PAIRS)]


def _joint(
    axes: Axes,
    model: GaussianMixture,
    signals: tuple[float, float],
    span: tuple[float, float],
    s: Flat,
    x: Flat,
) -> None:
    if s.size:
        counts, *_ = np.histogram2d(x, s, bins=DENSITY_BINS, range=(span, signals))
    else:
        observed, signal = (np.linspace(*ends, DENSITY_BINS) for ends in (span, signals))
        counts = noise_density(model, observed[:, None], signal)
    axes.imshow(
        counts**0.25,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(*signals, *span),
        interpolation="nearest",
    )
    plain(axes, "", "signal", "observation")
    axes.grid(visible=False)


def _density(
    axes: Axes,
    model: GaussianMixture,
    value: float,
    reach: float,
    style: str,
    colour: str,
    s: Flat,
    x: Flat,
) -> None:
    std = float(np.sqrt(noise_variance(model, np.array([value]))[0]))
    observed = np.linspace(value - 4 * std, value + 4 * std, 300)
    near = x[np.abs(s - value) <= reach] - s[np.abs(s - value) <= reach] + value
    if near.size >= DENSITY_PIXELS:
        axes.hist(near, bins=40, range=(observed[0], observed[-1]), density=True, color="#dfe2e7")
    density = noise_density(model, observed, np.array(value))
    axes.plot(
        observed,
        density,
        color=colour,
        linewidth=1.8,
        linestyle=style,
        label=f"signal {value:.4g}" if value < 1e4 else f"signal {value:.0f}",
    )


def _variances(s: Flat, x: Flat, signals: tuple[float, float]) -> tuple[Flat, Flat]:
    """Return mean signal and noise variance in those of 16 signal ranges with enough pixels."""
    edges = np.linspace(*signals, 17)
    index = np.searchsorted(edges[1:-1], s, side="right")
    groups = [(index == i) & (s <= signals[1]) for i in range(16)]
    groups = [group for group in groups if group.sum() >= DENSITY_PIXELS]
    mean = np.array([s[group].mean() for group in groups])
    return mean, np.array([(x[group] - s[group]).var() for group in groups])
