"""Plots of a run: the course of training, the noise models, the calibration."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.calibration import CalibrationCurve, calibration_curve
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import Prediction
from denoisplit.report.style import FAINT, INK, ink, legend, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Flat = npt.NDArray[np.float64]

LOSSES = {"loss": "loss = data term + KL", "data": "data term", "kl": "KL"}
PAIRS = 400_000  # pixels at most that the noise-model picture looks at
DENSITY_BINS = 120
KEPT = (0.001, 0.999)  # shares of the pixels between which calibration curves are drawn
DENSITY_PIXELS = 150  # pixels that a density or a variance is estimated from


# ---------------------------------------------------------------- course of training


def read_history(path: Path) -> dict[str, Flat]:
    """Columns of history.csv; values that were not measured are NaN."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = list(rows[0]) if rows else []
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def loss_figure(history: Mapping[str, Flat]) -> Figure:
    """Loss, data term and KL over the steps, on training and on validation frames."""
    figure = new_figure(2.9)
    for place, (key, title) in enumerate(LOSSES.items(), start=1):
        axes = figure.add_subplot(1, len(LOSSES), place)
        plain(axes, title, "step", "")
        for part, label, colour in (
            ("train", "training", FAINT),
            ("val", "validation", INK),
        ):
            axes.plot(
                history["step"],
                history[f"{part}_{key}"],
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
class Calibrated:
    """Error against spread of one structure, before and after scaling the spread.

    ``within`` is the share of pixels whose reference lies within one scaled std of the mean.
    """

    name: str
    scalar: float
    before: CalibrationCurve
    after: CalibrationCurve
    within: float


def calibrated(
    scenes: EvaluationFrames,
    predictions: Sequence[Prediction],
    scalars: Mapping[str, float],
    noise_models: Sequence[GaussianMixture],
    keep: tuple[float, float] = KEPT,
) -> list[Calibrated]:
    """Curves of every structure over the pooled pixels of the test frames.

    Against noisy references the noise's variance, as the noise models know it, is taken out of the
    error, bin by bin. ``keep`` is that of `denoisplit.evaluation.calibration.calibration_curve`.
    """
    found = []
    for k, (name, scalar) in enumerate(scalars.items()):
        truth = [t[k] for t in scenes.truth]
        mean = [p.mean[k] for p in predictions]
        std = [p.std[k] for p in predictions if p.std is not None]

        def curve(
            factor: float, k: int = k, truth: Any = truth, mean: Any = mean, std: Any = std
        ) -> CalibrationCurve:
            found = calibration_curve(truth, mean, std, factor, keep=keep)
            if scenes.has_truth or not noise_models:
                return found
            # bins depend on the std alone: an error of the noise's size gives its share in each
            shifted = [m + np.sqrt(variance_of(noise_models[k], m)) for m in mean]
            noise = calibration_curve(shifted, mean, std, factor, keep=keep)
            rest = np.sqrt(np.maximum(found.rmse**2 - noise.rmse**2, 0))
            return CalibrationCurve(found.rmv, rest, found.count)

        inside = [np.abs(t - m) <= scalar * s for t, m, s in zip(truth, mean, std, strict=True)]
        within = float(np.mean(np.concatenate([np.ravel(frame) for frame in inside])))
        found.append(Calibrated(name, scalar, curve(1.0), curve(scalar), within))
    return found


def calibration_figure(curves: Sequence[Calibrated]) -> Figure:
    """RMSE against RMV, one square panel per structure, with the identity line."""
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    side, left, foot, top, right = 2.9, 0.62, 0.55, 0.35, 0.12  # inches
    width, height = columns * (left + side) + right, rows * (side + foot + top)
    figure = new_figure(height, width)
    for k, structure in enumerate(curves):
        row, column = divmod(k, columns)
        x, y = column * (left + side) + left, height - row * (side + foot + top) - top - side
        axes = figure.add_axes((x / width, y / height, side / width, side / height))
        plain(axes, structure.name, "predicted error (RMV)", "real error (RMSE)")
        both = (structure.before, structure.after)
        reach = 1.05 * max(max(c.rmv.max(), c.rmse.max()) for c in both)
        axes.plot(
            [0, reach], [0, reach], color=FAINT, linewidth=1.2, linestyle="--", label="identity"
        )
        for found, label, colour in (
            (structure.before, "before scaling", FAINT),
            (structure.after, f"std × {structure.scalar:.2f}", ink(k)),
        ):
            area = 8 + 150 * found.count / found.count.sum()
            axes.scatter(found.rmv, found.rmse, s=area, color=colour, label=label, zorder=3)
        axes.set_xlim(0, reach)
        axes.set_ylim(0, reach)
        legend(axes)
    return figure


# ---------------------------------------------------------------- noise models


def noise_figure(
    model: GaussianMixture,
    name: str,
    *,
    colour: str,
    signal: Sequence[npt.NDArray[Any]] = (),
    observed: Sequence[npt.NDArray[Any]] = (),
) -> Figure:
    """What a noise model says, beside pairs of signal and observation if there are any.

    Left: how often observations fall beside each signal (colour: power 0.25 of the count), or
    without pairs the model's density; middle: densities at two signals; right: variance.
    """
    return noise_models_figure([Shown(model, name, colour, signal, observed)])


class Shown(NamedTuple):
    """A noise model to draw, and pairs of signal and observation if there are any."""

    model: GaussianMixture
    name: str
    colour: str
    signal: Sequence[npt.NDArray[Any]] = ()
    observed: Sequence[npt.NDArray[Any]] = ()


def noise_models_figure(models: Sequence[Shown]) -> Figure:
    """A row for each noise model; see `noise_figure`."""
    figure = new_figure(3.0 * len(models))
    figure.set_layout_engine("constrained", w_pad=0.12, wspace=0.06)  # ticks have up to five digits
    for part, shown in zip(
        figure.subfigures(len(models), 1, squeeze=False)[:, 0], models, strict=True
    ):
        left, middle, right = part.subplots(1, 3)
        _noise_row(left, middle, right, shown)
        for axes in (left, middle, right):
            axes.locator_params(axis="x", nbins=4)
    return figure


def _noise_row(left: Axes, middle: Axes, right: Axes, shown: Shown) -> None:
    model, name, colour, signal, observed = shown
    s, x = _thinned(signal), _thinned(observed)
    if s.size:
        low, high = float(s.min()), float(np.quantile(s, 0.9995))
        marked = (float(np.quantile(s, 0.3)), float(np.quantile(s, 0.98)))
    else:
        low, high = float(model.min_signal), float(model.max_signal)
        marked = (low + 0.15 * (high - low), low + 0.7 * (high - low))
    high = max(high, low + 1e-6)
    margin = 0.03 * (high - low)
    widest = float(np.sqrt(variance_of(model, np.array([low, high])).max()))
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
    right.plot(line, variance_of(model, line), color=colour, linewidth=1.8, label="noise model")
    if s.size:
        right.scatter(*_variances(s, x, (low, high)), s=14, color=FAINT, zorder=3, label="pairs")
    right.set_ylim(0, 1.06 * right.get_ylim()[1])
    plain(right, "variance against signal", "signal", "")
    legend(right)


def variance_of(model: GaussianMixture, signal: npt.NDArray[Any]) -> Flat:
    """Variance of the noise at each signal; raw intensity squared."""
    import torch

    with torch.inference_mode():
        values = model.cpu().variance(torch.as_tensor(signal, dtype=torch.float32))
    return values.double().numpy()


def density_of(model: GaussianMixture, observed: Flat, signal: Flat) -> Flat:
    """Density of observations given signals, broadcasting."""
    import torch

    with torch.inference_mode():
        log_density = model.cpu().log_prob(torch.as_tensor(observed), torch.as_tensor(signal))
    return log_density.double().exp().numpy()


def _thinned(frames: Sequence[npt.NDArray[Any]]) -> Flat:
    """Pixels of all frames, every n-th where they are many."""
    if not frames:
        return np.empty(0)
    pixels = np.concatenate([np.ravel(frame) for frame in frames]).astype(np.float64)
    return pixels[:: max(1, pixels.size // PAIRS)]


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
        counts = density_of(model, observed[:, None], signal)
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
    std = float(np.sqrt(variance_of(model, np.array([value]))[0]))
    observed = np.linspace(value - 4 * std, value + 4 * std, 300)
    near = x[np.abs(s - value) <= reach] - s[np.abs(s - value) <= reach] + value
    if near.size >= DENSITY_PIXELS:
        axes.hist(near, bins=40, range=(observed[0], observed[-1]), density=True, color="#dfe2e7")
    density = density_of(model, observed, np.array(value))
    axes.plot(
        observed,
        density,
        color=colour,
        linewidth=1.8,
        linestyle=style,
        label=f"signal {value:.4g}" if value < 1e4 else f"signal {value:.0f}",
    )


def _variances(s: Flat, x: Flat, signals: tuple[float, float]) -> tuple[Flat, Flat]:
    """Mean signal and variance of the noise in 16 ranges of the signal that hold enough pixels."""
    edges = np.linspace(*signals, 17)
    index = np.searchsorted(edges[1:-1], s, side="right")
    groups = [(index == i) & (s <= signals[1]) for i in range(16)]
    groups = [group for group in groups if group.sum() >= DENSITY_PIXELS]
    mean = np.array([s[group].mean() for group in groups])
    return mean, np.array([(x[group] - s[group]).var() for group in groups])
