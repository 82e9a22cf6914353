"""The image that a package is tested with: a real one, N x N, never one of the training split."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import held_out_frames
from denoisplit.images import read_image
from denoisplit.run import Run

Array = npt.NDArray[np.float32]

BLOCK = 16  # px; noise is averaged out over blocks of this side


class Example(NamedTuple):
    """A raw superposed image (N, N), float32, and a sentence on where it comes from."""

    image: Array
    origin: str


def given_example(path: str | Path, side: int) -> Example:
    """The first plane of an image file."""
    image = read_image(path)
    if image.sizes.get("c", 1) > 1:
        raise InputError(
            where=path,
            found=f"{image.sizes['c']} channels",
            expected="one channel, the superposed image",
            remedy="save that channel as a file of its own",
        )
    plane = image.isel({dim: 0 for dim in image.dims if dim not in ("y", "x")})
    values = plane.transpose("y", "x").values.astype(np.float32)
    if values.min() == values.max():
        raise InputError(
            where=path,
            found="a constant image",
            expected="an image with something in it",
            remedy="give another one",
        )
    return _fitted(values, side, "An image that the authors chose.")


def held_out_example(run: Run, side: int) -> Example:
    """The test frame of a run with the most contrast, superposed, with the run's synthetic noise.

    Raises
    ------
    InputError
        If the images that the run was trained on are gone or changed.
    """
    scenes = held_out_frames(
        run, otherwise="give a raw superposed image of your own as `test_image`"
    )
    number = max(range(len(scenes)), key=lambda j: _busiest(scenes.inputs[j], side)[0])
    superposed = ", superposed from its structures" if len(run.names) > 1 else ""
    added = " with the synthetic noise of the training" if scenes.has_truth else ""
    origin = f"Test frame {number + 1} of the run{superposed}{added}."
    return _fitted(scenes.inputs[number], side, origin)


def _fitted(image: Array, side: int, origin: str) -> Example:
    """The part with the most contrast; the image is reflected where it is smaller."""
    missing = [max(0, side - length) for length in image.shape]
    if any(missing):
        origin += f" It is {image.shape[0]} x {image.shape[1]} px, reflected up to {side} px."
        image = np.pad(image, [(m // 2, m - m // 2) for m in missing], mode="reflect")
    _, y, x = _busiest(image, side)
    return Example(np.ascontiguousarray(image[y : y + side, x : x + side]), origin)


def _busiest(image: Array, side: int) -> tuple[float, int, int]:
    """Contrast and first pixel (y, x) of the part (N, N) with the most, averaged over blocks."""
    block = min(BLOCK, side)
    height, width = (length // block for length in image.shape)
    blocks = image[: height * block, : width * block].reshape(height, block, width, block)
    coarse = blocks.mean(axis=(1, 3))
    n = -(-side // block)
    return max(
        (float(coarse[y : y + n, x : x + n].std()), y * block, x * block)
        for y in range(max(1, height - n + 1))
        for x in range(max(1, width - n + 1))
    )
