"""Patches with their surroundings at decreasing resolution, for networks with context (muSplit).

Plane k has the centre and the side of the patch, in the frame downsampled k times by means of
2 x 2 px (paper, supplement on lateral contextualisation). The frame is reflected at its borders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def halved(frame: npt.NDArray[Any]) -> Array:
    """Downsample by means of 2 x 2 px, (Y, X) -> (Y // 2, X // 2); odd last lines are dropped."""
    height, width = (max(1, side // 2) for side in frame.shape)
    even = frame[: 2 * height, : 2 * width].astype(np.float32)
    if min(frame.shape) < 2:  # a single line cannot be averaged
        return even[:height, :width]
    mean: Array = even.reshape(height, 2, width, 2).mean(axis=(1, 3), dtype=np.float32)
    return mean


class Pyramid:
    """A frame at decreasing resolution, padded so that any patch in it has surroundings.

    Parameters
    ----------
    frame : array (Y, X)
        In any unit, which the planes keep.
    planes : int
        n, including the patch itself.
    patch : int
        Side of a plane, px.
    margin : int
        Distance by which a patch may exceed the frame, px.
    """

    def __init__(
        self, frame: npt.NDArray[Any], *, planes: int, patch: int, margin: int = 0
    ) -> None:
        self.patch = patch
        self._levels: list[tuple[Array, int]] = []
        level = frame.astype(np.float32)
        for k in range(planes):
            # centres are at most half a patch outside; one more px for dropped odd lines
            padding = max(0, margin) if k == 0 else patch // 2 + (margin + patch) // 2**k + 1
            self._levels.append((np.pad(level, padding, mode="reflect"), padding))
            level = halved(level)

    def cut(self, y: int, x: int) -> Array:
        """Return the planes (n, P, P) of the patch whose first pixel is (y, x)."""
        half = self.patch // 2
        planes = []
        for k, (level, padding) in enumerate(self._levels):
            top, left = (((start + half) >> k) - half + padding for start in (y, x))
            planes.append(level[top : top + self.patch, left : left + self.patch])
        return np.stack(planes)
