"""Metrics of one frame against its truth: range-invariant PSNR, MS-SSIM, correlation with noise.

Everything is computed in float64, MS-SSIM in float32, on one frame (Y, X) of one structure;
`average_over_frames` then turns the values of all test frames into a mean with its standard error.
Differences between systems below that error, or below 1 dB, mean little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoisplit.machine.distributed import no_launcher

Frame = NDArray[Any]
Frames = Sequence[NDArray[Any]] | NDArray[Any]

# four halvings and an 11 px window: torchmetrics asks for side // 16 > 10
MS_SSIM_MIN_SIDE = 176
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

BLUR_SIGMAS = (1, 2, 3, 4)


@dataclass(frozen=True)
class FrameAverage:
    """Mean of a metric over frames and its standard error, in the unit of the values.

    Attributes
    ----------
    mean : float or None
        None if no frame has a value.
    sem : float or None
        Standard deviation (divisor N - 1) over sqrt(N); None for fewer than two frames.
    """

    mean: float | None
    sem: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return ``{"mean": ..., "sem": ...}``, as in metrics.json."""
        return {"mean": self.mean, "sem": self.sem}


def average_over_frames(values: Sequence[float | None]) -> FrameAverage:
    """Average the values of a metric over frames; frames without a value (None) are excluded."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    if present.size == 0:
        return FrameAverage(None, None)
    mean = float(present.mean())
    # a perfect frame has infinite PSNR, so that there is no standard error
    if present.size == 1 or not np.isfinite(present).all():
        return FrameAverage(mean, None)
    return FrameAverage(mean, float(present.std(ddof=1) / math.sqrt(present.size)))


def range_invariant_psnr(truth: Frame, prediction: Frame) -> float:
    """Return the PSNR of one frame, invariant to scale and offset of the prediction.

    The means of both frames are subtracted and the prediction is scaled by least squares, also by
    a negative factor; the peak is the range of the truth (Weigert et al., 2018; paper, section on
    metrics). The published definition first divides the truth by its standard deviation, which
    cancels.

    Parameters
    ----------
    truth, prediction : ndarray, (Y, X)
        Noise-free frame and its estimate, each in any unit.

    Returns
    -------
    float
        Decibels; infinite if the scaled prediction equals the truth.

    Raises
    ------
    ValueError
        If the truth is constant, the shapes differ, or a value is not finite.
    """
    g, p = align(truth, prediction)
    peak = float(np.ptp(g))
    if peak == 0:
        raise ValueError(
            f"the truth has the same value {np.ravel(truth)[0]:g} in every pixel, "
            "so that the PSNR is not defined; exclude this frame"
        )
    rms = math.sqrt(float(np.mean((g - p) ** 2)))
    # a difference of the size of float64 rounding is no error
    return 20 * math.log10(peak / rms) if rms > 1e-12 * peak else math.inf


def psnr_if_defined(truth: Frame, prediction: Frame) -> float | None:
    """Return the range-invariant PSNR; None for a constant truth or a perfect prediction."""
    psnr = range_invariant_psnr(truth, prediction) if np.ptp(truth) > 0 else math.inf
    return psnr if math.isfinite(psnr) else None


def align(truth: Frame, prediction: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale one prediction to its truth, for an MS-SSIM that does not depend on units.

    MS-SSIM changes with scale and offset, and published values differ in their normalisation. This
    is the convention of the range-invariant PSNR: zero mean, least-squares scale.

    Parameters
    ----------
    truth, prediction : ndarray, (Y, X)
        Noise-free frame and its estimate, each in any unit.

    Returns
    -------
    tuple of ndarray, (Y, X)
        Truth and scaled prediction, both of mean zero, in the unit of the truth. A constant
        prediction becomes zero.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.
    """
    g, p = _pair(truth, prediction)
    g = g - g.mean()
    # the range detects a constant exactly; deviations from the mean carry rounding errors
    if np.ptp(p) == 0:
        return g, np.zeros_like(p)
    p = p - p.mean()
    # scale to unit size first, so that tiny or huge units neither underflow nor overflow
    p = p / np.abs(p).max()
    return g, p * (np.vdot(g, p) / np.vdot(p, p))


def ms_ssim(truth: Frame, prediction: Frame, *, data_range: float) -> float | None:
    """Return the multi-scale structural similarity of one frame (Wang et al., 2003).

    Five scales with weights `MS_SSIM_WEIGHTS`, a Gaussian window of 11 x 11 px with sigma 1.5 px,
    K1 = 0.01, K2 = 0.03. Negative similarities count as zero.

    Parameters
    ----------
    truth, prediction : ndarray, (Y, X)
        Noise-free frame and its estimate **in the same unit**; `align` gives them a common one.
    data_range : float
        Greatest minus least value of the truth over the whole test stack of this structure, in
        that unit.

    Returns
    -------
    float or None
        0 to 1; None if a side is below `MS_SSIM_MIN_SIDE` px, too small for five scales.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or the data range is not positive.
    """
    g, p = _pair(truth, prediction)
    if not (math.isfinite(data_range) and data_range > 0):
        raise ValueError(
            f"`data_range` is {data_range:g}, but must be positive; "
            "pass the range (max - min) of the truth over all test frames"
        )
    if min(g.shape) < MS_SSIM_MIN_SIDE:
        return None
    import torch

    with no_launcher():
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    # in float64 its windows would take 600 times the memory of the frame
    target, image = (torch.from_numpy((f / data_range).astype(np.float32)) for f in (g, p))
    value = multiscale_structural_similarity_index_measure(
        image[None, None],
        target[None, None],
        gaussian_kernel=True,
        sigma=1.5,
        kernel_size=11,
        data_range=1.0,
        k1=0.01,
        k2=0.03,
        betas=MS_SSIM_WEIGHTS,
        normalize="relu",
    )
    return float(value)


def noise_correlation(
    error: Frame, noise: Frame, where: NDArray[np.bool_] | None = None
) -> float | None:
    """Return the Pearson correlation of a prediction's error with the noise of its input.

    It is near 1 if the prediction keeps the noise of the input, and near 0 if its errors are
    independent of that noise.

    Parameters
    ----------
    error, noise : ndarray, (Y, X)
        Prediction minus truth, and input minus noise-free input; each in any unit.
    where : ndarray of bool, (Y, X), optional
        Pixels to use. A saturated truth would contribute the same difference to error and noise.

    Returns
    -------
    float or None
        -1 to 1; None if one of the two is constant, such as the noise of a noise-free input.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.
    """
    e, n = _pair(error, noise)
    if where is not None:
        e, n = e[where], n[where]
    if e.size == 0 or np.ptp(e) == 0 or np.ptp(n) == 0:
        return None
    # scale to unit size first, so that tiny or huge units neither underflow nor overflow
    e, n = ((v - v.mean()) / np.ptp(v) for v in (e, n))
    return float(np.vdot(e, n) / math.sqrt(np.vdot(e, e) * np.vdot(n, n)))


def noise_left(error: Frame, noise: Frame) -> float | None:
    """Return the share of the input's noise left in a prediction: slope of its error on that noise.

    It is 1 for plain regression on noisy targets: if the input is the mean of the noisy targets,
    the best answer is the structure plus all of the input's noise (paper, section on the KL). It is
    0 if the errors of the prediction do not depend on the noise.

    Parameters
    ----------
    error : ndarray, (Y, X)
        Prediction minus truth.
    noise : ndarray, (Y, X)
        Noise of the input, with the input as the mean of the structures; unit of the error.

    Returns
    -------
    float or None
        None for a noise-free input.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.
    """
    e, n = _pair(error, noise)
    e, n = e - e.mean(), n - n.mean()
    power = float(np.vdot(n, n))
    return float(np.vdot(e, n)) / power if power > 0 else None


def blur(frame: Frame, sigma: float) -> NDArray[np.float64]:
    """Return one frame (Y, X) after a Gaussian blur; sigma in px, reflected borders."""
    from scipy.ndimage import gaussian_filter

    blurred: NDArray[np.float64] = gaussian_filter(
        np.asarray(frame, dtype=np.float64), sigma, mode="reflect"
    )
    return blurred


def blur_psnr(truths: Frames, frames: Frames) -> list[float]:
    """Return the PSNR of each frame after the blur of `BLUR_SIGMAS` that is best on average.

    The sigma is chosen on the same frames, which favours this baseline: a network has to beat the
    best possible blur.

    Parameters
    ----------
    truths, frames : sequence of ndarray (Y, X), or ndarray (N, Y, X)
        Noise-free frames of one structure, and the noisy frames to blur.

    Returns
    -------
    list of float
        Range-invariant PSNR in decibels, one per frame, all at the same sigma.

    Raises
    ------
    ValueError
        If there are no frames, their numbers differ, or `range_invariant_psnr` fails for a frame.
    """
    if len(truths) != len(frames) or len(truths) == 0:
        raise ValueError(
            f"there are {len(truths)} true and {len(frames)} noisy frames; "
            "pass one noisy frame for each true frame, and at least one"
        )
    per_sigma = [
        [
            range_invariant_psnr(truth, blur(frame, sigma))
            for truth, frame in zip(truths, frames, strict=True)
        ]
        for sigma in BLUR_SIGMAS
    ]
    return max(per_sigma, key=lambda values: float(np.mean(values)))


def _pair(truth: Frame, prediction: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check one pair of frames and return both as contiguous float64."""
    g = np.ascontiguousarray(truth, dtype=np.float64)
    p = np.ascontiguousarray(prediction, dtype=np.float64)
    if g.ndim != 2 or g.size == 0 or g.shape != p.shape:
        raise ValueError(
            f"truth has shape {np.shape(truth)} and prediction {np.shape(prediction)}; "
            "pass two frames of the same shape (Y, X)"
        )
    for name, frame in (("truth", g), ("prediction", p)):
        if not np.isfinite(frame).all():
            raise ValueError(f"the {name} has values that are not finite; exclude them")
    return g, p
