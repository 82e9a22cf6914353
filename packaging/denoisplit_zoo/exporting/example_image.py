"""Image that a package is tested with: a real one, never from the training split."""

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

CONTRAST_BLOCK = 16  # px, side of the blocks that average noise before contrast is measured


class ExampleImage(NamedTuple):
    """Raw input (N, N), float32, a sentence on its origin, and its structures (C, N, N)."""

    image: Array
    origin: str
    truth: Array | None = None


def read_example_image(path: str | Path, side: int) -> ExampleImage:
    """Return the part with the most contrast, ``side`` px wide, of the first plane of a file.

    Raises
    ------
    InputError
        If the image has several channels or is constant.
    """
    image = read_image(path)
    if image.sizes.get("c", 1) > 1:
        raise InputError(
            f"this image has {image.sizes['c']} channels, expected one (the raw input)",
            where=path,
            remedy="save that channel as a separate file",
        )
    plane = image.isel({dim: 0 for dim in image.dims if dim not in ("y", "x")})
    values = plane.transpose("y", "x").values.astype(np.float32)
    if values.min() == values.max():
        raise InputError("this image is constant", where=path, remedy="choose another image")
    return _cut(values[None], side, "An image chosen by the authors.")


def held_out_example_image(run: Run, side: int) -> ExampleImage:
    """Return the part with the most contrast of a run's test frames, with its synthetic noise.

    Raises
    ------
    InputError
        If the images that the run was trained on are missing or were changed.
    """
    frames = held_out_frames(run, otherwise="provide a raw input image as `test_image`")
    number = max(range(len(frames)), key=lambda j: _most_contrast(frames.inputs[j], side)[0])
    superposed = ", superposed from its structures" if len(run.names) > 1 else ""
    noise = " with the synthetic noise of the training" if frames.has_truth else ""
    origin = f"Test frame {number + 1} of the run{superposed}{noise}."
    planes = [frames.inputs[number][None], *([frames.truth[number]] if frames.has_truth else [])]
    return _cut(np.concatenate(planes), side, origin)


def _cut(planes: Array, side: int, origin: str) -> ExampleImage:
    """Cut out the part with the most contrast, from reflected planes where they are too small.

    The first plane is the input, the others are its structures if they are known.
    """
    height, width = planes.shape[1:]
    missing = [max(0, side - length) for length in (height, width)]
    if any(missing):
        origin += f" It has {height} x {width} px and is reflected to {side} px."
        planes = np.pad(planes, [(0, 0), *((m // 2, m - m // 2) for m in missing)], mode="reflect")
    _, y, x = _most_contrast(planes[0], side)
    image, *truth = np.ascontiguousarray(planes[:, y : y + side, x : x + side])
    return ExampleImage(image, origin, np.stack(truth) if truth else None)


def _most_contrast(image: Array, side: int) -> tuple[float, int, int]:
    """Return contrast and first pixel (y, x) of the part (N, N) with the most contrast."""
    block = min(CONTRAST_BLOCK, side)
    height, width = (length // block for length in image.shape)
    blocks = image[: height * block, : width * block].reshape(height, block, width, block)
    coarse = blocks.mean(axis=(1, 3))
    n = -(-side // block)
    return max(
        (float(coarse[y : y + n, x : x + n].std()), y * block, x * block)
        for y in range(max(1, height - n + 1))
        for x in range(max(1, width - n + 1))
    )
