"""How near a prediction is to the noise-free truth: range-invariant PSNR and MS-SSIM per frame.

Everything is computed in float64 on one frame (Y, X) of one structure; `score` then turns the
values of all test frames into a mean with its standard error. Differences between systems below
that error, or below 1 dB, say little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[Any]
Frames = Sequence[NDArray[Any]] | NDArray[Any]

# four halvings and an 11 px window: torchmetrics asks for side // 16 > 10
MS_SSIM_MIN_SIDE = 176
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

BLUR_SIGMAS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Score:
    """Mean over frames and its standard error, in the unit of the values.

    Attributes
    ----------
    mean : float or None
        None when no frame has a value.
    sem : float or None
        Standard deviation (divisor N - 1) over sqrt(N); None for fewer than two frames.
    """

    mean: float | None
    sem: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return ``{"mean": ..., "sem": ...}``, as metrics.json holds it."""
        return {"mean": self.mean, "sem": self.sem}


def score(values: Sequence[float | None]) -> Score:
    """Average per-frame values; those that are None (no value for that frame) are left out."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    if present.size == 0:
        return Score(None, None)
    mean = float(present.mean())
    # a perfect frame has infinite PSNR; its spread has no meaning
    if present.size == 1 or not np.isfinite(present).all():
        return Score(mean, None)
    return Score(mean, float(present.std(ddof=1) / math.sqrt(present.size)))


def range_invariant_psnr(truth: Frame, prediction: Frame) -> float:
    """PSNR of one frame that no scale and offset of the prediction changes.

    Both frames lose their mean and the prediction is scaled by least squares, where a negative
    scale is allowed too; the peak is the range of the truth (Weigert et al., 2018; paper, section
    on metrics). The published definition first divides the truth by its standard deviation, which
    cancels.

    Parameters
    ----------
    truth, prediction : ndarray, (Y, X)
        Noise-free frame and its estimate, each in any unit.

    Returns
    -------
    float
        Decibel; infinite when the scaled prediction is exactly the truth.

    Raises
    ------
    ValueError
        When the truth is constant, the shapes differ, or a value is not finite.
    """
    g, p = align(truth, prediction)
    peak = float(np.ptp(g))
    if peak == 0:
        raise ValueError(
            f"the truth has the same value {np.ravel(truth)[0]:g} in every pixel, "
            "which leaves PSNR without a range; leave this frame out"
        )
    rms = math.sqrt(float(np.mean((g - p) ** 2)))
    # the rounding of float64 is no error
    return 20 * math.log10(peak / rms) if rms > 1e-12 * peak else math.inf


def align(truth: Frame, prediction: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bring one prediction to the scale of its truth, for an MS-SSIM that is free of units.

    MS-SSIM changes with scale and offset; published values differ in how they normalise. This is
    the convention of the range-invariant PSNR: zero mean, least-squares scale.

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
        When the shapes differ or a value is not finite.
    """
    g, p = _pair(truth, prediction)
    g = g - g.mean()
    # a constant is told by its range: its mean, and so its deviations, carry rounding errors
    if np.ptp(p) == 0:
        return g, np.zeros_like(p)
    p = p - p.mean()
    # brought to unit size first, so that tiny or huge units neither under- nor overflow
    p = p / np.abs(p).max()
    return g, p * (np.vdot(g, p) / np.vdot(p, p))


def ms_ssim(truth: Frame, prediction: Frame, *, data_range: float) -> float | None:
    """Multi-scale structural similarity of one frame (Wang et al., 2003).

    Five scales with weights `MS_SSIM_WEIGHTS`, Gaussian window of 11 x 11 px with sigma 1.5 px,
    K1 = 0.01, K2 = 0.03. Negative similarities count as zero.

    Parameters
    ----------
    truth, prediction : ndarray, (Y, X)
        Noise-free frame and its estimate **in the same unit**; see `align` for the other choice.
    data_range : float
        Greatest minus least value of the truth over the whole test stack of this structure, in
        that unit.

    Returns
    -------
    float or None
        0 to 1; None when a side is under `MS_SSIM_MIN_SIDE` px, too small for five scales.

    Raises
    ------
    ValueError
        When the shapes differ, a value is not finite, or the data range is not positive.
    """
    g, p = _pair(truth, prediction)
    if not (math.isfinite(data_range) and data_range > 0):
        raise ValueError(
            f"the data range of MS-SSIM is {data_range:g} but must be positive; "
            "give the range (max - min) of the truth over all test frames"
        )
    if min(g.shape) < MS_SSIM_MIN_SIDE:
        return None
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    value = multiscale_structural_similarity_index_measure(
        torch.from_numpy(p)[None, None],
        torch.from_numpy(g)[None, None],
        gaussian_kernel=True,
        sigma=1.5,
        kernel_size=11,
        data_range=float(data_range),
        k1=0.01,
        k2=0.03,
        betas=MS_SSIM_WEIGHTS,
        normalize="relu",
    )
    return float(value)


def noise_correlation(
    error: Frame, noise: Frame, where: NDArray[np.bool_] | None = None
) -> float | None:
    """Pearson correlation of a prediction's error with the noise of its input.

    Near 1 where the prediction keeps the input's noise, near 0 where its errors are its own.

    Parameters
    ----------
    error, noise : ndarray, (Y, X)
        Prediction minus truth, and input minus noise-free input; each in any unit.
    where : ndarray of bool, (Y, X), optional
        Pixels that count. Where the truth is saturated, what it lacks is in error and noise alike.

    Returns
    -------
    float or None
        -1 to 1; None where one of the two is constant, such as the noise of a noise-free input.

    Raises
    ------
    ValueError
        When the shapes differ or a value is not finite.
    """
    e, n = _pair(error, noise)
    if where is not None:
        e, n = e[where], n[where]
    if e.size == 0 or np.ptp(e) == 0 or np.ptp(n) == 0:
        return None
    # brought to unit size first, so that tiny or huge units neither under- nor overflow
    e, n = ((v - v.mean()) / np.ptp(v) for v in (e, n))
    return float(np.vdot(e, n) / math.sqrt(np.vdot(e, e) * np.vdot(n, n)))


def noise_left(error: Frame, noise: Frame) -> float | None:
    """Share of the input's noise that is left in a prediction: slope of its error on that noise.

    1 is what plain regression on noisy targets keeps, whose best answer to an input that is the
    mean of the noisy targets is the structure plus all of the input's noise (paper, section on the
    KL). 0 is a prediction whose errors have nothing to do with the noise.

    Parameters
    ----------
    error : ndarray, (Y, X)
        Prediction minus truth.
    noise : ndarray, (Y, X)
        Of the input as the mean of the structures, in the unit of the error.

    Returns
    -------
    float or None
        None for a noise-free input.

    Raises
    ------
    ValueError
        When the shapes differ or a value is not finite.
    """
    e, n = _pair(error, noise)
    e, n = e - e.mean(), n - n.mean()
    power = float(np.vdot(n, n))
    return float(np.vdot(e, n)) / power if power > 0 else None


def blur(frame: Frame, sigma: float) -> NDArray[np.float64]:
    """Gaussian blur of one frame (Y, X), sigma in px, borders reflected: the plainest denoiser."""
    from scipy.ndimage import gaussian_filter

    blurred: NDArray[np.float64] = gaussian_filter(
        np.asarray(frame, dtype=np.float64), sigma, mode="reflect"
    )
    return blurred


def blur_psnr(truths: Frames, frames: Frames) -> list[float]:
    """Per-frame PSNR of blurred frames at the one sigma of `BLUR_SIGMAS` that suits them best.

    The sigma is chosen on these very frames, which favours this baseline: a network has to beat
    the best blur there is.

    Parameters
    ----------
    truths, frames : sequence of ndarray (Y, X), or ndarray (N, Y, X)
        Noise-free frames of one structure, and the noisy frames to blur.

    Returns
    -------
    list of float
        Range-invariant PSNR in decibel, one per frame, all at the same sigma.

    Raises
    ------
    ValueError
        When there are no frames, the numbers differ, or `range_invariant_psnr` refuses a frame.
    """
    if len(truths) != len(frames) or len(truths) == 0:
        raise ValueError(
            f"{len(truths)} true and {len(frames)} noisy frames came in; "
            "give one noisy frame for each true frame, and at least one"
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
            "give two frames of one shape (Y, X)"
        )
    for name, frame in (("truth", g), ("prediction", p)):
        if not np.isfinite(frame).all():
            raise ValueError(f"the {name} has values that are not finite; mend or leave them out")
    return g, p
