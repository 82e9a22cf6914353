"""What lies around a patch: planes of the frame scaled down, for networks with context (muSplit).

Plane k is centred on the centre of the patch and as many px wide, in the frame halved k times by
the mean of 2 x 2 px (paper, supplement on lateral contextualisation). Outside it is reflected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def halved(frame: npt.NDArray[Any]) -> Array:
    """Mean of 2 x 2 px, (Y, X) -> (Y // 2, X // 2); an odd last row or column is left out."""
    height, width = (max(1, side // 2) for side in frame.shape)
    even = frame[: 2 * height, : 2 * width].astype(np.float32)
    if min(frame.shape) < 2:  # a line has nothing to average across
        return even[:height, :width]
    mean: Array = even.reshape(height, 2, width, 2).mean(axis=(1, 3), dtype=np.float32)
    return mean


class Pyramid:
    """A frame and what it looks like from further away, with surroundings for any patch in it.

    Parameters
    ----------
    frame : array (Y, X)
        Any intensity unit; it is kept.
    planes : int
        n, the patch included.
    patch : int
        Side of a plane, px.
    margin : int
        How far a patch may reach beyond the frame, px.
    """

    def __init__(
        self, frame: npt.NDArray[Any], *, planes: int, patch: int, margin: int = 0
    ) -> None:
        self.patch = patch
        self._levels: list[tuple[Array, int]] = []
        level = frame.astype(np.float32)
        for k in range(planes):
            # centres are at most half a patch outside; one more for what the halving left out
            around = max(0, margin) if k == 0 else patch // 2 + (margin + patch) // 2**k + 1
            self._levels.append((np.pad(level, around, mode="reflect"), around))
            level = halved(level)

    def cut(self, y: int, x: int) -> Array:
        """The planes (n, P, P) of the patch whose first pixel is (y, x)."""
        half = self.patch // 2
        found = []
        for k, (level, around) in enumerate(self._levels):
            top, left = (((start + half) >> k) - half + around for start in (y, x))
            found.append(level[top : top + self.patch, left : left + self.patch])
        return np.stack(found)
