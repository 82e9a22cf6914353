"""Calibrated uncertainty: the factor that turns the spread of posterior samples into an error bar.

Model of Levi et al. (2022), with the variability of samples in place of a predicted variance
(paper, section on calibration): ``truth ~ Normal(mean, (a std)^2)`` with one scalar a per
structure and no offset. Fit a on validation frames, show it on test frames; the prediction itself
does not change. All arguments of one structure may have any shape, or be sequences of frames of
different sizes; their pixels are pooled. All are in one unit (that of the structure) and all
arithmetic is float64.
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

# a few pixels of tiny std would otherwise dominate the mean of (error / std)^2
STD_FLOOR = 0.05
# the closed form has no finite mean for up to 3 samples and is biased upwards for a few more
CLOSED_FORM_MIN_SAMPLES = 10

LINE_BINS, LINE_KEEP = 50, (1e-5, 1 - 1e-5)


@dataclass(frozen=True)
class Calibration:
    """Calibration of one structure: ``error bar = scalar * std``.

    Attributes
    ----------
    scalar : float
        The one to use, see `calibrate`.
    closed : float
        Maximum-likelihood value ``sqrt(mean(error^2 / std^2))``.
    ratio : float
        ``sqrt(mean(error^2) / mean(std^2))``, which bears few samples.
    """

    scalar: float
    closed: float
    ratio: float


@dataclass(frozen=True)
class CalibrationCurve:
    """Error against claimed uncertainty; on the identity line for a perfect calibration.

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
    reference: Pixels,
    mean: Pixels,
    std: Pixels,
    *,
    form: Literal["closed", "ratio"] = "closed",
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
        When shapes differ, a value is not finite or a std negative, or every std is zero.
    """
    squared_error, std_ = _errors(reference, mean, std)
    if form == "ratio":
        return math.sqrt(float(squared_error.mean()) / float(np.mean(std_**2)))
    if form != "closed":
        raise ValueError(f"the calibration form is {form!r}; choose 'closed' or 'ratio'")
    median = float(np.median(std_))
    if median == 0:  # more than half of the pixels never vary: judge by those that do
        median = float(np.median(std_[std_ > 0]))
    return math.sqrt(float(np.mean(squared_error / np.maximum(std_, STD_FLOOR * median) ** 2)))


def noisy_calibration_scalar(
    observed: Pixels, mean: Pixels, std: Pixels, noise_variance: Pixels | float
) -> float | None:
    """Fit the calibration scalar of one structure when only noisy references exist.

    Noise that is independent of the prediction adds its variance to the squared error, so it is
    taken off: ``sqrt((mean((observed - mean)^2) - mean(noise_variance)) / mean(std^2))``. The
    noise of the reference must not be that of the input: a network that copies some of its input
    noise would look better than it is.

    Parameters
    ----------
    observed : ndarray or sequence of ndarray
        Noisy images of the structure; any shape, the same for all.
    mean, std : ndarray or sequence of ndarray
        Mean and standard deviation over posterior samples, in the unit of `observed`.
    noise_variance : ndarray, sequence of ndarray, or float
        Variance of the noise of `observed` (unit squared), per pixel or one for all.

    Returns
    -------
    float or None
        Factor on std; None when the errors are no greater than the noise alone explains.

    Raises
    ------
    ValueError
        When shapes differ, a value is not finite or a std or variance negative, or every std is
        zero.
    """
    squared_error, std_ = _errors(observed, mean, std)
    if isinstance(noise_variance, np.ndarray | Sequence):
        noise = _pooled(noise_variance)
    else:
        noise = np.array([noise_variance], dtype=np.float64)
    if noise.size not in (1, std_.size):
        raise ValueError(
            f"the noise variance has {noise.size} pixels and the std {std_.size}; "
            "give one variance per pixel or one number"
        )
    if not np.isfinite(noise).all() or noise.min() < 0:
        raise ValueError("the noise variance must be finite and not negative in every pixel")
    excess = float(squared_error.mean()) - float(noise.mean())
    return math.sqrt(excess / float(np.mean(std_**2))) if excess > 0 else None


def calibrate(
    reference: Pixels, means: Pixels, stds: Pixels, samples: int, form: CalibrationForm = "auto"
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
        Which scalar to use; "auto": the closed form for 10 or more samples, the ratio for fewer.
        The closed form weighs each pixel by ``1 / std^2``, the ratio weighs all alike.

    Returns
    -------
    list of Calibration
        One per structure.

    Raises
    ------
    ValueError
        When fewer than two samples were drawn, frames do not fit together, or
        `calibration_scalar` refuses a structure.
    """
    if samples < 2:
        raise ValueError(f"{samples} posterior sample has no spread to calibrate; draw 2 or more")
    frames = [[np.asarray(frame) for frame in group] for group in (reference, means, stds)]
    structures = {frame.shape[:1] for group in frames for frame in group if frame.ndim == 3}
    if len(structures) != 1 or any(frame.ndim != 3 for group in frames for frame in group):
        shapes = sorted({frame.shape for group in frames for frame in group})
        raise ValueError(
            f"frames of shapes {shapes} came in; give one or more frames (C, Y, X) "
            "that all have the same number of structures C"
        )
    (n_structures,) = structures.pop()
    if form == "auto":
        form = "closed" if samples >= CLOSED_FORM_MIN_SAMPLES else "ratio"
    result = []
    for k in range(n_structures):
        truth, mean, std = ([frame[k] for frame in group] for group in frames)
        closed = calibration_scalar(truth, mean, std, form="closed")
        ratio = calibration_scalar(truth, mean, std, form="ratio")
        result.append(Calibration(closed if form == "closed" else ratio, closed, ratio))
    return result


def calibration_curve(
    reference: Pixels,
    mean: Pixels,
    std: Pixels,
    scalar: float = 1.0,
    *,
    bins: int = 30,
    keep: tuple[float, float] = (0.001, 0.999),
) -> CalibrationCurve:
    """Root mean squared error against root mean variance, over bins of equal claimed uncertainty.

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
        Fractions (0 to 1) of the pixels in order of std between which bins are kept.

    Returns
    -------
    CalibrationCurve
        Bins in order of rising RMV.

    Raises
    ------
    ValueError
        When an argument is out of range, or for the reasons of `calibration_scalar`.
    """
    squared_error, std_ = _errors(reference, mean, std)
    if not (math.isfinite(scalar) and scalar > 0):
        raise ValueError(f"the calibration scalar is {scalar:g} but must be finite and positive")
    if bins < 1 or not 0 <= keep[0] < keep[1] <= 1:
        raise ValueError(
            f"bins is {bins} and keep {keep}; give one bin or more and 0 <= keep[0] < keep[1] <= 1"
        )
    uncertainty = scalar * std_
    edges = np.linspace(uncertainty.min(), uncertainty.max(), bins + 1)
    # only inner edges are looked up: the first and last bin reach as far as the pixels do
    index = np.searchsorted(edges[1:-1], uncertainty, side="right")
    count = np.bincount(index, minlength=bins).astype(np.float64)
    up_to = np.cumsum(count)
    # a bin stays when some of its pixels lie inside the kept range
    kept = (count > 0) & (up_to > keep[0] * up_to[-1]) & (up_to - count < keep[1] * up_to[-1])
    n = count[kept]
    rmv = np.sqrt(np.bincount(index, uncertainty**2, minlength=bins)[kept] / n)
    rmse = np.sqrt(np.bincount(index, squared_error, minlength=bins)[kept] / n)
    return CalibrationCurve(rmv, rmse, n)


def calibration_error(curve: CalibrationCurve) -> float:
    """Mean over pixels of ``|RMSE - RMV| / RMV`` of their bins: 0 is perfect, 0.1 is 10 % off.

    Bins of zero RMV have no relative error and are left out; a ValueError tells when none remains.
    """
    positive = curve.rmv > 0
    if not positive.any():
        raise ValueError("every bin has zero uncertainty; draw two or more different samples")
    rmv, rmse = curve.rmv[positive], curve.rmse[positive]
    return float(np.average(np.abs(rmse - rmv) / rmv, weights=curve.count[positive]))


def calibration_line(reference: Pixels, mean: Pixels, std: Pixels) -> tuple[float, float]:
    """Fit slope and offset of the error against the spread, ``RMSE = slope * RMV + offset``.

    The option of later work, which allows an offset: linear regression over 50 bins of equal
    width between the pixel quantiles 1e-5 and 1 - 1e-5, each bin with the same weight.

    Parameters
    ----------
    reference, mean, std : ndarray or sequence of ndarray
        As for `calibration_curve`.

    Returns
    -------
    slope : float
        Without unit.
    offset : float
        In the unit of the reference.

    Raises
    ------
    ValueError
        When all pixels fall into one bin, or for the reasons of `calibration_scalar`.
    """
    curve = calibration_curve(reference, mean, std, bins=LINE_BINS, keep=LINE_KEEP)
    if curve.rmv.size < 2:
        raise ValueError("the std is the same everywhere, so no line can be fitted; use the scalar")
    x = curve.rmv - curve.rmv.mean()
    slope = float(np.vdot(x, curve.rmse) / np.vdot(x, x))
    return slope, float(curve.rmse.mean() - slope * curve.rmv.mean())


def _pooled(values: Pixels) -> Flat:
    """All pixels of an array or a sequence of arrays, in order."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False).ravel()
    parts = [np.asarray(part, dtype=np.float64).ravel() for part in values]
    return np.concatenate(parts) if parts else np.empty(0)


def _shapes(values: Pixels) -> list[tuple[int, ...]]:
    """Shape of an array, or of each array of a sequence."""
    return [values.shape] if isinstance(values, np.ndarray) else [np.shape(v) for v in values]


def _errors(reference: Pixels, mean: Pixels, std: Pixels) -> tuple[Flat, Flat]:
    """Check the arrays of one structure; return squared error and std of the pooled pixels."""
    shapes = [_shapes(values) for values in (reference, mean, std)]
    if not shapes[0] == shapes[1] == shapes[2]:
        raise ValueError(
            f"reference, mean and std have shapes {shapes[0][:3]}, {shapes[1][:3]} and "
            f"{shapes[2][:3]}; all three need the same frames"
        )
    reference_, mean_, std_ = _pooled(reference), _pooled(mean), _pooled(std)
    if std_.size == 0:
        raise ValueError("no pixels came in; give at least one frame")
    squared_error = (reference_ - mean_) ** 2
    if not (np.isfinite(squared_error).all() and np.isfinite(std_).all()):
        raise ValueError("reference, mean or std has values that are not finite; leave them out")
    if std_.min() < 0:
        raise ValueError(f"a std of {std_.min():g} came in, but a std is never negative")
    if std_.max() == 0:
        raise ValueError(
            "the std is zero everywhere, so nothing can be calibrated; "
            "draw two or more different posterior samples"
        )
    return squared_error, std_
