"""Figures that show how well a noise model fits its pairs of signal and observation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.risk import noise_variance
from denoisplit.images.display import ink
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality
from denoisplit.noise_models.pairs import Pairs
from denoisplit.noise_models.saturation import grid_step
from denoisplit.report.plots import noise_density
from denoisplit.report.style import FAINT, INK, legend, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Flat = npt.NDArray[np.float64]

HISTOGRAM_BINS = (160, 120)  # of signal and observation
OBSERVATION_BINS = 40  # of the observations at one signal
MAX_SIGNALS = 4  # whose density is shown
DENSITY_PAIRS = 300  # needed to show a density
SIGNAL_TOLERANCE = 0.01  # of the signal range: nearer pairs count as pairs of a signal
GREY = "#dfe2e7"


class NoiseFigure(NamedTuple):
    """Figure with its alternative text, and a caption that explains how to read it."""

    figure: Figure
    alternative: str
    caption: str


def noise_figures(
    model: GaussianMixture, quality: Quality, pairs: Pairs, *, colour: str | None = None
) -> list[NoiseFigure]:
    """Draw densities, variance, probability integral and log-likelihoods; raw intensity.

    Parameters
    ----------
    quality : Quality
        Quality of the fit on held-out pairs.
    pairs : Pairs
        Pairs that were used in the fit, or some of them.
    colour : str, optional
        Colour of the model.
    """
    colour = colour or ink(0)
    return [
        NoiseFigure(
            _densities(model, pairs, colour),
            "Pairs of signal and observation",
            "Left: joint histogram of signal and observation (colour: count to the power of 0.25), "
            "with the densities of the noise model at some signals (white, to the left of the "
            "signal). Right: the same densities (lines) and the observations at these signals "
            "(grey).",
        ),
        NoiseFigure(
            _quality_figure(model, quality, colour),
            "Variance, probability integral, log-likelihood",
            "Left: variance of the observations against the signal; larger dots stand for more "
            "pairs. Middle: quantile of each held-out observation in the distribution of the "
            "model; flat if the model is right, a hump if its noise is too wide, a bowl if it is "
            "too narrow. Right: mean log-likelihood of held-out observations, compared with a "
            "Gaussian of the same variance for all signals; positive is better.",
        ),
    ]


def marked_signals(signal: Flat) -> Flat:
    """Return a few signals with enough pairs: the medians of equal parts of the range."""
    low, high = (float(v) for v in np.quantile(signal, [0.002, 0.998]))
    edges = np.linspace(low, high, MAX_SIGNALS + 1)
    place = np.searchsorted(edges, signal, side="right") - 1
    groups = (signal[place == part] for part in range(MAX_SIGNALS))
    return np.array([np.median(group) for group in groups if group.size >= DENSITY_PAIRS])


# ---------------------------------------------------------------- densities


def _densities(model: GaussianMixture, pairs: Pairs, colour: str) -> Figure:
    """Draw the joint histogram, and the densities at some signals."""
    figure = new_figure(4.2)
    grid = figure.add_gridspec(
        2, 4, left=0.06, right=0.99, bottom=0.12, top=0.92, wspace=0.3, hspace=0.5
    )
    signals = marked_signals(pairs.signal)
    _joint(figure.add_subplot(grid[:, :2]), model, pairs, signals)
    for number, value in enumerate(signals):
        axes = figure.add_subplot(grid[number // 2, 2 + number % 2])
        _at_signal(axes, model, pairs, float(value), colour)
        plain(axes, f"signal {digits(float(value))}", "observation" * (number > 1), "")
        axes.set_yticks([])
    return figure


def _joint(axes: Axes, model: GaussianMixture, pairs: Pairs, signals: Flat) -> None:
    from matplotlib.patheffects import withStroke

    left, right = (float(v) for v in np.quantile(pairs.signal, [0.0, 0.9999]))
    low, high = (float(v) for v in np.quantile(pairs.observed, [0.0, 0.9999]))
    counts, x, y = np.histogram2d(
        pairs.signal,
        pairs.observed,
        bins=(
            _edges(left, right, HISTOGRAM_BINS[0], grid_step(pairs.signal)),
            _edges(low, high, HISTOGRAM_BINS[1], pairs.step),
        ),
    )
    shown = counts.T**0.25
    # most pairs belong to the dark background; without a cut, all others would look black
    axes.imshow(
        shown,
        origin="lower",
        aspect="auto",
        cmap="magma",
        interpolation="nearest",
        extent=(x[0], x[-1], y[0], y[-1]),
        vmax=float(np.quantile(shown[shown > 0], 0.99)),
    )
    stds = np.sqrt(noise_variance(model, signals))
    gaps = np.diff(np.concatenate(([x[0]], signals)))
    for value, gap, std in zip(signals, gaps, stds, strict=True):
        observed = np.clip(value + np.linspace(-5, 5, 201) * std, y[0], y[-1])
        height = noise_density(model, observed, np.array(value))
        height /= height.max()
        height[height < 1e-3] = np.nan
        axes.axvline(value, color="white", linewidth=0.6, alpha=0.5)
        # scaled so that no density reaches the previous signal
        axes.plot(
            value - 0.85 * gap * height,
            observed,
            color="white",
            linewidth=1.6,
            path_effects=[withStroke(linewidth=3.2, foreground="black", alpha=0.6)],
        )
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    plain(axes, "pairs and noise model", "signal", "observation")
    axes.grid(visible=False)


def _at_signal(axes: Axes, model: GaussianMixture, pairs: Pairs, value: float, colour: str) -> None:
    std = float(np.sqrt(noise_variance(model, np.array([value]))[0]))
    tolerance = SIGNAL_TOLERANCE * float(np.ptp(pairs.signal))
    near = np.abs(pairs.signal - value) <= tolerance
    shown = pairs.observed[near] - pairs.signal[near] + value
    edges = _edges(value - 4 * std, value + 4 * std, OBSERVATION_BINS, pairs.step)
    axes.hist(shown, bins=list(edges), density=True, color=GREY)
    observed = np.linspace(edges[0], edges[-1], 400)
    density = noise_density(model, observed, np.array(value))
    axes.plot(observed, density, color=colour, linewidth=1.8)


def _edges(low: float, high: float, bins: int, step: float) -> Flat:
    """Return edges of about ``bins`` bins; they hold equally many grey levels of width ``step``."""
    width = (high - low) / bins
    if step > 0:
        width = max(1, math.ceil(width / step)) * step
        low -= step / 2
    count = max(1, math.ceil((high - low) / width))
    return low + width * np.arange(count + 1, dtype=np.float64)


# ---------------------------------------------------------------- quality


def _quality_figure(model: GaussianMixture, quality: Quality, colour: str) -> Figure:
    """Draw variance against signal, probability integral transform and log-likelihoods."""
    figure = new_figure(3.3)
    grid = figure.add_gridspec(
        1, 3, width_ratios=(1.5, 1, 1), left=0.06, right=0.985, bottom=0.16, top=0.9, wspace=0.26
    )
    left, middle, right = (figure.add_subplot(grid[0, column]) for column in range(3))
    _variance(left, model, quality, colour)
    _integral(middle, quality)
    _likelihoods(right, quality, colour)
    return figure


def _variance(axes: Axes, model: GaussianMixture, quality: Quality, colour: str) -> None:
    bins = quality.bins
    line = np.linspace(*quality.signal_range, 200)
    axes.plot(line, noise_variance(model, line), color=colour, linewidth=1.8, label="noise model")
    axes.plot(
        line,
        quality.gain * line + quality.offset,
        color=INK,
        linewidth=1.2,
        linestyle="--",
        label=f"straight line: {line_text(quality)}",
    )
    area = 10 + 70 * np.sqrt(bins.count / bins.count.max())
    axes.scatter(bins.signal, bins.measured, s=area, color=FAINT, zorder=3, label="pairs")
    axes.set_ylim(0, 1.1 * float(max(bins.measured.max(), bins.model.max())))
    plain(axes, "variance against signal", "signal", "variance")
    legend(axes)


def _integral(axes: Axes, quality: Quality) -> None:
    shares = np.asarray(quality.pit, dtype=np.float64)
    count = shares.size
    axes.bar((np.arange(count) + 0.5) / count, shares * count, width=0.94 / count, color=FAINT)
    axes.axhline(1.0, color=INK, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(1.5, 1.1 * float(shares.max()) * count))
    plain(axes, "probability integral transform", "quantile in the model", "density")
    axes.text(
        0.97,
        0.95,
        f"{100 * quality.ks:.1f} % from uniform",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        color=INK,
    )


def _likelihoods(axes: Axes, quality: Quality, colour: str) -> None:
    """Draw bars that start at the Gaussian of constant variance."""
    gains = {
        "noise model": (quality.log_likelihood - quality.gaussian, colour),
        "histogram": (quality.histogram - quality.gaussian, FAINT),
    }
    reach = max(1e-3, *(abs(gain) for gain, _ in gains.values()))
    for row, (name, (gain, shade)) in enumerate(gains.items()):
        axes.barh(-row, gain, height=0.5, color=shade)
        axes.text(0, -row + 0.36, f"{name}: {gain:+.3f}", ha="left", fontsize=8.5, color=INK)
    axes.axvline(0, color=INK, linewidth=1.2)
    axes.set_xlim(min(0.0, *(1.15 * gain for gain, _ in gains.values())), 1.15 * reach)
    axes.set_ylim(-1.6, 0.75)
    axes.set_yticks([])
    plain(axes, "log-likelihood above a Gaussian", "nat per held-out pair", "")


def line_text(quality: Quality) -> str:
    """Return the straight line of the variance as text, raw intensity."""
    return line_expression(quality.gain, "signal", quality.offset)


def line_expression(slope: float, of: str, offset: float) -> str:
    """Return a straight line as text."""
    return f"{digits(slope)} × {of} {'−' if offset < 0 else '+'} {digits(abs(offset))}"


def digits(value: float) -> str:
    """Return a number with three significant digits, or with all digits before the point."""
    if 0.001 <= abs(value) < 1e6:
        return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return f"{value:.3g}"
