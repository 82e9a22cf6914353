"""Blind-spot batches: crops in which some pixels are replaced by one of their neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denoisplit.data.patches import RandomCrops

NEIGHBOURHOOD = 11  # side of the square around a pixel that its replacement comes from, px; odd


class Batch(NamedTuple):
    """Crops with hidden pixels, raw units."""

    images: Tensor  # (B, 1, P, P), hidden pixels replaced
    targets: Tensor  # (n,), original values of the hidden pixels
    where: tuple[Tensor, Tensor, Tensor]  # crop, y and x of every hidden pixel, (n,) each


def replacements(
    y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], *, side: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw for each pixel another one, uniformly from its neighbourhood within the crop.

    ``y`` and ``x``, (n,), are positions in a square crop of ``side`` px.
    """
    radius = NEIGHBOURHOOD // 2
    top, left = np.maximum(y - radius, 0), np.maximum(x - radius, 0)
    height = np.minimum(y + radius, side - 1) - top + 1
    width = np.minimum(x + radius, side - 1) - left + 1
    chosen = rng.integers(0, height * width - 1)
    chosen += chosen >= (y - top) * width + (x - left)  # skips the pixel itself
    return top + chosen // width, left + chosen % width


def masked_batch(crops: RandomCrops, numbers: Iterable[int], *, masked: float, use: int) -> Batch:
    """Hide pixels in the crops of the given numbers: a function of (seed, use, number) alone.

    Parameters
    ----------
    crops : RandomCrops
        Of one structure; a second one, if any, is 1 at the pixels that may be hidden.
    masked : float
        Share of the pixels to hide.
    use : int
        Separates the random numbers of training and validation.
    """
    images, targets, where = [], [], []
    side = crops.patch
    wanted = max(1, round(masked * side**2))
    for i, number in enumerate(numbers):
        image, *allowed = crops[number].numpy()
        rng = np.random.Generator(
            np.random.Philox(key=np.array([crops.seed, use]), counter=[0, 0, 0, number])
        )
        if allowed:
            free = np.flatnonzero(allowed[0])
            flat = rng.choice(free, min(wanted, len(free)), replace=False)
        else:
            flat = rng.choice(side**2, wanted, replace=False)
        y, x = np.divmod(flat, side)
        hidden = image.copy()
        hidden[y, x] = image[replacements(y, x, side=side, rng=rng)]
        images.append(hidden[None])
        targets.append(image[y, x])
        where.append(np.stack((np.full_like(y, i), y, x)))
    i_, y_, x_ = torch.from_numpy(np.concatenate(where, axis=1))
    return Batch(
        torch.from_numpy(np.stack(images)), torch.from_numpy(np.concatenate(targets)), (i_, y_, x_)
    )
