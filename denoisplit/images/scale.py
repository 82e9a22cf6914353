"""Scale of intensities, which the arithmetic in float32 must stand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

# Trainings on intensities times 1e-12 and 1e12 have the same metrics as without. Squares of
# intensities, such as variances, are in float32, whose range is 1e-38 to 3e38.
LARGEST = 1e12
LEAST_RANGE = 1e-12
# of the range of an image relative to its largest value: 16 steps of float32
LEAST_CONTRAST = 16 * float(np.finfo(np.float32).eps)


def check_finite(pixels: npt.NDArray[Any], where: object, place: str = "") -> None:
    """Refuse pixels that are NaN or infinite; ``place`` names the first of them."""
    if bad := pixels.size - int(np.isfinite(pixels).sum()) if pixels.dtype.kind == "f" else 0:
        problem = f"{bad} of {pixels.size} pixels are NaN or infinite{place}"
        raise InputError(problem, where=where, remedy="crop or fill those pixels")


def check_largest(pixels: npt.NDArray[Any], where: object) -> tuple[float, float]:
    """Return the least and the largest pixel, which must be finite and not too large.

    Raises
    ------
    InputError
    """
    low, high = float(pixels.min()), float(pixels.max())
    largest = max(-low, high)
    if not math.isfinite(largest):
        check_finite(pixels, where)
    if largest > LARGEST:
        problem = f"the pixels reach {largest:.3g}, but at most {LARGEST:g} can be computed with"
        raise InputError(problem, where=where, remedy="divide all images by one constant")
    return low, high


def check_scale(pixels: npt.NDArray[Any], where: object) -> None:
    """Refuse pixels that are not finite, too large, or too close to each other.

    Raises
    ------
    InputError
    """
    check_range(*check_largest(pixels, where), where)


def check_range(low: float, high: float, where: object) -> None:
    """Refuse an image whose least and largest pixel are too close to each other.

    Raises
    ------
    InputError
    """
    if high - low < LEAST_RANGE:
        problem = f"the pixels differ by {high - low:.3g} only, expected {LEAST_RANGE:g} or more"
        raise InputError(problem, where=where, remedy="multiply all images by one constant")
    if high - low < LEAST_CONTRAST * max(abs(low), abs(high)):
        problem = f"the pixels differ by {high - low:.3g} only, at {high:.8g}, which is too little"
        raise InputError(problem, where=where, remedy="subtract a constant from all images")
