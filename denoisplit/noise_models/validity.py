"""Data and models that do not fit the method: refused, or warned of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.errors import InputError
from denoisplit.noise_models.gmm import GaussianMixture

Flat = npt.NDArray[np.float64]
Correlation = tuple[float, float]

CORRELATED = 0.2  # of neighbouring residuals, from which on a warning is due
ENOUGH = 1000  # pairs from which on a swap can be told
GROUPS = 20  # of pairs with about the same signal, or observation
CERTAIN = 3.0  # times what it is the other way round, if swapped: 4 to 16 for real exposures
PURE = 0.1  # share of the difference that is no noise, if swapped: 0.04 at most; of saturated 0.2
NOISE_REACH = 6.0  # standard deviations that noisy data reach beyond their signals
NOISE_SPREAD = 2.0  # standard deviations that noisy data extend over at the least
RANGE_TOLERANCE = 0.1  # share of the fitted range that data may lie outside it, noise aside
RANGE_FILLED = 0.02  # share of the fitted range that data extend over at the least


def residual_correlation(images: Sequence[npt.NDArray[np.floating]]) -> Correlation:
    """Correlation of neighbouring noise values.

    Parameters
    ----------
    images : sequence of array (..., Y, X)
        Observation minus signal, raw intensity; NaN where it is not known.

    Returns
    -------
    tuple of float
        Along x and along y.
    """
    found = []
    for axis in (-1, -2):
        product = first = second = 0.0
        for image in images:
            residual = np.asarray(image, dtype=np.float64)
            residual = np.moveaxis(residual, axis, -1)
            residual = residual - np.nanmean(residual)
            a, b = residual[..., :-1], residual[..., 1:]
            both = np.isfinite(a) & np.isfinite(b)
            a, b = a[both], b[both]
            product += float(a @ b)
            first += float(a @ a)
            second += float(b @ b)
        found.append(product / math.sqrt(first * second) if first * second > 0 else 0.0)
    return found[0], found[1]


def correlation_warning(correlation: Correlation) -> str | None:
    """What to tell the user where noise is correlated; None where it is not.

    The noise model is a density per pixel, independent between pixels.
    """
    x, y = correlation
    if max(x, y) <= CORRELATED:
        return None
    return (
        f"neighbouring noise values correlate by {x:.2f} in x and {y:.2f} in y: the method assumes "
        "pixel-wise noise (below 0.2), so results may keep some of it; use images as the camera "
        "recorded them, not blurred, scaled, registered or compressed"
    )


def check_direction(
    *, signal: Flat, observed: Flat, where: str | Path = "signal and observed"
) -> None:
    """Refuse pairs of which the signal is the noisier one.

    Observations of one signal average to it; the signals behind one observation do not average to
    that, but lie nearer to where most signals are. Where it is the other way round, signal and
    observation are swapped. What is cut off at an end of the recording averages to neither.

    Parameters
    ----------
    signal, observed : array (n,)
        On one scale; an offset between them does not matter.
    where : str or Path
        What the error names.

    Raises
    ------
    InputError
        If the two are swapped; what cannot be told passes.
    """
    if signal.size < ENOUGH:
        return
    of_signal, error = _departure(observed, signal)
    of_observation, _ = _departure(signal, observed)
    noise = float(np.var(observed - signal))
    if of_signal > CERTAIN * max(of_observation, error) and of_observation < PURE * noise:
        raise InputError(
            where=where,
            found="a signal that scatters about its observation",
            expected="an observation that scatters about its signal",
            remedy="signal and observed seem to be swapped: give them the other way round",
        )


def _departure(values: Flat, given: Flat) -> tuple[float, float]:
    """How far values are from averaging to ``given``: a mean square, and its sampling error."""
    edges = np.unique(np.quantile(given, np.linspace(0, 1, GROUPS + 1)))
    if edges.size < 3:
        return 0.0, 0.0
    group = np.clip(np.searchsorted(edges, given, side="right") - 1, 0, edges.size - 2)
    n = np.maximum(np.bincount(group), 1)
    difference = values - given
    mean = np.bincount(group, difference) / n
    square = np.bincount(group, difference**2) / n
    error = float(np.mean((square - mean**2) / n))
    departure = np.average((mean - difference.mean()) ** 2, weights=n)
    return max(0.0, float(departure) - error), error


def check_range(
    model: GaussianMixture, data_low: float, data_high: float, path: str | Path
) -> None:
    """Refuse a noise model that was fitted to signals of another range than the data have.

    Noisy data reach further than the signals behind them: by six standard deviations at the most.
    A tenth of the fitted range on top is tolerated, as are data that fill a part of the range only,
    unless it is less than 2 % of it, or less than the noise alone would fill.

    Parameters
    ----------
    model : GaussianMixture
    data_low, data_high : float
        Extent of the noisy data, raw intensity: low and high percentiles, free of a few odd pixels.
    path : str or Path
        File of the model, for the error.

    Raises
    ------
    InputError
        Naming both ranges.
    """
    low, high = model.min_signal.item(), model.max_signal.item()
    with torch.no_grad():
        ends = torch.tensor([low, high, data_low])
        at_low, at_high, least = (math.sqrt(v) for v in model.variance(ends).tolist())
    spare = RANGE_TOLERANCE * (high - low)
    below = data_low < low - NOISE_REACH * at_low - spare
    above = data_high > high + NOISE_REACH * at_high + spare
    apart = data_high < low - spare or data_low > high + NOISE_REACH * at_high
    quiet = data_high - data_low < NOISE_SPREAD * least
    narrow = data_high - data_low < RANGE_FILLED * (high - low)
    if below or above or apart or quiet or narrow:
        noise = f" and noise of std {least:.3g}" if quiet else ""
        raise InputError(
            where=path,
            found=f"a noise model for signals from {low:.4g} to {high:.4g}{noise}",
            expected=f"one for data from {data_low:.4g} to {data_high:.4g}",
            remedy="give the noise model of these images, in the same intensity units",
        )
