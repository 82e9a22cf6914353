"""Group pairs into cells and bins, so that the cost of a fit does not depend on their number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Flat = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

SIGNAL_BINS = 96  # of equal width, and as many again of equal counts
CELL_WIDTH = 0.25  # in local standard deviations of the residual: loses 0.5 % of the variance
# bins in which variances are compared; both divide `SIGNAL_BINS`, so that their edges coincide
WIDTH_BINS = 32  # of equal width
COUNT_BINS = 16  # of equal counts
VARIANCE_PAIRS = 500  # fewest pairs per variance: its standard error is 6 %


class Cells(NamedTuple):
    """Groups of pairs of nearly equal signal and residual; float64, each (n,)."""

    signal: Flat  # mean signal
    residual: Flat  # mean of observation - signal
    pairs: Flat  # number of pairs


class Variances(NamedTuple):
    """Empirical variances in b bins of the signal, each a union of narrow bins; float64."""

    signal: Flat  # (n,) mean signal of the narrow bins
    share: Flat  # (b, n) share of a bin's pairs in each narrow bin; rows sum to 1
    variance: Flat  # (b,) of the residual about its mean in the bin, see `shrink_towards_line`
    weight: Flat  # (b,) sums to 1


def flat_pairs(signal: npt.ArrayLike, observed: npt.ArrayLike) -> tuple[Flat, Flat]:
    """Return signal and observation as float64 (n,).

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.
    """
    s = np.asarray(signal, dtype=np.float64).ravel()
    y = np.asarray(observed, dtype=np.float64).ravel()
    if s.shape != y.shape:
        raise ValueError(f"signal has {s.size} values and observed {y.size}, but they must pair")
    if not (np.isfinite(s).all() and np.isfinite(y).all()):
        raise ValueError("signal and observed must be finite")
    return s, y


def edges_of(signal: Flat, width: int = SIGNAL_BINS, count: int = SIGNAL_BINS) -> Flat:
    """Return the edges of bins of equal width together with those of bins of equal counts.

    The former separate the few bright signals, the latter the many of a dark background.
    """
    even = signal.min() + np.linspace(0, 1, width + 1) * np.ptp(signal)
    return np.unique(np.concatenate((even, np.quantile(signal, np.linspace(0, 1, count + 1)))))


def place(values: Flat, edges: Flat) -> Index:
    """Return the bin of each value; values beyond the edges belong to the outermost bins."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, edges.size - 2)


def gather(signal: Flat, residual: Flat) -> Cells:
    """Group pairs by signal bin, and by residual in units of the local standard deviation."""
    bin_ = place(signal, edges_of(signal))
    n = np.maximum(np.bincount(bin_), 1)
    mean = np.bincount(bin_, residual) / n
    var = np.bincount(bin_, (residual - mean[bin_]) ** 2) / n
    std = np.sqrt(np.maximum(var, 1e-12 * np.var(residual)))
    index = np.rint((residual - mean[bin_]) / (CELL_WIDTH * std[bin_])).astype(np.int64)
    index -= index.min()
    code = bin_ * (index.max() + 1) + index
    _, cell, count = np.unique(code, return_inverse=True, return_counts=True)
    return Cells(
        np.bincount(cell, signal) / count,
        np.bincount(cell, residual) / count,
        count.astype(np.float64),
    )


def variances(signal: Flat, residual: Flat) -> Variances | None:
    """Measure the variance of residuals in bins of equal width and in bins of equal counts.

    The variance is taken about the mean of the bin, so that a small bias of the signal does not
    count as noise. Bins with too few pairs or without noise are dropped; returns None if no bin
    remains.
    """
    bin_ = place(signal, edges_of(signal))
    n, sum_s, sum_r, sum_q = (
        np.bincount(bin_, values) for values in (1 + 0 * signal, signal, residual, residual**2)
    )
    used = n > 0
    n, sum_s, sum_r, sum_q = n[used], sum_s[used], sum_r[used], sum_q[used]
    shares, measured, counts, weights = [], [], [], []
    for edges in (edges_of(signal, WIDTH_BINS, 1), edges_of(signal, 1, COUNT_BINS)):
        member = place(sum_s / n, edges) == np.arange(edges.size - 1)[:, None]
        total = member @ n
        member, total = member[total >= VARIANCE_PAIRS], total[total >= VARIANCE_PAIRS]
        shares.append(member * n / total[:, None])
        measured.append(member @ sum_q / total - (member @ sum_r / total) ** 2)
        counts.append(total)
        # the variance of few pairs is uncertain; beyond some thousand pairs all bins weigh alike
        weight = total / (total + 10 * VARIANCE_PAIRS)
        weights.append(weight / weight.sum() if weight.size else weight)
    share, variance, count, weight = (
        np.concatenate(parts) for parts in (shares, measured, counts, weights)
    )
    noisy = variance > 0
    share, variance, count, weight = (v[noisy] for v in (share, variance, count, weight))
    if not variance.size:
        return None
    shrunk = shrink_towards_line(share @ (sum_s / n), variance, count)
    return Variances(sum_s / n, share, shrunk, weight / weight.sum())


def fit_variance_line(
    signal: Flat, variance: Flat, count: Flat, expected: Flat
) -> tuple[float, float]:
    """Fit variance = gain * signal + offset; return gain and offset.

    Weighted least squares: the standard error of a variance of n pairs is sqrt(2 / n) times the
    ``expected`` variance.
    """
    weight = np.sqrt(count) / expected
    columns = np.stack((signal, np.ones_like(signal)), axis=1) * weight[:, None]
    (gain, offset), *_ = np.linalg.lstsq(columns, variance * weight, rcond=None)
    return float(gain), float(offset)


def shrink_towards_line(signal: Flat, variance: Flat, count: Flat) -> Flat:
    """Shrink variances towards their line, the more so the less certain they are.

    Shot and read noise of a detector have a variance that is linear in the signal. If all bins
    agree with a line within their errors, the line is more accurate than any single bin; if they do
    not, bins of many pairs keep their variance (random-effects model, Hedges and Olkin 1985).
    """
    gain, offset = fit_variance_line(signal, variance, count, variance)
    line = gain * signal + offset
    if (line <= 0).any():
        return variance
    error = 2 / count
    deviation = variance / line - 1
    spread = max(0.0, float((deviation**2 - error).mean()))
    return np.asarray(line * (1 + deviation * spread / (spread + error)))
