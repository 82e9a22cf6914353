"""Frames that belong together pixel by pixel, and the straight line between two exposures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

Image = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

FEWEST = 100  # pixels that a line is laid through
AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


def check_matching(signal: Sequence[Image], observed: Sequence[Image]) -> None:
    """Refuse frames that do not belong together.

    Raises
    ------
    InputError
        If there are none, more of one kind, or shapes differ.
    """
    remedy = "give the same fields in the same order"
    if not signal:
        raise InputError(
            where="images", found="none", expected="one or more", remedy="give image files"
        )
    if len(signal) != len(observed):
        raise InputError(
            where="observed",
            found=f"{len(observed)} frames",
            expected=f"{len(signal)}, one for each of the signal",
            remedy=remedy,
        )
    for number, (s, y) in enumerate(zip(signal, observed, strict=True), 1):
        if s.shape != y.shape:
            raise InputError(
                where=f"observed, frame {number}",
                found=f"shape {y.shape}",
                expected=f"{s.shape} as of the signal",
                remedy=remedy,
            )


def fit_exposure_line(
    signal: Sequence[Image], observed: Sequence[Image], free: Sequence[Mask], *, every: int = 1
) -> tuple[float, float]:
    """Gain and offset from signal to observation, unmoved by pixel-wise noise in both.

    The noise of the signal would flatten an ordinary regression. So each pixel's eight neighbours
    in the signal, whose noise is another, serve as instrument:
    gain = cov(neighbours, observation) / cov(neighbours, signal).

    Parameters
    ----------
    signal, observed : sequence of array (Y, X)
        Long and short exposures, field by field; raw intensity.
    free : sequence of array (Y, X)
        Pixels that are neither saturated nor clipped; those with eight such neighbours count.
    every : int
        One of so many pixels is used.

    Raises
    ------
    InputError
        If there are too few such pixels, or the images do not rise together.
    """
    columns = []
    for s, y, mask in zip(signal, observed, free, strict=True):
        around = np.mean([_shifted(s.astype(np.float64), *step) for step in AROUND], axis=0)
        usable = np.logical_and.reduce([_shifted(mask, *step) for step in ((0, 0), *AROUND)])
        inner = (_shifted(image, 0, 0)[usable].astype(np.float64) for image in (s, y))
        columns.append(np.stack((around[usable], *inner))[:, ::every])
    z, s, y = np.concatenate(columns, axis=1)
    if z.size < FEWEST or np.ptp(z) == 0:
        raise InputError(
            where="signal",
            found=f"{z.size} usable pixels",
            expected="pixels that are neither saturated nor clipped",
            remedy="give images with a range of intensities",
        )
    about = z - z.mean()
    gain = float(about @ y / (about @ s))
    if not gain > 0:
        raise InputError(
            where="signal and observed",
            found=f"images that do not rise together (slope {gain:.3g})",
            expected="exposures of the same fields",
            remedy="give the same fields in the same order",
        )
    return gain, float(y.mean() - gain * s.mean())


def _shifted(image: Image, dy: int, dx: int) -> Image:
    """The neighbour at (dy, dx) of every inner pixel."""
    height, width = image.shape
    return image[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
