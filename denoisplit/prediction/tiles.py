"""Cutting frames of any size: cores that cover every pixel once, and what each has to see."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.data.pyramid import Pyramid
from denoisplit.images.tiling import Frame, Tile, cut, tile_frame
from denoisplit.machine.memory import memory_at_most
from denoisplit.network import VSE, ContextVSE

Array = npt.NDArray[np.float32]

BORDER = 32  # px of reflected surroundings of a frame, rounded up to the total stride

SIDES = (256, 384, 512)  # px, of a tile's core
SIDES_OF_GPU = (*SIDES, 768, 1024, 1536, 2048)  # on a CPU these are slower by pixel
PER_PIXEL = 48  # bytes for each filter and sample, float32; measured on a CPU


class Patch(NamedTuple):
    """What a tile sees: its core, the place of its first pixel in the frame, raw intensities."""

    core: Tile
    y: int
    x: int
    pixels: Array  # (Y, X), or (n, P, P) with context


class Tiling:
    """The tiles of a frame for a network.

    Parameters
    ----------
    model : VSE
        A network with context has but one tiling, whatever is said here: patches of its own side,
        of which the middle half is kept.
    frame : Frame
    tile, halo : int
        Side of a core to aim at, and what is seen around it, px.

    Raises
    ------
    ValueError
        If the frame is no plane, or the halo is off the stride.
    """

    def __init__(self, model: VSE, frame: Frame, *, tile: int, halo: int) -> None:
        if len(frame.shape) != 2:
            raise ValueError(f"frame has shape {tuple(frame.shape)}, expected (Y, X)")
        self.frame = frame
        self.stride = model.stride
        self.pyramid = None
        self.tile, self.halo = tile, halo
        if isinstance(model, ContextVSE):
            self.tile, self.halo = model.patch // 2, model.patch // 4
            self.pyramid = Pyramid(
                np.asarray(frame[:, :]), planes=model.planes, patch=model.patch, margin=model.patch
            )
        elif halo % self.stride:
            raise ValueError(f"halo is {halo} px, expected a multiple of {self.stride}")

    @cached_property
    def cores(self) -> list[Tile]:
        """What the tiles write; they cover every pixel of the frame once."""
        height, width = self.frame.shape
        side = self.tile
        if self.pyramid is None:
            return tile_frame(height, width, tile=side, stride=self.stride)
        return [
            Tile(y, x, min(side, height - y), min(side, width - x))
            for y in range(0, height, side)
            for x in range(0, width, side)
        ]

    def patch(self, core: Tile) -> Patch:
        """Core and halo, as far as the reflected border goes; starts stay on the stride."""
        stride, halo = self.stride, self.halo
        if self.pyramid is not None:
            y, x = core.y - halo, core.x - halo
            return Patch(core, y, x, self.pyramid.cut(y, x))
        margin = min(halo, -(-BORDER // stride) * stride)
        ends = []
        for start, length, side in zip(core[:2], core[2:], self.frame.shape, strict=True):
            end = start + -(-length // stride) * stride + halo
            ends.append(min(end, -(-side // stride) * stride + margin))
        y, x = (max(start - halo, -margin) for start in core[:2])
        return Patch(core, y, x, cut(self.frame, y, x, *ends))


def pixels_that_fit(model: VSE) -> int:
    """Pixels times samples that this machine decodes at once without being short of memory.

    Feature maps take at most a sixth of the memory, on a GPU a quarter of its own. Memory is that
    of the machine or container, not what is free just now: the same work is cut the same way again.
    """
    device = model.input_mean.device
    allowed = memory_at_most() // 6
    if device.type == "cuda":
        allowed = torch.cuda.get_device_properties(device).total_memory // 4
    return allowed // (PER_PIXEL * model.output.in_channels)


def tile_side(model: VSE, halo: int, *, processes: int = 1) -> int:
    """Side of a tile's core (px) that suits this machine: the larger, the less halo is computed.

    Parameters
    ----------
    model : VSE
        On its device.
    halo : int
        What a tile sees around its core, px.
    processes : int
        How many share the memory.
    """
    sides = SIDES_OF_GPU if model.input_mean.device.type == "cuda" else SIDES
    pixels = pixels_that_fit(model) // processes
    # the two of an antithetic pair are decoded together
    return max((side for side in sides if 2 * (side + 2 * halo) ** 2 <= pixels), default=sides[0])
