"""Hidden pixels: crops in which some pixels stand behind one of their neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denoisplit.config.settings import N2VSettings
from denoisplit.data.patches import RandomCrops


class Batch(NamedTuple):
    """Crops with hidden pixels, raw units."""

    images: Tensor  # (B, 1, P, P), hidden pixels replaced
    targets: Tensor  # (n,), what the hidden pixels were
    where: tuple[Tensor, Tensor, Tensor]  # crop, y and x of every hidden pixel, (n,) each


def replacements(
    y: npt.NDArray[np.int64],
    x: npt.NDArray[np.int64],
    *,
    side: int,
    neighbourhood: int,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each pixel another one, uniformly from its neighbourhood as far as the crop goes.

    Parameters
    ----------
    y, x : array (n,)
        Places in a square crop of ``side`` px.
    neighbourhood : int
        Side of the square around a pixel, odd; the pixel itself is left out.
    """
    radius = neighbourhood // 2
    top, left = np.maximum(y - radius, 0), np.maximum(x - radius, 0)
    height = np.minimum(y + radius, side - 1) - top + 1
    width = np.minimum(x + radius, side - 1) - left + 1
    chosen = rng.integers(0, height * width - 1)
    chosen += chosen >= (y - top) * width + (x - left)  # steps over the pixel itself
    return top + chosen // width, left + chosen % width


def masked_batch(
    crops: RandomCrops, numbers: Iterable[int], settings: N2VSettings, *, use: int
) -> Batch:
    """Crops of some numbers with hidden pixels: a function of (seed, use, number) alone.

    Parameters
    ----------
    crops : RandomCrops
        Of one structure; a second one, if any, is 1 at the pixels that may be hidden.
    """
    images, targets, where = [], [], []
    side = crops.patch
    wanted = max(1, round(settings.masked * side**2))
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
        others = replacements(y, x, side=side, neighbourhood=settings.neighbourhood, rng=rng)
        hidden = image.copy()
        hidden[y, x] = image[others]
        images.append(hidden[None])
        targets.append(image[y, x])
        where.append(np.stack((np.full_like(y, i), y, x)))
    i_, y_, x_ = torch.from_numpy(np.concatenate(where, axis=1))
    return Batch(
        torch.from_numpy(np.stack(images)), torch.from_numpy(np.concatenate(targets)), (i_, y_, x_)
    )
