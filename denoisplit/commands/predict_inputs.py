"""What ``predict`` looks at before the first image is split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from denoisplit.errors import InputError
from denoisplit.images import LazyImage
from denoisplit.images.zarr import is_zarr
from denoisplit.jobs.identity import Mark, parts_of
from denoisplit.progress import logger
from denoisplit.run import Run

# how far an input's mean may lie from those of the training inputs
MEAN_TOLERANCE_STD = 4.0  # standard deviations between training frames
MEAN_TOLERANCE = 0.35  # and share of the training mean
LOOKED_AT = 1024  # px, side of what is looked at of a large image


def stem_of(path: Path) -> str:
    """The name of an image without its endings."""
    name = path.name
    inside = [p for p in path.parents if p.suffix == ".zarr"]
    if inside and path.suffix != ".zarr":  # an image in a group of several
        whole = inside[-1]
        return "_".join([stem_of(whole), *path.relative_to(whole).parts])
    for ending in (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".mrc", ".ome.zarr", ".zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def stems_of(paths: Sequence[Path]) -> list[str]:
    """Names of the results; each input needs its own."""
    stems = [stem_of(path) for path in paths]
    for number, stem in enumerate(stems):
        if stem in stems[:number]:
            first = paths[stems.index(stem)]
            raise InputError(
                where=paths[number],
                found=f"the same name as {first}",
                expected="inputs of different names",
                remedy="their results would have one name: rename one, or predict them separately",
            )
    return stems


def check_output(output: Path, results: Sequence[Path], *, add: bool, resume: bool) -> None:
    """Refuse a folder with other things in it, and results that are there."""
    if output.exists() and not output.is_dir():
        raise InputError(
            where=output,
            found="a file",
            expected="a folder for the results",
            remedy="choose another output",
        )
    if not output.is_dir():
        return
    if resume:
        return
    if not add and any(output.iterdir()):
        raise InputError(
            where=output,
            found="an existing folder with files in it",
            expected="a new or empty folder",
            remedy="choose another output, or say --add to add to it, or --resume to go on",
        )
    for path in results:
        if path.exists():
            raise InputError(
                where=path,
                found="an existing file",
                expected="a new name",
                remedy="move it, or choose another output",
            )


def check_image(run: Run, image: LazyImage, path: Path) -> Mark:
    """Refuse what is no superposed image, warn of what looks unlike those of the training.

    Of a Zarr image, which may be larger than all memory, the middle of the middle plane is looked
    at, of another one all planes.

    Returns
    -------
    Mark
        By which the image is known again.
    """
    _check_channels(image.sizes.get("c", 1), path)
    mark, whole = Mark(), not is_zarr(path)
    low, high, total, count = math.inf, -math.inf, 0.0, 0
    every = (plane[:, :] for plane in image.planes())
    for part in every if whole else [image.middle(LOOKED_AT)]:
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        total, count = total + float(part.sum(dtype=np.float64)), count + part.size
        if whole:
            mark.add(part)
    for part in () if whole else parts_of(image):
        mark.add(part)
    if not math.isfinite(total):  # of a Zarr; of the others the first look says where
        raise InputError(
            where=path,
            found="NaN or infinite pixels in its middle",
            expected="finite numbers",
            remedy="crop or fill those pixels",
        )
    if low == high:
        if count < math.prod(image.sizes.values()):
            return mark  # an empty middle
        raise InputError(
            where=path,
            found=f"a constant image (every pixel is {low:g})",
            expected="an image with something in it",
            remedy="check the recording",
        )
    mean, (usual, spread) = total / count, run.config.facts.input_frame_mean
    allowed = max(MEAN_TOLERANCE_STD * spread, MEAN_TOLERANCE * abs(usual))
    if abs(mean - usual) > allowed:
        kind = run.config.settings.data.superposition
        logger.warning(
            "%s: its mean intensity is %.4g, that of the training inputs %.4g: is it a %s of %d "
            "structures, recorded with the same exposure and offset?",
            path,
            mean,
            usual,
            kind,
            len(run.names),
        )
    return mark


def _check_channels(channels: int, path: Path) -> None:
    if channels > 1:
        raise InputError(
            where=path,
            found=f"{channels} channels",
            expected="one channel, the superposed image",
            remedy="save that channel as a file of its own",
        )
