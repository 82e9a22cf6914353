"""Tiles of frames of any size: cores that cover every pixel once, and the patches around them."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.data.pyramid import Pyramid
from denoisplit.images.tiling import Frame, Tile, cut, tile_frame
from denoisplit.machine.memory import memory_at_most
from denoisplit.network.vse import VSE

Array = npt.NDArray[np.float32]

BORDER = 32  # px that a frame is reflected by, rounded up to the total stride

SIDES = (64, 128, 192, 256, 320, 384, 448, 512)  # px, of a tile's core
GPU_SIDES = (*SIDES, 768, 1024, 1536, 2048)  # on a CPU these are slower per pixel
# bytes for each filter and sample, float32; measured on a CPU, with and without what the C library
# keeps of large blocks
PER_PIXEL, LEAST_PER_PIXEL = 64, 48


class Patch(NamedTuple):
    """Input of a tile: its core, the position of its first pixel in the frame, raw intensities."""

    core: Tile
    y: int
    x: int
    pixels: Array  # (Y, X), or (n, P, P) with context


class Tiling:
    """Tiles of a frame for a network.

    Parameters
    ----------
    model : VSE
        A network of fixed patch has one tiling, whatever ``tile`` and ``halo`` are: the middle
        half of each patch is kept.
    frame : Frame
    tile, halo : int
        Approximate side of a core, and context margin around it, px.

    Raises
    ------
    ValueError
        If the frame is not 2-D, or the halo no multiple of the total stride.
    """

    def __init__(self, model: VSE, frame: Frame, *, tile: int, halo: int) -> None:
        if len(frame.shape) != 2:
            raise ValueError(f"frame has shape {tuple(frame.shape)}, expected (Y, X)")
        self.model, self.frame = model, frame
        self.stride = model.stride
        self.pyramid = None
        self.tile, self.halo = tile, halo
        if (side := model.fixed_patch) is not None:
            self.tile, self.halo = side // 2, side // 4
            whole = np.asarray(frame[:, :])
            self.pyramid = Pyramid(whole, planes=model.input_planes, patch=side, margin=side)
        elif halo % self.stride:
            raise ValueError(f"halo is {halo} px, expected a multiple of {self.stride}")

    @cached_property
    def cores(self) -> list[Tile]:
        """Cores of the tiles, which cover every pixel of the frame once."""
        height, width = self.frame.shape
        side = self.tile
        if self.pyramid is None:
            return tile_frame(height, width, tile=side, stride=self.stride)
        return [
            Tile(y, x, min(side, height - y), min(side, width - x))
            for y in range(0, height, side)
            for x in range(0, width, side)
        ]

    def quarters(self, core: Tile) -> list[Tile]:
        """Return about four cores in place of one; of a network of fixed patch that core itself."""
        if self.pyramid is not None:
            return [core]
        side = max(core.height, core.width) // 2
        parts = tile_frame(core.height, core.width, tile=side, stride=self.stride)
        return [part._replace(y=core.y + part.y, x=core.x + part.x) for part in parts]

    def patch(self, core: Tile) -> Patch:
        """Return a core with its halo, clipped at the reflected border; it starts on the stride."""
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
    """Return how many pixels times samples this machine has the memory to decode at once.

    Feature maps take at most a sixth of the machine's or container's memory, or a quarter of the
    GPU's. What is free at the moment does not count, so repeated work has the same tiles.
    """
    device = model.input_mean.device
    allowed = memory_at_most() // 6
    if device.type == "cuda":
        allowed = torch.cuda.get_device_properties(device).total_memory // 4
    return allowed // (PER_PIXEL * model.output.in_channels)


def tile_side(model: VSE, halo: int, *, processes: int = 1, memory: float | None = None) -> int:
    """Return the largest side of a tile's core (px) that suits this machine.

    The larger the core, the smaller the share of the halo in the computation.

    Parameters
    ----------
    model : VSE
        On its device.
    halo : int
        Context margin around each tile, px.
    processes : int
        Number of processes that share the memory.
    memory : float, optional
        Bytes for the feature maps, if not as many as suit the machine; see
        `denoisplit.machine.memory.return_large_blocks`.
    """
    sides = GPU_SIDES if model.input_mean.device.type == "cuda" else SIDES
    per_pixel = PER_PIXEL
    if memory is None:
        memory = pixels_that_fit(model) * PER_PIXEL * model.output.in_channels / processes
    else:
        per_pixel = LEAST_PER_PIXEL
    fits = [side for side in sides if bytes_of_tile(model, side, halo, per_pixel) <= memory]
    return max(fits, default=sides[0])


def bytes_of_tile(model: VSE, side: int, halo: int, per_pixel: int = PER_PIXEL) -> int:
    """Return the bytes of the feature maps of a tile, about: of one sample."""
    return per_pixel * model.output.in_channels * (side + 2 * halo) ** 2
