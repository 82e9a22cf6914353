"""Where a recording ends: saturated and clipped pixels, and what must be left out for them.

A camera that reaches its limit records the limit, so near it the observations of a signal are cut
off: their variance is too small and their mean is wrong. To drop only the values at the limit would
cut the distribution too (1 % dropped from one side of a Gaussian takes 6 % of its variance). So
pairs are left out *by their signal*, which the noise does not choose: all signals of which more
than `CUT` of the observations are at the limit. Of those that stay, the few observations at the
limit are dropped as well; at a share of `CUT` that costs 1 % of the variance at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Image = npt.NDArray[Any]
Flat = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

CUT = 1e-3  # share of the observations at a limit from which on a signal is left out
RUN = 2000  # pairs of neighbouring signals that such a share is measured on
FEWEST = 20  # equal values that can be a pile-up
STEEP = 3.0  # times as many values at the limit as on the levels before it
STEEP_AT_ONE_SIGNAL = 1.2
WINDOW = (0.05, 0.4)  # share of a signal's observations at a limit where its shape can be seen
LEVELS = 5  # levels before a limit that it is compared with
BLUR = 2.0  # px, of what stands for the signal where none is known yet
LOOKED_AT = 20_000_000  # pixels at most


class Limits(NamedTuple):
    """The values at which a recording ends; None where it does not reach an end."""

    low: float | None
    high: float | None

    def inside(self, values: npt.NDArray[Any]) -> Mask:
        """Which values are at no limit."""
        free = np.ones(values.shape, dtype=bool)
        if self.low is not None:
            free &= values > self.low
        if self.high is not None:
            free &= values < self.high
        return free


def ceiling_of(images: Sequence[Image]) -> float | None:
    """Greatest value of the data type, for integers."""
    kinds = {image.dtype for image in images}
    if not all(np.issubdtype(kind, np.integer) for kind in kinds):
        return None
    return float(min(np.iinfo(kind).max for kind in kinds))


def limits_of(frames: Sequence[Image]) -> Limits:
    """The limits that frames (Y, X) of one recording reach, where their signals are not known.

    A dark photon count is a frequent 0 too, but no cut-off one: left out, it would leave dark
    signals too high. What tells them apart is seen at one signal, for which a blur must do here.
    """
    every = 1 + sum(frame.size for frame in frames) // LOOKED_AT
    values, rough = (
        np.concatenate([np.ravel(image)[::every] for image in images]).astype(np.float64)
        for images in (frames, (gaussian_filter(f.astype(np.float32), BLUR) for f in frames))
    )
    ceiling = ceiling_of(frames)
    found = find_limits(values, rough, ceiling=ceiling)
    if ceiling is not None and any(frame.max() >= ceiling for frame in frames):
        return found._replace(high=ceiling)
    return found


def find_limits(
    values: Flat, signal: Flat | None = None, *, ceiling: float | None = None
) -> Limits:
    """The limits that values reach.

    The greatest value of the data type is a limit wherever it occurs. Any other greatest or least
    value is one if values pile up on it. Where signals are known, the pile-up is looked for among
    observations of about one signal: photon counts of a dark background have many zeros, but at one
    signal they fall off evenly, while a clipped background has more zeros than ones.

    Parameters
    ----------
    values : array (n,)
        Raw intensity.
    signal : array (n,), optional
        What each value is an observation of.
    ceiling : float, optional
        Greatest value of the data type.
    """
    low, high = float(values.min()), float(values.max())
    full = ceiling is not None and high >= ceiling
    return Limits(
        low if _piles_up(values, signal) else None,
        high if full or _piles_up(-values, signal) else None,
    )


def _piles_up(values: Flat, signal: Flat | None) -> bool:
    """Whether values pile up on the least of them."""
    least = float(values.min())
    at = values == least
    if at.sum() < FEWEST or at.all():
        return False
    # the smallest values are enough to find the next levels
    count = min(values.size, max(200_000, 4 * int(at.sum())))
    levels = np.unique(np.partition(values, count - 1)[:count])[1 : LEVELS + 1]
    if levels.size == 0:
        return False
    if signal is not None:
        edges = np.linspace(signal.min(), signal.max(), 257)
        place = np.clip(np.searchsorted(edges, signal, side="right") - 1, 0, 255)
        n = np.bincount(place, minlength=256)
        limited = np.bincount(place, at, minlength=256)
        share = limited / np.maximum(n, 1)
        seen = (n >= 2 * FEWEST) & (share >= WINDOW[0]) & (share <= WINDOW[1])
        if limited[seen].sum() >= FEWEST:
            before = (values == levels[0]) & seen[place]
            return bool(limited[seen].sum() > STEEP_AT_ONE_SIGNAL * before.sum())
    # a level that only few values have is no measure of the others
    before_each = np.array([(values == level).sum() for level in levels])
    return bool(at.sum() > STEEP * before_each.mean())


def signal_range(signal: Flat, observed: Flat, limits: Limits) -> tuple[float, float]:
    """Least and greatest signal whose observations are as good as never cut off.

    Parameters
    ----------
    signal, observed : array (n,)
        Raw intensity.
    limits : Limits
        Of the observations.

    Returns
    -------
    tuple of float
        Infinite where there is no limit; an empty range where all observations are cut off.
    """
    low, high = -np.inf, np.inf
    if limits.low is None and limits.high is None:
        return low, high
    order = np.argsort(signal)
    s, y = signal[order], observed[order]
    starts = np.arange(0, max(s.size - RUN // 2, 1), RUN)  # the last run is up to 1.5 times as long
    size = np.diff(np.append(starts, s.size))
    if limits.low is not None:
        bad = np.add.reduceat((y <= limits.low).astype(np.int64), starts) / size > CUT
        last = _leading(bad)
        low = s[starts[last - 1] + size[last - 1] - 1] if last else low
    if limits.high is not None:
        bad = np.add.reduceat((y >= limits.high).astype(np.int64), starts) / size > CUT
        count = _leading(bad[::-1])
        high = s[starts[starts.size - count]] if count else high
    return float(low), float(high)


def _leading(bad: Mask) -> int:
    """How many runs to leave out from the start: up to two good ones in a row."""
    good = np.flatnonzero(~bad & ~np.append(bad[1:], False))
    return int(good[0]) if good.size else bad.size


def grid_step(values: npt.NDArray[Any]) -> float:
    """Distance of the levels that values lie on; 0 for continuous ones.

    1 for integers, in whatever type they are stored; 16 for 12 bit shifted into 16; 1/255 for 8-bit
    images scaled to [0, 1].
    """
    flat = np.ravel(values)
    flat = flat[:: max(1, flat.size // 100_000)].astype(np.float64)
    levels = np.unique(flat)
    if np.array_equal(levels, np.rint(levels)):
        # the greatest may be that of the data type, which is off the grid
        gaps = np.diff(levels[:-1]).astype(np.int64)
        return float(np.gcd.reduce(gaps)) if gaps.size else 1.0
    if levels.size < 3 or levels.size > flat.size / 3:
        return 0.0
    gaps = np.diff(levels)
    # rounding of float32 splits no level of 16 bit, but leaves gaps a little uneven
    steps = gaps / gaps.min()
    return float(gaps.min()) if np.abs(steps - np.rint(steps)).max() < 0.02 else 0.0
