"""Cores that cover a frame once, and pixels cut from it with reflection outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Frame(Protocol):
    """A plane of raw intensities, in memory or read where it is looked at."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X)."""
        ...

    def __getitem__(self, where: Any) -> Any:
        """Pixels of a pair of slices."""
        ...


class Tile(NamedTuple):
    """The core of a tile: what it writes. Starts are multiples of the total stride."""

    y: int
    x: int
    height: int
    width: int


def tile_frame(height: int, width: int, *, tile: int, stride: int) -> list[Tile]:
    """Cut a frame into cores that cover every pixel once, of nearly equal size about ``tile``.

    Parameters
    ----------
    height, width : int
        Of the frame, px; any size.
    tile : int
        Side of a core to aim at, px; none is much larger.
    stride : int
        Total stride of the network, px.
    """

    def cuts(side: int) -> Iterator[tuple[int, int]]:
        count = max(1, round(side / tile))
        step = -(-side // (count * stride)) * stride
        for start in range(0, side, step):
            yield start, min(step, side - start)

    return [Tile(y, x, h, w) for y, h in cuts(height) for x, w in cuts(width)]


def cut(frame: Frame, y: int, x: int, bottom: int, right: int) -> Array:
    """Pixels [y, bottom) x [x, right), float32; reflected outside the frame, as often as needed.

    Only what is needed is read, so frames may lie on disk.
    """
    spans, around, inside = [], [], []
    for start, stop, side in ((y, bottom, frame.shape[0]), (x, right, frame.shape[1])):
        before, after = max(0, -start), max(0, stop - side)
        # a reflection looks as far into the frame as it reaches out of it
        first = max(0, min(start, side - after - 1))
        last = min(side, max(stop, before + 1))
        spans.append(slice(first, last))
        around.append((before, after))
        offset = start - first + before
        inside.append(slice(offset, offset + stop - start))
    block = np.asarray(frame[spans[0], spans[1]], dtype=np.float32)
    padded: Array = np.pad(block, around, mode="reflect")
    return padded[inside[0], inside[1]]
