"""Crops that are sums of pixels: brighter, denser and in other proportions than the frames.

Where the variance of the noise is a straight line, ``gain * (signal - zero)``, that of a sum of n
pixels is ``gain * (sum - n * zero)``, the law of ``sum - (n - 1) * zero``. So the noise models hold
for that, and the noise is that of a camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

BEYOND = 0.01  # share of a sum's pixels that may be brighter than the noise model knows
MOST = 4  # places of one structure in a crop


@dataclass(frozen=True)
class Sums:
    """How many crops are sums, and what keeps them within the noise models.

    Parameters
    ----------
    binned : float
        Share of the crops that are sums of 2 x 2 pixels, as a camera with pixels of twice the side
        would have taken them; those that would be too bright stay as they are.
    stacked : float
        Chance that another place of a structure is laid over it, and then a third and a fourth, for
        each structure by itself: what is dim and rare in the frames is not always so.
    zeros : sequence of float
        Signal at which the line of the noise's variance is 0, raw intensity, per structure.
    limits : sequence of float
        Brightest signal that the noise model knows, raw intensity, per structure.
    """

    binned: float
    stacked: float
    zeros: Sequence[float]
    limits: Sequence[float]

    def of_pixels(self, crops: Sequence[Array], structures: Sequence[int]) -> list[Array] | None:
        """Crops of 2P x 2P px -> (P, P) each; None if one is too bright for its noise model."""
        found = []
        for crop, k in zip(crops, structures, strict=True):
            side = len(crop) // 2
            four = crop.reshape(side, 2, side, 2).sum(axis=(1, 3), dtype=np.float32)
            found.append(four - np.float32(3 * self.zeros[k]))
            if self._too_bright(found[-1], k):
                return None
        return found

    def of_places(self, crop: Array, other: Array, k: int) -> Array:
        """Two places of structure ``k`` in one, (P, P); the first alone if that is too bright."""
        both: Array = crop + other - np.float32(self.zeros[k])
        return crop if self._too_bright(both, k) else both

    def _too_bright(self, crop: Array, k: int) -> bool:
        return bool((crop > self.limits[k]).mean() > BEYOND)
