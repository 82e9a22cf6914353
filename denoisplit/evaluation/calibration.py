"""Calibrated uncertainty: the factor that turns the spread of posterior samples into an error bar.

Model of Levi et al. (2022), with the variance of posterior samples instead of a predicted variance
(paper, section on calibration): ``truth ~ Normal(mean, (a std)^2)`` with one scalar a per
structure and no offset. The scalar is fitted on validation frames and checked on test frames; the
prediction itself does not change. Arguments of one structure may have any shape, or be sequences
of frames of different sizes; their pixels are pooled. All are in the unit of the structure, and
all arithmetic is float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from denoisplit.config.groups import CalibrationForm

Pixels = NDArray[Any] | Sequence[NDArray[Any]]
Flat = NDArray[np.float64]

# share of the median std; a few pixels of tiny std would dominate the mean of (error / std)^2
STD_FLOOR = 0.05
# the mean of 1 / std^2 has a finite variance above 4 degrees of freedom, see `closed_form_bias`
MAX_FREEDOM_OF_RATIO = 4.0


@dataclass(frozen=True)
class Calibration:
    """Calibration of one structure: ``error bar = scalar * std``.

    Attributes
    ----------
    scalar : float
        The form that is used, see `calibrate`.
    closed : float
        Maximum-likelihood value ``sqrt(mean(error^2 / std^2))``, less its bias; the ratio where
        the stds come from too few samples for it.
    ratio : float
        ``sqrt(mean(error^2) / mean(std^2))``, reliable also for few samples.
    """

    scalar: float
    closed: float
    ratio: float


@dataclass(frozen=True)
class CalibrationCurve:
    """Error against claimed uncertainty; the identity line for a perfect calibration.

    Attributes
    ----------
    rmv, rmse : ndarray, (bins,), float64
        Root mean variance and root mean squared error of the pixels of each kept bin.
    count : ndarray, (bins,), float64
        Number of pixels in each kept bin; never 0.
    """

    rmv: Flat
    rmse: Flat
    count: Flat


def calibration_scalar(
    reference: Pixels, mean: Pixels, std: Pixels, *, form: Literal["closed", "ratio"] = "closed"
) -> float:
    """Fit the calibration scalar of one structure.

    Parameters
    ----------
    reference : ndarray or sequence of ndarray
        Noise-free truth; any shape, the same for all three.
    mean, std : ndarray or sequence of ndarray
        Mean and standard deviation over posterior samples, in the unit of the reference.
    form : {"closed", "ratio"}
        "closed": optimum of the Gaussian likelihood of Levi et al. (2022),
        ``sqrt(mean(error^2 / std^2))``, std floored at 0.05 of its median. "ratio":
        ``sqrt(mean(error^2) / mean(std^2))``.

    Returns
    -------
    float
        Factor on std, without unit.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, a std is negative, or every std is zero.
    """
    squared_error, std_ = _errors(reference, mean, std)
    if form == "ratio":
        return math.sqrt(float(squared_error.mean()) / float(np.mean(std_**2)))
    if form != "closed":
        raise ValueError(f"`form` is {form!r}; choose 'closed' or 'ratio'")
    median = float(np.median(std_))
    if median == 0:  # more than half of the pixels never vary: use those that do
        median = float(np.median(std_[std_ > 0]))
    return math.sqrt(float(np.mean(squared_error / np.maximum(std_, STD_FLOOR * median) ** 2)))


def degrees_of_freedom(samples: int, *, antithetic: bool) -> float:
    """Return the degrees of freedom of a std over posterior samples; a pair counts once."""
    return samples / 2 if antithetic else samples - 1.0


def closed_form_bias(freedom: float) -> float:
    """Return the factor by which the closed form exceeds the true scalar.

    The variance over samples follows a scaled chi-square distribution with ``freedom`` degrees of
    freedom n, and the mean of its inverse is ``n / (n - 2)`` times the inverse of its mean.
    """
    return math.sqrt(freedom / (freedom - 2))


def calibrate(
    reference: Pixels,
    means: Pixels,
    stds: Pixels,
    samples: int,
    form: CalibrationForm = "auto",
    *,
    antithetic: bool,
) -> list[Calibration]:
    """Calibrate every structure on the validation frames.

    Parameters
    ----------
    reference : ndarray (N, C, Y, X) or sequence of ndarray (C, Y, X)
        Noise-free truth; frames of a sequence may differ in size.
    means, stds : as `reference`
        Mean and standard deviation over posterior samples, in the unit of the reference.
    samples : int
        Number of posterior samples behind `means` and `stds`.
    form : {"auto", "closed", "ratio"}
        Which scalar to use; "auto" is the closed form. It weighs each pixel by ``1 / std^2``, the
        ratio weighs all alike. For up to 8 antithetic or 5 independent samples it is always the
        ratio, as single stds are too uncertain for weights.
    antithetic : bool
        Whether the samples are antithetic pairs.

    Returns
    -------
    list of Calibration
        One per structure.

    Raises
    ------
    ValueError
        If fewer than two samples were drawn, frames do not match, or `calibration_scalar` fails.
    """
    if samples < 2:
        raise ValueError(f"{samples} posterior sample has no spread to calibrate; draw 2 or more")
    frames = [[np.asarray(frame) for frame in group] for group in (reference, means, stds)]
    structures = {frame.shape[:1] for group in frames for frame in group if frame.ndim == 3}
    if len(structures) != 1 or any(frame.ndim != 3 for group in frames for frame in group):
        shapes = sorted({frame.shape for group in frames for frame in group})
        raise ValueError(
            f"the frames have shapes {shapes}; pass one or more frames (C, Y, X) "
            "that all have the same number of structures C"
        )
    (n_structures,) = structures.pop()
    freedom = degrees_of_freedom(samples, antithetic=antithetic)
    calibrations = []
    for k in range(n_structures):
        truth, mean, std = ([frame[k] for frame in group] for group in frames)
        closed = ratio = calibration_scalar(truth, mean, std, form="ratio")
        if freedom > MAX_FREEDOM_OF_RATIO:
            closed = calibration_scalar(truth, mean, std) / closed_form_bias(freedom)
        calibrations.append(Calibration(ratio if form == "ratio" else closed, closed, ratio))
    return calibrations


def calibration_curve(
    reference: Pixels,
    mean: Pixels,
    std: Pixels,
    scalar: float = 1.0,
    *,
    bins: int = 30,
    keep: tuple[float, float] = (0.001, 0.999),
) -> CalibrationCurve:
    """Return root mean squared error against root mean variance, in bins of claimed uncertainty.

    Bins are half-open, the last one closed, so every pixel falls into exactly one. Empty bins are
    dropped, and so are those whose pixels all lie outside `keep` (paper, calibration plot).

    Parameters
    ----------
    reference, mean, std : ndarray or sequence of ndarray
        Truth, mean and standard deviation over posterior samples of one structure; any shape, the
        same for all three, one unit.
    scalar : float
        Calibration factor on std.
    bins : int
        Number of bins of equal width between the least and the greatest ``scalar * std``, before
        any is dropped.
    keep : tuple of float
        Quantiles of the std (0 to 1) between which bins are kept.

    Returns
    -------
    CalibrationCurve
        Bins in order of rising RMV.

    Raises
    ------
    ValueError
        If an argument is out of range, or for the reasons of `calibration_scalar`.
    """
    return binned_errors(*_errors(reference, mean, std), scalar, bins=bins, keep=keep)


def binned_errors(
    squared_error: NDArray[Any],
    std: NDArray[Any],
    scalar: float = 1.0,
    *,
    bins: int = 30,
    keep: tuple[float, float] = (0.001, 0.999),
) -> CalibrationCurve:
    """Return a `calibration_curve` from squared errors, true or estimated.

    Parameters
    ----------
    squared_error, std : ndarray (n,)
        Of the pixels of one structure. Single estimated errors may be negative; a bin whose mean is
        negative has an RMSE of 0.
    scalar, bins, keep
        As in `calibration_curve`.
    """
    if not (math.isfinite(scalar) and scalar > 0):
        raise ValueError(f"`scalar` is {scalar:g}, but must be finite and positive")
    if bins < 1 or not 0 <= keep[0] < keep[1] <= 1:
        raise ValueError(
            f"`bins` is {bins} and `keep` is {keep}; "
            "pass one bin or more and 0 <= keep[0] < keep[1] <= 1"
        )
    uncertainty = scalar * std.astype(np.float64)
    edges = np.linspace(uncertainty.min(), uncertainty.max(), bins + 1)
    # only inner edges are needed: every pixel lies between the outer ones
    index = np.searchsorted(edges[1:-1], uncertainty, side="right")
    count = np.bincount(index, minlength=bins).astype(np.float64)
    up_to = np.cumsum(count)
    # a bin is kept if some of its pixels lie inside the range
    kept = (count > 0) & (up_to > keep[0] * up_to[-1]) & (up_to - count < keep[1] * up_to[-1])
    n = count[kept]
    rmv = np.sqrt(np.bincount(index, uncertainty**2, minlength=bins)[kept] / n)
    rmse = np.sqrt(np.maximum(np.bincount(index, squared_error, minlength=bins)[kept] / n, 0))
    return CalibrationCurve(rmv, rmse, n)


def calibration_error(curve: CalibrationCurve) -> float:
    """Return the mean of ``|RMSE - RMV| / RMV`` over pixels: 0 is perfect, 0.1 is 10 % off.

    Bins of zero RMV have no relative error and are excluded.

    Raises
    ------
    ValueError
        If every bin has zero RMV.
    """
    positive = curve.rmv > 0
    if not positive.any():
        raise ValueError("every bin has zero uncertainty; draw two or more different samples")
    rmv, rmse = curve.rmv[positive], curve.rmse[positive]
    return float(np.average(np.abs(rmse - rmv) / rmv, weights=curve.count[positive]))


def _pooled(values: Pixels) -> Flat:
    """Return all pixels of an array, or of a sequence of arrays, in order."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False).ravel()
    parts = [np.asarray(part, dtype=np.float64).ravel() for part in values]
    return np.concatenate(parts) if parts else np.empty(0)


def _shapes(values: Pixels) -> list[tuple[int, ...]]:
    """Return the shape of an array, or of each array of a sequence."""
    return [values.shape] if isinstance(values, np.ndarray) else [np.shape(v) for v in values]


def _errors(reference: Pixels, mean: Pixels, std: Pixels) -> tuple[Flat, Flat]:
    """Check the arrays of one structure; return squared errors and stds of the pooled pixels."""
    shapes = [_shapes(values) for values in (reference, mean, std)]
    if not shapes[0] == shapes[1] == shapes[2]:
        raise ValueError(
            f"the reference, mean and std have shapes {shapes[0][:3]}, {shapes[1][:3]} and "
            f"{shapes[2][:3]}; pass the same frames for all three"
        )
    reference_, mean_, std_ = _pooled(reference), _pooled(mean), _pooled(std)
    if std_.size == 0:
        raise ValueError("there are no pixels; pass at least one frame")
    squared_error = (reference_ - mean_) ** 2
    if not (np.isfinite(squared_error).all() and np.isfinite(std_).all()):
        raise ValueError("the reference, mean or std has values that are not finite; exclude them")
    if std_.min() < 0:
        raise ValueError(f"the std has a value of {std_.min():g}, but a std is never negative")
    if std_.max() == 0:
        raise ValueError(
            "the std is zero everywhere, so nothing can be calibrated; "
            "draw two or more different posterior samples"
        )
    return squared_error, std_
