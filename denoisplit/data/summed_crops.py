"""Augment crops by sums of pixels, which are brighter, denser and of other proportions.

If the variance of noise is linear in the signal, ``gain * (signal - zero)``, that of a sum of n
pixels is ``gain * (sum - n * zero)``, the same law at the signal ``sum - (n - 1) * zero``. Such
sums, shifted, therefore have the noise of the camera, and the noise models apply to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

TOO_BRIGHT = 0.01  # share of a sum's pixels that may exceed the range of the noise model
MAX_PLACES = 4  # positions of one structure in a crop


@dataclass(frozen=True)
class Sums:
    """Frequency of summed crops, and limits that keep them within the noise models."""

    # share of the crops that are sums of 2 x 2 pixels, as recorded by a camera with pixels of twice
    # the side; crops that would be too bright are not binned
    binned: float
    # probability that a second position of a structure is added, and then a third and a fourth,
    # independently per structure, so that dim and rare structures are also seen bright and dense
    stacked: float
    # per structure, raw intensity: the signal at which the variance of the noise extrapolates to 0
    zeros: Sequence[float]
    limits: Sequence[float]  # per structure, raw intensity: brightest signal of the noise model

    def of_pixels(self, crops: Sequence[Array], structures: Sequence[int]) -> list[Array] | None:
        """Bin crops of 2P x 2P px to (P, P); None if one is too bright for its noise model."""
        sums = []
        for crop, k in zip(crops, structures, strict=True):
            side = len(crop) // 2
            four = crop.reshape(side, 2, side, 2).sum(axis=(1, 3), dtype=np.float32)
            sums.append(four - np.float32(3 * self.zeros[k]))
            if self._too_bright(sums[-1], k):
                return None
        return sums

    def of_places(self, crop: Array, other: Array, k: int) -> Array:
        """Add two positions of structure ``k``, (P, P); only the first if the sum is too bright."""
        both: Array = crop + other - np.float32(self.zeros[k])
        return crop if self._too_bright(both, k) else both

    def _too_bright(self, crop: Array, k: int) -> bool:
        return bool((crop > self.limits[k]).mean() > TOO_BRIGHT)
