"""Check whether data and noise models meet the assumptions of the method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.errors import InputError
from denoisplit.noise_models.binning import Flat, place
from denoisplit.noise_models.gmm import GaussianMixture

Correlation = tuple[float, float]

MAX_CORRELATION = 0.2  # of neighbouring residuals; above, a warning is due
DIRECTION_PAIRS = 1000  # fewest pairs by which a swap is recognised
DIRECTION_GROUPS = 20  # groups of pairs with similar signal, or observation
# a swap multiplies the departure of the observation by at least this: 4 to 16 in real exposures
SWAP_RATIO = 3.0
# largest systematic share of the difference after a swap: at most 0.04, if saturated 0.2
SWAP_DEPARTURE = 0.1
NOISE_REACH = 6.0  # standard deviations by which noisy data may exceed their signals
NOISE_SPREAD = 2.0  # standard deviations that noisy data span at least
RANGE_TOLERANCE = 0.1  # share of the fitted range by which data may exceed it, apart from noise
DARK_REACH = 2.0  # standard deviations below the fitted range from which a pixel is too dark
MAX_DARK = 0.05  # share of such pixels; signals at the very end of the range give 0.023
RANGE_FILLED = 0.02  # share of the fitted range that data span at least


def residual_correlation(images: Sequence[npt.NDArray[np.floating]]) -> Correlation:
    """Measure the correlation of neighbouring residuals, along x and along y.

    The ``images`` (..., Y, X) are observation minus signal; NaN where unknown.
    """
    correlations = []
    for axis in (-1, -2):
        product = first = second = 0.0
        for image in images:
            residual = np.moveaxis(np.asarray(image, dtype=np.float64), axis, -1)
            residual = residual - np.nanmean(residual)
            a, b = residual[..., :-1], residual[..., 1:]
            both = np.isfinite(a) & np.isfinite(b)
            a, b = a[both], b[both]
            product += float(a @ b)
            first += float(a @ a)
            second += float(b @ b)
        correlations.append(product / math.sqrt(first * second) if first * second > 0 else 0.0)
    return correlations[0], correlations[1]


def correlation_warning(correlation: Correlation) -> str | None:
    """Return a warning if noise is correlated, else None.

    The noise model is a density per pixel, independent between pixels.
    """
    x, y = correlation
    if max(x, y) <= MAX_CORRELATION:
        return None
    return (
        f"neighbouring noise values correlate by {x:.2f} in x and {y:.2f} in y, but the method "
        f"assumes pixel-wise noise (below {MAX_CORRELATION}), so results may retain some of it; "
        "use images as the camera recorded them, not blurred, scaled, registered or compressed"
    )


def check_direction(*, signal: Flat, observed: Flat, where: str | Path = "signal") -> None:
    """Raise `InputError` if signal and observation are swapped.

    The observations of one signal average to it. The signals behind one observation do not average
    to it: they lie closer to where most signals are. If this holds the other way round, the two are
    swapped. (Values that are cut off at an end of the recording average to neither.)

    Parameters
    ----------
    signal, observed : array (n,)
        On one scale; an offset between them does not matter.

    Raises
    ------
    InputError
        If the two are swapped; undecided cases pass.
    """
    if signal.size < DIRECTION_PAIRS:
        return
    of_signal, error = _departure(observed, signal)
    of_observation, _ = _departure(signal, observed)
    noise = float(np.var(observed - signal))
    exceeds = of_signal > SWAP_RATIO * max(of_observation, error)
    if exceeds and of_observation < SWAP_DEPARTURE * noise:
        raise InputError(
            "signal and observation appear to be swapped, because the signal is the noisier one",
            where=where,
            remedy="exchange them",
        )


def _departure(values: Flat, given: Flat) -> tuple[float, float]:
    """Return by how much means of ``values`` differ from ``given`` (squared), and its error."""
    edges = np.unique(np.quantile(given, np.linspace(0, 1, DIRECTION_GROUPS + 1)))
    if edges.size < 3:
        return 0.0, 0.0
    group = place(given, edges)
    n = np.maximum(np.bincount(group), 1)
    difference = values - given
    mean = np.bincount(group, difference) / n
    square = np.bincount(group, difference**2) / n
    error = float(np.mean((square - mean**2) / n))
    departure = np.average((mean - difference.mean()) ** 2, weights=n)
    return max(0.0, float(departure) - error), error


def check_range(
    model: GaussianMixture, data_low: float, data_high: float, where: str | Path
) -> None:
    """Raise `InputError` if a noise model was fitted to another range of signals than the data's.

    Noisy data exceed the signals behind them by up to six standard deviations. A tenth of the
    fitted range is tolerated on top. Data may fill a part of the range only, but not less than 2 %
    of it, nor less than noise alone would span.

    Parameters
    ----------
    data_low, data_high : float
        Extent of the noisy data, raw intensity: low and high percentiles, unaffected by outliers.
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
        noise = f" with noise of std {least:.3g}" if quiet else ""
        raise InputError(
            f"the noise model covers signals from {low:.4g} to {high:.4g}{noise}, but the data "
            f"range from {data_low:.4g} to {data_high:.4g}",
            where=where,
            remedy="use the noise model of these images, in the same intensity units",
        )


def dark_warning(model: GaussianMixture, values: npt.NDArray[np.floating]) -> str | None:
    """Return a warning if many pixels are darker than the range of a noise model, else None.

    Below its range, a model has the noise of the darkest signal that it was fitted to.

    Parameters
    ----------
    values : array
        Pixels of the recorded images, raw intensity.
    """
    low, high = model.min_signal.item(), model.max_signal.item()
    with torch.no_grad():
        noise = math.sqrt(model.variance(model.min_signal).item())
    share = float(np.mean(values < low - DARK_REACH * noise))
    if share <= MAX_DARK:
        return None
    return (
        f"{100 * share:.2g} % of the pixels are darker than the noise model covers ({low:.4g} to "
        f"{high:.4g}, with noise of std {noise:.3g} at its dark end), so their noise is not known; "
        "fit the noise model to images with such dark areas, with the same camera offset"
    )
