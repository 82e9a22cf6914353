"""How far a trained network sees: the halo that a tile needs, measured and not guessed.

The theoretical receptive radius is just under 15 total strides (239 px at four levels) with one
block per level, 39 with the five of HDN's six levels, but a network gives little weight to most of
it. How little differs from one training to the next, so a part of a few images is split as in one
pass and as a tile with a halo, for growing halos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from denoisplit.network import VSE, ContextVSE
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import Sampling, sample_patch

Array = npt.NDArray[np.float32]

EXACT = 15  # total strides, the most tried; with one block per level nothing beyond is seen
LEAST = 3  # total strides; 48 px, the published margin
CORE = 8  # total strides, side of what is compared
IMAGES = 4

# shares of the data range that a tile may differ from the whole
SAME = 2e-5  # predictions: below what anyone can see or measure
CLOSE = 2e-3  # packages, whose tiles are small


def halo_errors(
    model: VSE, images: Sequence[npt.NDArray[np.floating]], *, seed: int
) -> dict[int, float]:
    """Measure what tiles with a halo differ by from one pass, in posterior samples.

    Parameters
    ----------
    model : VSE
        In evaluation mode, on its device.
    images : sequence of array (Y, X)
        Raw superposed intensities, of any size; up to four of them are looked at.
    seed : int
        Of the two samples.

    Returns
    -------
    dict
        Halo in px (multiples of the total stride, growing) to the largest difference, as a share
        of the range of the images; of the std of the training's inputs if each image has one value.
        Ends with the first halo that differs by less than `SAME`. Empty for a network with context,
        whose tiles are its own patches.
    """
    if isinstance(model, ContextVSE):
        return {}
    model = inference_form(model)
    stride = model.stride
    cut, side = (EXACT + 1) * stride, (EXACT + 1 + CORE) * stride
    chosen = [
        _square(images[i], side)
        for i in np.unique(np.linspace(0, len(images) - 1, IMAGES).round().astype(int))
    ]
    # images of one value have no range, but those to come will, and need a halo
    span = max(float(np.ptp(image)) for image in chosen) or model.input_std.item()
    whole = [_samples(model, image, seed, at=0)[..., cut:, cut:] for image in chosen]
    found: dict[int, float] = {}
    for halo in range(LEAST * stride, EXACT * stride + 1, stride):
        start = cut - halo
        tiles = (_samples(model, image[start:, start:], seed, at=start) for image in chosen)
        worst = max(
            float(np.abs(tile[..., halo:, halo:] - one).max())
            for tile, one in zip(tiles, whole, strict=True)
        )
        found[halo] = worst / span
        if found[halo] < SAME:
            break
    return found


def enough(errors: Mapping[int, float], tolerance: float) -> int:
    """The smallest halo whose difference is below a share of the data range, else the largest."""
    return next(
        (halo for halo, error in errors.items() if error < tolerance), max(errors, default=0)
    )


def chosen(given: int | None, errors: Mapping[int, float], tolerance: float) -> int:
    """The halo that was set, or else the smallest that is good enough."""
    return enough(errors, tolerance) if given is None else given


def _square(image: npt.NDArray[np.floating], side: int) -> Array:
    """A square from the middle of an image, which is reflected where it is smaller."""
    missing = [max(0, side - n) for n in image.shape]
    padded = np.pad(
        image.astype(np.float32), [(n // 2, n - n // 2) for n in missing], mode="reflect"
    )
    y, x = ((n - side) // 2 for n in padded.shape)
    return padded[y : y + side, x : x + side]


def _samples(model: VSE, patch: Array, seed: int, *, at: int) -> Array:
    """Two posterior samples, (2, C, Y, X), of a patch that lies ``at`` px along the diagonal."""
    samples = sample_patch(model, patch, Sampling(2, seed), y=at, x=at)
    return np.stack([sample.cpu().numpy() for sample in samples])
