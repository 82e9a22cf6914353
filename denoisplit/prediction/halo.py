"""Halo that the tiles of a trained network need, by measurement.

The theoretical receptive radius is just under 15 total strides (239 px at four levels) with one
block per level and 39 with the five blocks of HDN's six levels, but a network gives little weight
to most of it. How little differs between trainings, so parts of a few images are split both in one
pass and as tiles, with growing halos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction.sampling import Sampling, sample_patch

Array = npt.NDArray[np.float32]

# total strides
EXACT = 15  # largest halo that is tried; exact with one block per level
SMALLEST = 3  # smallest halo that is tried: 48 px at four levels, the published margin
CORE = 8  # side of the compared square
IMAGES = 4  # that are measured on, at most

# tolerated difference between tiles and one pass, as a share of the data range
PREDICTION_TOLERANCE = 2e-5  # below what can be seen or measured
PACKAGE_TOLERANCE = 2e-3  # packages have small tiles


def halo_errors(
    model: VSE, images: Sequence[npt.NDArray[np.floating]], *, seed: int
) -> dict[int, float]:
    """Measure how much posterior samples of tiles differ from those of one pass, for growing halos.

    Parameters
    ----------
    model : VSE
        In evaluation mode, on its device.
    images : sequence of array (Y, X)
        Raw superposed intensities, of any size; up to four of them are used.
    seed : int
        Random seed of the two samples.

    Returns
    -------
    dict
        Halo in px (multiples of the total stride, growing) -> largest difference, as a share of the
        range of the images, or of the std of the training inputs if every image is constant. Ends
        with the first halo below `PREDICTION_TOLERANCE`. Empty for a network of fixed patch.
    """
    if not model.supports_tiling:
        return {}
    model = inference_form(model)
    stride = model.stride
    cut, side = (EXACT + 1) * stride, (EXACT + 1 + CORE) * stride
    squares = [
        _square(images[i], side)
        for i in np.unique(np.linspace(0, len(images) - 1, IMAGES).round().astype(int))
    ]
    # constant images have no range, but later ones will, and need a halo
    span = max(float(np.ptp(image)) for image in squares) or model.input_std.item()
    whole = [_samples(model, image, seed, at=0)[..., cut:, cut:] for image in squares]
    errors: dict[int, float] = {}
    for halo in range(SMALLEST * stride, EXACT * stride + 1, stride):
        start = cut - halo
        tiles = (_samples(model, image[start:, start:], seed, at=start) for image in squares)
        worst = max(
            float(np.abs(tile[..., halo:, halo:] - one).max())
            for tile, one in zip(tiles, whole, strict=True)
        )
        errors[halo] = worst / span
        if errors[halo] < PREDICTION_TOLERANCE:
            break
    return errors


def sufficient_halo(errors: Mapping[int, float], tolerance: float) -> int:
    """Return the smallest halo whose difference is below the tolerance, else the largest halo."""
    sufficient = (halo for halo, error in errors.items() if error < tolerance)
    return next(sufficient, max(errors, default=0))


def _square(image: npt.NDArray[np.floating], side: int) -> Array:
    """Return a square from the middle of an image, reflected where the image is smaller."""
    missing = [max(0, side - n) for n in image.shape]
    margins = [(n // 2, n - n // 2) for n in missing]
    padded = np.pad(image.astype(np.float32), margins, mode="reflect")
    y, x = ((n - side) // 2 for n in padded.shape)
    return padded[y : y + side, x : x + side]


def _samples(model: VSE, patch: Array, seed: int, *, at: int) -> Array:
    """Return two posterior samples (2, C, Y, X) of a patch ``at`` px along the frame's diagonal."""
    samples = sample_patch(model, patch, Sampling(2, seed), y=at, x=at)
    return np.stack([sample.cpu().numpy() for sample in samples])
