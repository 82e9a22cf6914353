"""Metadata of Zarr and OME-Zarr images: axes, channels, pixel size, times; missing chunks."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count, takewhile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from denoisplit.errors import InputError
from denoisplit.images.axes import DIMS
from denoisplit.images.lengths import known_lengths, number, to_micrometres, to_seconds
from denoisplit.progress import logger

# axes of arrays that do not name them, by their number
UNNAMED = {2: ("y", "x"), 3: ("z", "y", "x"), 4: ("t", "z", "y", "x")}
ABSENT = 2**64 - 1  # place and size of a chunk that a shard has not
CHUNK = re.compile(r"(?:c[/.])?(\d+(?:[/.]\d+)*)")  # name of the file of a chunk
NAMES = {"time": "t", "frame": "t", "frames": "t", "channel": "c", "channels": "c", "ch": "c"}


class Level(NamedTuple):
    """One resolution of an OME-Zarr image, as its attributes describe it."""

    path: str  # of its array in the group
    axes: tuple[str, ...]  # out of t, c, z, y, x if known; empty if not named
    channels: tuple[str | None, ...]
    pixel_size_um: dict[str, float]
    time_increment_s: float | None
    colours: tuple[str | None, ...]  # of the channels, "#rrggbb"


def images(attributes: Mapping[str, Any], inside: Callable[[str], Mapping[str, Any]]) -> list[str]:
    """Return the folders of images in a group, relative to it.

    They are those of a file with several series as bioformats2raw writes it, or of a plate with
    wells and fields; else none.

    Parameters
    ----------
    attributes : mapping
        Of the group.
    inside : callable
        Returns the attributes of a group inside it; empty if there is none.
    """
    attributes = attributes.get("ome", attributes)
    if "bioformats2raw.layout" in attributes:
        listed = inside("OME")
        names = listed.get("ome", listed).get("series") or takewhile(inside, map(str, count()))
        return [_inside(name) for name in names]
    wells = [_inside(well["path"]) for well in (attributes.get("plate") or {}).get("wells") or ()]
    fields = []
    for well in wells:
        listed = inside(well)
        shown = (listed.get("ome", listed).get("well") or {}).get("images") or ()
        fields += [f"{well}/{_inside(image['path'])}" for image in shown]
    return fields


def _inside(name: Any) -> str:
    """Return the name of a folder, which must be inside the one that names it."""
    path = PurePosixPath(str(name))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"it names the folder {str(name)!r:.80}, which is not inside it")
    return path.as_posix()


def multiscales(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a group says of each of its images; mostly it has one, or none."""
    return list(attributes.get("ome", attributes).get("multiscales") or ())


def levels(attributes: Mapping[str, Any], image: int) -> list[Level]:
    """Return the resolutions of one of the images of a group, the highest first."""
    scales, attributes = multiscales(attributes)[image], attributes.get("ome", attributes)
    axes = [a if isinstance(a, dict) else {"name": a} for a in scales.get("axes") or ()]
    channels = (attributes.get("omero") or {}).get("channels") or ()
    labels = tuple(channel.get("label") or None for channel in channels)
    colours = tuple(_colour(channel.get("color")) for channel in channels)
    outer = list(scales.get("coordinateTransformations") or ())
    result = []
    for dataset in scales.get("datasets") or ():
        steps = [*(dataset.get("coordinateTransformations") or ()), *outer]
        names = tuple(axis_name(a.get("name"), a.get("type")) for a in axes)
        units = dict(zip(names, (a.get("unit") for a in axes), strict=True))
        lengths = _lengths(names, steps)
        size = {a: to_micrometres(lengths.get(a), units[a]) for a in names if a in "zyx"}
        time = to_seconds(lengths.get("t"), units.get("t"))
        path = PurePosixPath(str(dataset.get("path"))).as_posix()
        result.append(Level(path, names, labels, known_lengths(size), time, colours))
    return result


def axis_name(name: Any, kind: Any = None) -> str:
    """Return t, c, z, y or x for the name of an axis and its type, or the name itself."""
    word = str(kind if kind in ("time", "channel") else name).casefold()
    return NAMES.get(word, word)


def axes_of_array(metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the axes that an array names itself: by Zarr 3, or as xarray names those of Zarr 2."""
    names = metadata.get("dimension_names") or attributes.get("_ARRAY_DIMENSIONS") or ()
    return tuple(map(axis_name, names)) if any(name is not None for name in names) else ()


def unnamed_axes(count: int) -> tuple[str, ...]:
    """Return the usual axes of an array that does not name them."""
    return UNNAMED.get(count, DIMS)


def _lengths(axes: Sequence[str], steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the length that all transformations together give a pixel, by axis."""
    scales = _scales(steps)
    if not scales or any(len(scale) != len(axes) for scale in scales):
        return {}
    return {axis: math.prod(column) for axis, *column in zip(axes, *scales, strict=True)}


def _colour(value: Any) -> str | None:
    """Return the colour of six hexadecimal digits."""
    digits = str(value).removeprefix("#").lower()
    return f"#{digits}" if re.fullmatch("[0-9a-f]{6}", digits) else None


def _scales(steps: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return the factors of each scaling among transformations; one of none for unknown kinds."""
    scales: list[list[float]] = []
    for step in steps:
        kind = step.get("type")
        if kind == "sequence":
            scales += _scales(step.get("transformations") or ())
        elif kind == "scale":
            factors = step.get("scale")
            scales.append([number(n) for n in factors] if isinstance(factors, list) else [])
        elif kind not in ("identity", "translation"):
            scales.append([])
    return scales


def check_chunks(path: Path, folder: Path, array: Any) -> None:
    """Refuse an array without any chunk in its folder, and warn of missing ones.

    Raises
    ------
    InputError
    """
    stored = array.shards or array.chunks
    grid = _quotients(array.shape, stored)
    expected, there = math.prod(_quotients(array.shape, array.chunks)), 0
    seen = set[tuple[int, ...]]()
    for parent, _, names in os.walk(folder):
        inner = Path(parent).relative_to(folder).parts
        for name in names:
            key = "/".join((*inner, name))
            if match := CHUNK.fullmatch(key):
                place = tuple(map(int, re.split("[/.]", match[1])))
                # a name of another form, such as 0.0 for 0/0, is not read
                is_read = key == array.metadata.encode_chunk_key(place)
                inside = len(place) == len(grid) and all(map(operator.lt, place, grid))
                if is_read and inside:
                    there += 0 if place in seen else _chunks_in(Path(parent, name), array, place)
                    seen.add(place)
    if not there:
        problem = f"all {expected} chunks of this image are missing"
        raise InputError(problem, where=path, remedy="copy or write it again")
    if missing := expected - there:
        read_as = f"{missing} of {expected} chunks are missing, and read as {array.fill_value}"
        logger.warning("%s: %s", path, read_as)


def _quotients(lengths: Sequence[int], parts: Sequence[int]) -> list[int]:
    return [-(-length // part) for length, part in zip(lengths, parts, strict=True)]


def _chunks_in(file: Path, array: Any, place: Sequence[int]) -> int:
    """Return the number of chunks of the image in a file: one, or those that a shard lists."""
    if array.shards is None:
        return 1
    per_shard = _quotients(array.shards, array.chunks)
    rest = [size - n * side for size, n, side in zip(array.shape, place, array.shards, strict=True)]
    inside = tuple(map(min, per_shard, _quotients(rest, array.chunks)))
    codec = array.metadata.codecs[0]
    kinds = [step.to_dict()["name"] for step in getattr(codec, "index_codecs", ())]
    if kinds not in (["bytes"], ["bytes", "crc32c"]):  # an unusual list is not looked at
        return math.prod(inside)
    size = 2 * 8 * math.prod(per_shard)
    with file.open("rb") as stream:
        if codec.index_location.value == "end":
            stream.seek(max(0, file.stat().st_size - size - 4 * (len(kinds) - 1)))
        places = np.frombuffer(stream.read(size).ljust(size, b"\xff"), "<u8")
    listed = (places.reshape(*per_shard, 2) != ABSENT).any(axis=-1)
    return int(listed[tuple(map(slice, inside))].sum())
