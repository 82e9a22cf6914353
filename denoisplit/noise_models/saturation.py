"""Find saturated and clipped pixels, and the signals that must be excluded because of them.

A camera records its limit in place of any value beyond it. Near the limit, the observations of a
signal are therefore truncated: their variance is too small and their mean is biased. Dropping only
the values at the limit would truncate the distribution as well (dropping 1 % from one side of a
Gaussian reduces its variance by 6 %). So pairs are excluded *by their signal*, which noise does not
select: all signals with more than `LIMITED_SHARE` of their observations at the limit. The few
observations at the limit that remain are dropped too, at the cost of at most 1 % of the variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.noise_models.binning import Flat, place

Image = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

LIMITED_SHARE = 1e-3  # of a signal's observations; above, the signal is excluded
LIMITED_RUN = 2000  # pairs of neighbouring signals over which that share is measured
PILE_UP_COUNT = 20  # fewest equal values that count as a pile-up
# a pile-up has this many times the values of the levels before it
PILE_UP_RATIO = 3.0
PILE_UP_RATIO_AT_ONE_SIGNAL = 1.2
PILE_UP_WINDOW = (0.05, 0.4)  # share of a signal's observations at a limit that shows its shape
PILE_UP_LEVELS = 5  # levels before a limit that it is compared with
PILE_UP_BINS = 256  # of the signal
BLUR = 2.0  # px; blurred observations stand in for an unknown signal
MAX_LIMIT_PIXELS = 20_000_000  # pixels that are examined


class Limits(NamedTuple):
    """Lowest and highest value of a recording, each None if the recording does not reach it."""

    low: float | None
    high: float | None

    def inside(self, values: npt.NDArray[Any]) -> Mask:
        """Return which values lie between the limits."""
        inside = np.ones(values.shape, dtype=bool)
        if self.low is not None:
            inside &= values > self.low
        if self.high is not None:
            inside &= values < self.high
        return inside


def ceiling_of(images: Sequence[Image]) -> float | None:
    """Return the greatest value of the data type, or None for real numbers."""
    kinds = {image.dtype for image in images}
    if not all(np.issubdtype(kind, np.integer) for kind in kinds):
        return None
    return float(min(np.iinfo(kind).max for kind in kinds))


def limits_of(frames: Sequence[Image]) -> Limits:
    """Find the limits that frames (Y, X) of one recording reach, without knowing their signals.

    Zeros are frequent in dark photon counts too, but they are not truncated, and excluding them
    would bias dark signals. The two are distinguished at a given signal, for which blurred frames
    stand in here.
    """
    from scipy.ndimage import gaussian_filter

    every = 1 + sum(frame.size for frame in frames) // MAX_LIMIT_PIXELS
    values, blurred = (
        np.concatenate([np.ravel(image)[::every] for image in images]).astype(np.float64)
        for images in (frames, (gaussian_filter(f.astype(np.float32), BLUR) for f in frames))
    )
    ceiling = ceiling_of(frames)
    limits = find_limits(values, blurred, ceiling=ceiling)
    if ceiling is not None and any(frame.max() >= ceiling for frame in frames):
        return limits._replace(high=ceiling)
    return limits


def find_limits(
    values: Flat, signal: Flat | None = None, *, ceiling: float | None = None
) -> Limits:
    """Find the limits that values reach.

    The greatest value of the data type is a limit wherever it occurs. Any other extreme value is a
    limit if values pile up on it. With known signals, the pile-up is looked for among observations
    of similar signal: photon counts of a dark background contain many zeros, but at one signal
    their distribution falls off evenly, while a clipped background has more zeros than ones.

    The ``values`` (n,) and the ``signal`` behind each are raw intensity; ``ceiling`` is the
    greatest value of the data type, if it has one.
    """
    low, high = float(values.min()), float(values.max())
    full = ceiling is not None and high >= ceiling
    return Limits(
        low if _piles_up(values, signal) else None,
        high if full or _piles_up(-values, signal) else None,
    )


def _piles_up(values: Flat, signal: Flat | None) -> bool:
    """Return whether values pile up on the least of them."""
    at_least = values == values.min()
    if at_least.sum() < PILE_UP_COUNT or at_least.all():
        return False
    # the smallest values suffice to find the next levels
    count = min(values.size, max(200_000, 4 * int(at_least.sum())))
    levels = np.unique(np.partition(values, count - 1)[:count])[1 : PILE_UP_LEVELS + 1]
    if levels.size == 0:
        return False
    if signal is not None:
        bin_ = place(signal, np.linspace(signal.min(), signal.max(), PILE_UP_BINS + 1))
        n = np.bincount(bin_, minlength=PILE_UP_BINS)
        limited = np.bincount(bin_, at_least, minlength=PILE_UP_BINS)
        share = limited / np.maximum(n, 1)
        low, high = PILE_UP_WINDOW
        telling = (n >= 2 * PILE_UP_COUNT) & (share >= low) & (share <= high)
        if limited[telling].sum() >= PILE_UP_COUNT:
            before = (values == levels[0]) & telling[bin_]
            return bool(limited[telling].sum() > PILE_UP_RATIO_AT_ONE_SIGNAL * before.sum())
    # the mean over several levels, because a single one may be rare
    before_each = np.array([(values == level).sum() for level in levels])
    return bool(at_least.sum() > PILE_UP_RATIO * before_each.mean())


def signal_range(signal: Flat, observed: Flat, limits: Limits) -> tuple[float, float]:
    """Find the range of signals whose observations (n,) are practically never truncated.

    It is infinite where there is no limit, and empty if all observations are truncated.
    """
    low, high = -np.inf, np.inf
    if limits.low is None and limits.high is None:
        return low, high
    order = np.argsort(signal)
    s, y = signal[order], observed[order]
    # the last run is up to 1.5 times as long
    starts = np.arange(0, max(s.size - LIMITED_RUN // 2, 1), LIMITED_RUN)
    size = np.diff(np.append(starts, s.size))
    if limits.low is not None:
        bad = np.add.reduceat((y <= limits.low).astype(np.int64), starts) / size > LIMITED_SHARE
        last = _leading(bad)
        low = s[starts[last - 1] + size[last - 1] - 1] if last else low
    if limits.high is not None:
        bad = np.add.reduceat((y >= limits.high).astype(np.int64), starts) / size > LIMITED_SHARE
        count = _leading(bad[::-1])
        high = s[starts[starts.size - count]] if count else high
    return float(low), float(high)


def _leading(bad: Mask) -> int:
    """Return how many runs to exclude from the start: those before two good ones in a row."""
    good = np.flatnonzero(~bad & ~np.append(bad[1:], False))
    return int(good[0]) if good.size else bad.size


def grid_step(values: npt.NDArray[Any]) -> float:
    """Return the distance of the levels that values lie on; 0 for continuous values.

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
    # float32 separates all levels of 16 bit, but makes their gaps slightly uneven
    steps = gaps / gaps.min()
    return float(gaps.min()) if np.abs(steps - np.rint(steps)).max() < 0.02 else 0.0
