"""Pairs gathered into cells and bins, so that a step of a fit costs the same for any number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Flat = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

BINS = 96  # of equal width, and as many again of equally many pairs
CELL = 0.25  # width of a residual cell in local standard deviations: loses 0.5 % of the variance
# bins that variances are compared in: divisors of `BINS`, so that each is made of whole ones
WIDE = 32  # of equal width
EQUAL = 16  # of equally many pairs
ENOUGH = 500  # pairs that a variance is estimated from: 6 % (one standard deviation)


class Cells(NamedTuple):
    """Pairs gathered into cells of nearly equal signal and residual; float64, each (n,)."""

    signal: Flat  # mean signal of the cell
    residual: Flat  # mean of observation - signal
    pairs: Flat


class Variances(NamedTuple):
    """Empirical variances in bins of the signal, which are made of narrow bins; float64."""

    signal: Flat  # (n,) mean signal of the narrow bins
    share: Flat  # (b, n) of a bin's pairs that lie in each narrow one; rows sum to 1
    variance: Flat  # (b,) of the residual about its mean in the bin, see `towards_line`
    weight: Flat  # (b,) sums to 1


def flat_pairs(signal: npt.ArrayLike, observed: npt.ArrayLike) -> tuple[Flat, Flat]:
    """Both as float64 (n,).

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.
    """
    s = np.asarray(signal, dtype=np.float64).ravel()
    y = np.asarray(observed, dtype=np.float64).ravel()
    if s.shape != y.shape:
        raise ValueError(f"signal has {s.size} values, observed {y.size}: expected pairs")
    if not (np.isfinite(s).all() and np.isfinite(y).all()):
        raise ValueError("signal and observed must be finite")
    return s, y


def edges_of(signal: Flat, even: int = BINS, equal: int = BINS) -> Flat:
    """Edges of bins of equal width and of bins of equally many signals, all together, ascending.

    The former part the few bright signals, the latter the many of a dark background.
    """
    places = signal.min() + np.linspace(0, 1, even + 1) * np.ptp(signal)
    return np.unique(np.concatenate((places, np.quantile(signal, np.linspace(0, 1, equal + 1)))))


def place(values: Flat, edges: Flat) -> Index:
    """Number of the bin that each value lies in; the outermost take what lies beyond them."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, edges.size - 2)


def gather(signal: Flat, residual: Flat) -> Cells:
    """Gather pairs into cells: signal bins, residuals by a part of the local standard deviation."""
    bin_ = place(signal, edges_of(signal))
    n = np.maximum(np.bincount(bin_), 1)
    mean = np.bincount(bin_, residual) / n
    var = np.bincount(bin_, (residual - mean[bin_]) ** 2) / n
    std = np.sqrt(np.maximum(var, 1e-12 * np.var(residual)))
    index = np.rint((residual - mean[bin_]) / (CELL * std[bin_])).astype(np.int64)
    index -= index.min()
    code = bin_ * (index.max() + 1) + index
    _, cell, count = np.unique(code, return_inverse=True, return_counts=True)
    return Cells(
        np.bincount(cell, signal) / count,
        np.bincount(cell, residual) / count,
        count.astype(np.float64),
    )


def variances(signal: Flat, residual: Flat) -> Variances | None:
    """Empirical variance of residuals, in bins of equal width and in bins of equally many pairs.

    Taken about the mean of the bin: where the signal is a little off, that is no noise. Bins of too
    few pairs, or without any noise, are left out; None if no bin remains.
    """
    bin_ = place(signal, edges_of(signal))
    n, sum_s, sum_r, sum_q = (
        np.bincount(bin_, values) for values in (1 + 0 * signal, signal, residual, residual**2)
    )
    used = n > 0
    n, sum_s, sum_r, sum_q = n[used], sum_s[used], sum_r[used], sum_q[used]
    shares, found, counts, weights = [], [], [], []
    for edges in (edges_of(signal, WIDE, 1), edges_of(signal, 1, EQUAL)):
        member = place(sum_s / n, edges) == np.arange(edges.size - 1)[:, None]
        total = member @ n
        member, total = member[total >= ENOUGH], total[total >= ENOUGH]
        shares.append(member * n / total[:, None])
        found.append(member @ sum_q / total - (member @ sum_r / total) ** 2)
        counts.append(total)
        # of few pairs a variance is itself uncertain; beyond some thousand all bins count alike
        weight = total / (total + 10 * ENOUGH)
        weights.append(weight / weight.sum() if weight.size else weight)
    share, variance, count, weight = (
        np.concatenate(parts) for parts in (shares, found, counts, weights)
    )
    noisy = variance > 0
    share, variance, count, weight = (v[noisy] for v in (share, variance, count, weight))
    if not variance.size:
        return None
    shrunk = towards_line(share @ (sum_s / n), variance, count)
    return Variances(sum_s / n, share, shrunk, weight / weight.sum())


def fit_variance_line(signal: Flat, variance: Flat, count: Flat, expected: Flat) -> tuple[float, float]:
    """Gain and offset of variance = gain * signal + offset; ``expected`` is about the variance.

    The variance of n pairs has a standard error of sqrt(2 / n) of itself.
    """
    weight = np.sqrt(count) / expected
    columns = np.stack((signal, np.ones_like(signal)), axis=1) * weight[:, None]
    found, *_ = np.linalg.lstsq(columns, variance * weight, rcond=None)
    return float(found[0]), float(found[1])


def towards_line(signal: Flat, variance: Flat, count: Flat) -> Flat:
    """Variances, nearer to their straight line the less certain they are.

    The noise of a detector, shot and read noise, has a variance that is linear in the signal. If
    all bins agree with that within their errors, the line is known better than any of them; if
    they do not, those of many pairs stay what they are (Hedges and Olkin 1985).
    """
    gain, offset = fit_variance_line(signal, variance, count, variance)
    line = gain * signal + offset
    if (line <= 0).any():
        return variance
    error = 2 / count
    off = variance / line - 1
    spread = max(0.0, float((off**2 - error).mean()))
    return np.asarray(line * (1 + off * spread / (spread + error)))
