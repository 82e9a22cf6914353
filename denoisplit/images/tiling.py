"""Cores that cover a frame once, and cuts from a frame that is reflected at its border."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Frame(Protocol):
    """Plane of raw intensities, in memory or read when it is indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X)."""
        ...

    def __getitem__(self, where: Any) -> Any:
        """Return the pixels of a pair of slices."""
        ...


class Tile(NamedTuple):
    """Core of a tile: the pixels of its result; starts are multiples of the total stride."""

    y: int
    x: int
    height: int
    width: int


def tile_frame(height: int, width: int, *, tile: int, stride: int) -> list[Tile]:
    """Cut a frame into cores that cover every pixel once, of nearly equal size about ``tile``.

    Parameters
    ----------
    height, width : int
        Size of the frame, px; any.
    tile : int
        Approximate side of a core, px; none is much larger.
    stride : int
        Total stride of the network, px.
    """

    def cuts(side: int) -> Iterator[tuple[int, int]]:
        count = max(1, round(side / tile))
        step = -(-side // (count * stride)) * stride
        for start in range(0, side, step):
            yield start, min(step, side - start)

    return [Tile(y, x, h, w) for y, h in cuts(height) for x, w in cuts(width)]


def middle(sides: Sequence[int], side: int) -> tuple[slice, ...]:
    """Return the slices of at most ``side`` px in the middle of each of the sides of an image."""
    return tuple(slice(max(0, (n - side) // 2), min(n, (n + side) // 2)) for n in sides)


def cut(frame: Frame, y: int, x: int, bottom: int, right: int) -> Array:
    """Cut pixels [y, bottom) x [x, right), float32, from a frame that is reflected as needed.

    Only the pixels that are needed are read, so frames may be on disk.
    """
    spans, margins, inside = [], [], []
    for start, stop, side in ((y, bottom, frame.shape[0]), (x, right, frame.shape[1])):
        before, after = max(0, -start), max(0, stop - side)
        # a reflection needs as many pixels inside the frame as it adds outside
        first = max(0, min(start, side - after - 1))
        last = min(side, max(stop, before + 1))
        spans.append(slice(first, last))
        margins.append((before, after))
        offset = start - first + before
        inside.append(slice(offset, offset + stop - start))
    block = np.asarray(frame[spans[0], spans[1]], dtype=np.float32)
    padded: Array = np.pad(block, margins, mode="reflect")
    return padded[inside[0], inside[1]]
