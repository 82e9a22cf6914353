"""Noise of one image against its intensity, estimated from the image itself.

The variance of the noise is measured by second differences, which cancel smooth structure, for
pixels of similar intensity. On a camera it is a line in the intensity, whose slope is the gain:
within a sixth of that by repeated shots, larger where fine structure outshines the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from denoisplit.data.statistics import noise_std, second_differences
from denoisplit.noise_models.binning import Flat
from denoisplit.noise_models.from_noisy import FLAT_BLOCK, flat_correlation
from denoisplit.noise_models.saturation import Image, Limits
from denoisplit.noise_models.validity import MAX_CORRELATION

WINDOW = 5  # px, side of the mean that stands for the signal of a pixel
GROUPS = 24  # of pixels of similar intensity
FEWEST_PIXELS = 500  # of a group
FEWEST_GROUPS = 6
NORMAL_MEDIAN = 0.6745  # median of the absolute value of a standard normal variable
MOST_DEVIATION = 0.2  # of the variances from a line, relative; processed images are above
ROUNDED = 1 / 24  # variance below which whole numbers have no noise; rounding has 1/12
LEAST_RISE = 0.25  # of the variance over the image, relative to its mean, for a gain


@dataclass(frozen=True)
class PhotonTransfer:
    """Noise of an image; what cannot be estimated is None, and ``reason`` says why.

    Attributes
    ----------
    std : float
        Of the noise, over the whole image; raw intensity. Comparable between images.
    correlation : (float, float) or None
        Of neighbouring noise values, along x and y; None for an image without two blocks.
    gain : float or None
        Raw intensity per photon: slope of the variance over the intensity.
    offset : float or None
        Least camera offset with which the line is possible, raw intensity.
    read_noise : (float, float) or None
        Least and largest standard deviation of the noise without light, raw intensity: the one
        without an offset, and that of the darkest pixels.
    reason : str
        Why there is no gain; empty if there is.
    """

    std: float
    correlation: tuple[float, float] | None = None
    gain: float | None = None
    offset: float | None = None
    read_noise: tuple[float, float] | None = None
    reason: str = ""


def photon_transfer(frames: Sequence[Image], limits: Limits) -> PhotonTransfer:
    """Estimate the noise of frames (Y, X) of one recording.

    Parameters
    ----------
    frames : sequence of array (Y, X)
        Raw intensity, finite, each side 3 px or more.
    limits : Limits
        Pixels next to one beyond these limits are left out.
    """
    std = float(np.median([noise_std(frame) for frame in frames]))
    sides = [side // FLAT_BLOCK for frame in frames for side in frame.shape]
    correlation = flat_correlation(frames) if min(sides) > 1 else None
    if correlation is not None and max(map(abs, correlation)) > MAX_CORRELATION:
        return PhotonTransfer(std, correlation, reason="the noise of neighbours is correlated")
    intensity, variance = _curve(frames, limits)
    for value in correlation or ():
        variance /= 1 - 4 / 3 * max(value, 0.0)  # what second differences miss
    if len(variance) < FEWEST_GROUPS:
        return PhotonTransfer(std, correlation, reason="too few pixels")
    whole = all(np.issubdtype(frame.dtype, np.integer) for frame in frames)
    if variance.min() <= (ROUNDED if whole else 0.0):
        return PhotonTransfer(std, correlation, reason="parts of the image have no noise")
    gain, constant = (float(v) for v in np.polyfit(intensity, variance, 1, w=1 / variance))
    fitted = np.polyval((gain, constant), intensity)
    if gain * float(np.ptp(intensity)) < LEAST_RISE * float(variance.mean()):
        reason = "the noise does not grow with the intensity"
        return PhotonTransfer(std, correlation, reason=reason)
    deviation = math.sqrt(float(np.mean((variance / fitted - 1) ** 2))) if fitted.min() > 0 else 1.0
    if deviation > MOST_DEVIATION:
        reason = "the variance of the noise is no line in the intensity, as in processed images"
        return PhotonTransfer(std, correlation, reason=reason)
    offset = max(0.0, -constant / gain)
    bounds = math.sqrt(max(constant, 0.0)), math.sqrt(float(fitted.min()))
    return PhotonTransfer(std, correlation, gain, offset, bounds)


def _curve(frames: Sequence[Image], limits: Limits) -> tuple[Flat, Flat]:
    """Return intensity and variance of the noise of groups of pixels, in order of intensity."""
    from scipy.ndimage import uniform_filter

    random = np.random.default_rng(0)
    intensities, sizes = [], []
    for frame in frames:
        difference = second_differences(frame)
        if np.issubdtype(frame.dtype, np.integer):  # medians of whole numbers are coarse
            difference += (random.random(difference.shape) - 0.5) / 6
        outside = (~limits.inside(frame)).astype(np.float32)
        used = uniform_filter(outside, 3)[1:-1, 1:-1] < 1e-6
        mean: Any = uniform_filter(frame.astype(np.float64), WINDOW)[1:-1, 1:-1]
        intensities.append(mean[used])
        sizes.append(np.abs(difference[used]))
    intensity, size = np.concatenate(intensities), np.concatenate(sizes)
    count = min(GROUPS, intensity.size // FEWEST_PIXELS)
    groups = np.array_split(np.argsort(intensity, kind="stable"), count) if count else []
    return (
        np.array([intensity[group].mean() for group in groups]),
        np.array([(np.median(size[group]) / NORMAL_MEDIAN) ** 2 for group in groups]),
    )
