"""Look at the images of a prediction before the first one is split."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from denoisplit.errors import InputError
from denoisplit.images import ImageFile, only_channel, open_image
from denoisplit.images.formats.zarr import is_zarr
from denoisplit.images.frames import equal_images, pixel_key
from denoisplit.images.lengths import warn_of_pixel_sizes
from denoisplit.images.scale import check_largest, check_range
from denoisplit.images.tiling import tile_frame
from denoisplit.jobs.identity import add_pixels, compared_parts
from denoisplit.jobs.job import PlannedImage
from denoisplit.jobs.results import Results
from denoisplit.progress import logger
from denoisplit.run import Run

# by how much the mean of an image may differ from those of the training inputs: the larger of
MEAN_TOLERANCE_STD = 4.0  # standard deviations between training frames
MEAN_TOLERANCE = 0.35  # fraction of the training mean
MIDDLE = 1024  # px, side of the part of a Zarr image that is looked at
COMPARED = 2048  # px, side of the parts in which two images are compared


def plan_image(run: Run, path: ImageFile, results: Results) -> PlannedImage:
    """Check an image and compute its digest; warn if it is unlike the images of the training.

    All planes are read, but of a Zarr image, which may be larger than the memory, the middle of the
    middle plane, and the parts by which such images are compared.

    Raises
    ------
    InputError
        If it cannot be read, or is not a superposed image.
    """
    image = only_channel(open_image(path))
    check_sides(run, (image.sizes["y"], image.sizes["x"]), path)
    image.check()
    warn_of_pixel_size(run, path, image.pixel_size_um)
    digest, is_whole = hashlib.sha256(), not is_zarr(path.path)
    low, high, total, count = math.inf, -math.inf, 0.0, 0
    planes = (plane[:, :] for plane in image.planes())
    for part in planes if is_whole else [image.middle(MIDDLE)]:
        where = path if is_whole else f"{path}, in its middle"
        least, largest = check_largest(part, where)
        low, high = min(low, least), max(high, largest)
        total, count = total + float(part.sum(dtype=np.float64)), count + part.size
        if is_whole:
            add_pixels(digest, part)
    for part in () if is_whole else compared_parts(image):
        add_pixels(digest, part)
    pixels = math.prod(image.sizes.values())
    if low < high:
        check_range(low, high, path)
        warn_of_brightness(run, total / count, path)
    elif count == pixels:  # only the middle of a large image may be empty
        problem = f"this is a constant image: every pixel is {low:g}"
        raise InputError(problem, where=path, remedy="check the recording")
    plane_bytes = 4 * image.sizes["y"] * image.sizes["x"]
    return PlannedImage(path, digest.hexdigest(), results, pixels, plane_bytes)


def warn_of_same(paths: Sequence[ImageFile]) -> None:
    """Warn of an image that is given twice, under any name: its pixels are compared.

    Its second result is no loss, and images without any signal are often equal.
    """
    if len(paths) > 1:
        for first, other in equal_images(((path, path) for path in paths), _key, _are_equal):
            logger.warning("%s: this is the same image as %s, pixel by pixel", other, first)


def _key(path: ImageFile) -> bytes:
    image = only_channel(open_image(path))
    return pixel_key(image.middle(MIDDLE), *image.sizes.values())


def _are_equal(path: ImageFile, other: ImageFile) -> bool:
    pairs = zip(_planes(path), _planes(other), strict=True)
    return all(np.array_equal(part, same) for part, same in pairs)


def _planes(path: ImageFile) -> Iterator[Any]:
    for plane in only_channel(open_image(path)).planes():
        for y, x, height, width in tile_frame(*plane.shape, tile=COMPARED, stride=1):
            yield plane[y : y + height, x : x + width]


def check_sides(run: Run, sides: tuple[int, int], where: object) -> None:
    """Refuse planes that are narrower than the stride of the network, mostly axes in wrong order.

    Raises
    ------
    InputError
    """
    if min(sides) < run.model.stride:
        raise InputError(
            found=f"planes of {sides[0]} x {sides[1]} px",
            expected=f"{run.model.stride} px or more on each side, the stride of the network",
            where=where,
            remedy="name its axes in the right order, as OME-TIFF does, or provide a larger image",
        )


def warn_of_pixel_size(run: Run, image: object, size_um: Mapping[str, float]) -> None:
    """Warn if the pixels of an image differ from those of the training images."""
    trained = run.config.facts.pixel_size_um
    known = [{axis: s[axis] for axis in "xy" if axis in s} for s in (trained, size_um)]
    warn_of_pixel_sizes([(f"the run {run.path}", known[0]), (image, known[1])])


def is_unlike_in_brightness(run: Run, mean: float) -> bool:
    """Return whether the mean of an image is far from those of the training inputs."""
    usual, spread = run.config.facts.input_frame_mean
    return abs(mean - usual) > max(MEAN_TOLERANCE_STD * spread, MEAN_TOLERANCE * abs(usual))


def warn_of_brightness(run: Run, mean: float, where: object) -> None:
    """Warn of an image whose mean intensity is far from those of the training inputs."""
    if is_unlike_in_brightness(run, mean):
        logger.warning(
            "%s: its mean intensity is %.4g, that of the training inputs %.4g: is it a %s of %d "
            "structures, recorded with the same exposure and offset?",
            where,
            mean,
            run.config.facts.input_frame_mean[0],
            run.config.settings.data.superposition,
            len(run.names),
        )
