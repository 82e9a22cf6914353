"""Match frames pixel by pixel, and fit the line between long and short exposures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from denoisplit.errors import InputError
from denoisplit.noise_models.saturation import Image, Mask

LINE_PIXELS = 100  # fewest pixels that a line is fitted to
NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


def check_matching(signal: Sequence[Image], observed: Sequence[Image]) -> None:
    """Raise `InputError` unless there are frames, as many of both, of equal shapes."""
    remedy = "provide the same fields in the same order"
    if not signal:
        raise InputError("there are none", where="images", remedy="provide image files")
    if len(signal) != len(observed):
        expected = f"{len(signal)}, one for each frame of `signal`"
        frames = f"{len(observed)} frames"
        raise InputError(where="observed", found=frames, expected=expected, remedy=remedy)
    for number, (s, y) in enumerate(zip(signal, observed, strict=True), 1):
        if s.shape != y.shape:
            where, expected = f"observed, frame {number}", f"{s.shape} as in `signal`"
            raise InputError(
                where=where, found=f"shape {y.shape}", expected=expected, remedy=remedy
            )


def fit_exposure_line(
    signal: Sequence[Image], observed: Sequence[Image], free: Sequence[Mask], *, every: int = 1
) -> tuple[float, float]:
    """Fit gain and offset from signal to observation, unbiased by pixel-wise noise in both.

    Noise of the signal would flatten an ordinary regression. The mean of each pixel's eight
    neighbours in the signal, whose noise is independent, therefore serves as instrumental variable:
    gain = cov(neighbours, observation) / cov(neighbours, signal).

    Parameters
    ----------
    signal, observed : sequence of array (Y, X)
        Long and short exposures, field by field; raw intensity.
    free : sequence of bool array (Y, X)
        Pixels that are neither saturated nor clipped; those with eight such neighbours are used.
    every : int
        Use every n-th pixel only.

    Raises
    ------
    InputError
        If there are too few such pixels, or the gain is not positive.
    """
    columns = []
    for s, y, mask in zip(signal, observed, free, strict=True):
        neighbours = np.mean([_shifted(s.astype(np.float64), *step) for step in NEIGHBOURS], axis=0)
        usable = np.logical_and.reduce([_shifted(mask, *step) for step in ((0, 0), *NEIGHBOURS)])
        inner = (_shifted(image, 0, 0)[usable].astype(np.float64) for image in (s, y))
        columns.append(np.stack((neighbours[usable], *inner))[:, ::every])
    z, s, y = np.concatenate(columns, axis=1)
    if z.size < LINE_PIXELS or np.ptp(z) == 0:
        raise InputError(
            f"only {z.size} pixels are neither saturated nor clipped, or they are all equal",
            where="signal",
            remedy="provide images with a range of intensities",
        )
    centred = z - z.mean()
    gain = float(centred @ y / (centred @ s))
    if not gain > 0:
        raise InputError(
            f"the observed intensity does not rise with the signal (slope {gain:.3g})",
            where="observed",
            remedy="provide exposures of the same fields in the same order",
        )
    return gain, float(y.mean() - gain * s.mean())


def _shifted(image: Image, dy: int, dx: int) -> Image:
    """Return the neighbour at (dy, dx) of every inner pixel."""
    height, width = image.shape
    return image[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
