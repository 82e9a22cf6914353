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
from denoisplit.images.axes import Metadata, colour
from denoisplit.images.lengths import number, to_micrometres, to_seconds
from denoisplit.progress import logger

# usual axes of arrays that do not name them, by their number
UNNAMED = {2: ("y", "x"), 3: ("z", "y", "x"), 4: ("t", "z", "y", "x")}
ABSENT = 2**64 - 1  # place and size of a chunk that a shard has not
CHUNK = re.compile(r"(?:c[/.])?(\d+(?:[/.]\d+)*)")  # name of the file of a chunk
NAMES = {"time": "t", "frame": "t", "frames": "t", "channel": "c", "channels": "c", "ch": "c"}
LARGE = 2**28  # bytes of pixels, from which not too many chunks may be missing
SPARSE = 64  # one of so many must exist


class Level(NamedTuple):
    """One resolution of an OME-Zarr image, as its attributes describe it."""

    path: str = ""  # of its array in the group
    axes: tuple[str, ...] = ()  # out of t, c, z, y, x if known; empty if not named
    metadata: Metadata = Metadata()


def images(attributes: Any, inside: Callable[[str], Mapping[str, Any]]) -> list[str]:
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
    if "bioformats2raw.layout" in _ome(attributes):
        names = _list(_ome(inside("OME")), "series") or takewhile(inside, map(str, count()))
        return [_inside(name) for name in names]
    wells = [_inside(w.get("path")) for w in _mappings(_ome(attributes).get("plate"), "wells")]
    return [
        f"{well}/{_inside(image.get('path'))}"
        for well in wells
        for image in _mappings(_ome(inside(well)).get("well"), "images")
    ]


def _inside(name: Any) -> str:
    """Return the name of a folder, which must be inside the one that names it."""
    path = PurePosixPath(str(name))
    if not isinstance(name, str) or path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"it names the folder {str(name)!r:.80}, which is not inside it")
    return path.as_posix()


def _ome(attributes: Any) -> Mapping[str, Any]:
    """Return the attributes of OME, which since version 0.5 are under one key."""
    inner = attributes.get("ome", attributes)
    return inner if isinstance(inner, dict) else {}


def _list(value: Any, key: str) -> list[Any]:
    """Return the list under a key; empty if there is none, or a value of another type."""
    entries = value.get(key) if isinstance(value, dict) else None
    return entries if isinstance(entries, list) else []


def _mappings(value: Any, key: str) -> list[dict[str, Any]]:
    """Return a list of mappings, as `_list`; empty ones in place of other entries."""
    return [entry if isinstance(entry, dict) else {} for entry in _list(value, key)]


def multiscales(attributes: Any) -> list[dict[str, Any]]:
    """Return what a group says of each of its images; mostly it has one, or none."""
    return _mappings(_ome(attributes), "multiscales")


def levels(attributes: Any, image: int) -> list[Level]:
    """Return the resolutions of one of the images of a group, the highest first."""
    scales = multiscales(attributes)[image]
    if "axes" in scales and not _list(scales, "axes"):  # else they may be those of the array
        raise ValueError(f"its axes are {scales['axes']!r:.80}, expected a list of axes")
    axes = [a if isinstance(a, dict) else {"name": a} for a in _list(scales, "axes")]
    names = tuple(axis_name(a.get("name"), a.get("type")) for a in axes)
    units = dict(zip(names, (a.get("unit") for a in axes), strict=True))
    channels = _mappings(_ome(attributes).get("omero"), "channels")
    labels = [channel.get("label") for channel in channels]
    labels = [label if isinstance(label, str | int) else None for label in labels]
    colours = [colour(channel.get("color")) for channel in channels]
    outer, result = _mappings(scales, "coordinateTransformations"), []
    for dataset in _mappings(scales, "datasets"):
        steps = [*_mappings(dataset, "coordinateTransformations"), *outer]
        lengths = _lengths(names, steps)
        size = {a: to_micrometres(lengths.get(a), units[a]) for a in names if a in "zyx"}
        time = to_seconds(lengths.get("t"), units.get("t"))
        path = PurePosixPath(str(dataset.get("path"))).as_posix()
        result.append(Level(path, names, Metadata(labels, size, time, colours)))
    return result


def axis_name(name: Any, kind: Any = None) -> str:
    """Return t, c, z, y or x for the name of an axis and its type, or the name itself."""
    word = str(kind if kind in ("time", "channel") else name).casefold()
    return NAMES.get(word, word)


def axes_of_array(metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the axes that an array names itself: by Zarr 3, or as xarray names those of Zarr 2."""
    names = metadata.get("dimension_names") or attributes.get("_ARRAY_DIMENSIONS") or ()
    return tuple(map(axis_name, names)) if any(name is not None for name in names) else ()


def _lengths(axes: Sequence[str], steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the length that all transformations together give a pixel, by axis."""
    scales = _scales(steps)
    if not scales or any(len(scale) != len(axes) for scale in scales):
        return {}
    return {axis: math.prod(column) for axis, *column in zip(axes, *scales, strict=True)}


def _scales(steps: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return the factors of each scaling among transformations; one of none for unknown kinds."""
    scales: list[list[float]] = []
    for step in steps:
        kind = step.get("type")
        if kind == "sequence":
            scales += _scales(_mappings(step, "transformations"))
        elif kind == "scale":
            factors = step.get("scale")
            scales.append([number(n) for n in factors] if isinstance(factors, list) else [])
        elif kind not in ("identity", "translation"):
            scales.append([])
    return scales


def check_chunks(path: Path, folder: Path, array: Any) -> None:
    """Refuse an array of which hardly any chunk is in its folder, and warn of missing ones.

    Raises
    ------
    InputError
    """
    stored = array.shards or array.chunks
    grid = quotients(array.shape, stored)
    expected, there = math.prod(quotients(array.shape, array.chunks)), 0
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
    if array.nbytes > LARGE and there * SPARSE < expected:
        problem = f"the shape {array.shape} needs {expected} chunks, of which only {there} exist"
        raise InputError(problem, where=path, remedy="copy or write it again")
    if missing := expected - there:
        read_as = f"{missing} of {expected} chunks are missing, and read as {array.fill_value}"
        logger.warning("%s: %s", path, read_as)


def quotients(lengths: Sequence[int], parts: Sequence[int]) -> list[int]:
    """Return how many parts each of some lengths has, with a shorter last one."""
    return [-(-length // part) for length, part in zip(lengths, parts, strict=True)]


def _chunks_in(file: Path, array: Any, place: Sequence[int]) -> int:
    """Return the number of chunks of the image in a file: one, or those that a shard lists."""
    if array.shards is None:
        return 1
    per_shard = quotients(array.shards, array.chunks)
    rest = [size - n * side for size, n, side in zip(array.shape, place, array.shards, strict=True)]
    inside = tuple(map(min, per_shard, quotients(rest, array.chunks)))
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
