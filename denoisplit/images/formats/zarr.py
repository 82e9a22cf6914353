"""Zarr and OME-Zarr images, which are read part by part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.files.bounded import MOST_TEXT, read_bytes
from denoisplit.files.json_file import parse_json
from denoisplit.images.axes import DIMS, open_array
from denoisplit.images.formats.ngff import (
    UNNAMED,
    Level,
    axes_of_array,
    check_chunks,
    images,
    levels,
    multiscales,
)
from denoisplit.images.lazy import LazyImage, unreadable
from denoisplit.images.selection import choose_series

MARKERS = (".zgroup", ".zarray", "zarr.json")
METADATA = (*MARKERS, ".zattrs", ".zmetadata")
REMEDY = "copy or write it again"
DEEPEST = 4  # folders above an array in which the image that it belongs to is searched
MOST_PIXELS = 2**44
MOST_CHUNK = 2**30  # bytes; a chunk is read as a whole
MOST_IN_SHARD = 2**20  # chunks
# whose decoding executes nothing, unlike that of `pickle`, and needs about the memory of a chunk
CODECS = (
    *("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"),
    *("adler32", "astype", "bitround", "crc32", "crc32c", "delta", "fixedscaleoffset"),
    *("fletcher32", "packbits", "quantize", "shuffle", "bytes", "transpose", "sharding_indexed"),
)


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a Zarr array or group."""
    return path.is_dir() and any((path / name).is_file() for name in MARKERS)


def open_zarr(path: Path | str, series: int | None = None) -> LazyImage:
    """Open a Zarr array, or the full resolution of an OME-Zarr image, without reading its pixels.

    Of a plate, or a file with several series, one image is chosen by its number.

    Raises
    ------
    InputError
        If the folder is neither, or has other axes or pixels than an image.
    """
    path = Path(path)
    with unreadable(path, "Zarr", REMEDY):
        return _opened(path, series)


def _opened(path: Path, series: int | None) -> LazyImage:
    """Open an array or image; damaged metadata raise many types."""
    import zarr

    from denoisplit.images.formats.zarr_bounds import StoredArray

    node, folder, level = open_node(path), path, Level()
    if isinstance(node, zarr.Array):
        choose_series(path, ["an array"], series)
        level = _level_of(path)
    else:
        attributes = node.attrs.asdict()
        if inner := images(attributes, lambda name: _attributes(path / name)):
            return _opened(path / inner[choose_series(path, inner, series)], None)
        if names := [str(scales.get("name") or "unnamed") for scales in multiscales(attributes)]:
            level = next(iter(levels(attributes, choose_series(path, names, series))), level)
        if not level.path or level.path not in node:
            problem = "this Zarr group is not an OME-Zarr image"
            remedy = "name the image inside it: the folder with multiscales in its attributes"
            raise InputError(problem, where=path, remedy=remedy)
        folder = path / level.path
        check_metadata(folder)
        node = node[level.path]
    named = axes_of_array(node.metadata.to_dict(), node.attrs.asdict())
    axes = level.axes or named or UNNAMED.get(node.ndim, DIMS)
    _check_array(path, node, axes)
    check = partial(check_chunks, path, folder, node)
    return open_array(StoredArray(node), "".join(axes), level.metadata, path, check)


def _level_of(path: Path) -> Level:
    """Return what an OME-Zarr image says of an array inside it, if it is in one."""
    import zarr

    path = path.absolute()
    for parent in path.parents[:DEEPEST]:
        if is_zarr(parent) and isinstance(group := open_node(parent), zarr.Group):
            inside = path.relative_to(parent).as_posix()
            attributes = group.attrs.asdict()
            for image in range(len(multiscales(attributes))):
                for level in levels(attributes, image):
                    if level.path == inside:
                        return level
    return Level()


def _attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a group; empty if there is none."""
    return open_node(path).attrs.asdict() if is_zarr(path) else {}


def open_node(path: Path) -> Any:
    """Open a Zarr group or array, after a look at the size and depth of its metadata."""
    import zarr

    check_metadata(path)
    return zarr.open(str(path), mode="r")


def check_metadata(folder: Path) -> None:
    """Refuse metadata that are damaged, or too large for the libraries that read them next.

    Raises
    ------
    InputError
    """
    for file in (folder / name for name in METADATA):
        if file.is_file():
            data = read_bytes(file, MOST_TEXT, "metadata of a Zarr", REMEDY)
            with unreadable(file, "Zarr", REMEDY):
                parse_json(data, finite=False)


def codecs(array: Any) -> list[str]:
    """Return the names of all codecs of an array, also those within shards."""
    values, names = [array.metadata.to_dict()], []
    while values:
        value = values.pop()
        for key in ("filters", "codecs", "index_codecs", "compressor"):
            inner = value.get(key) or ()
            inner = [inner] if isinstance(inner, dict) else list(inner)
            names += [str(codec.get("name") or codec.get("id")) for codec in inner]
            values += [codec.get("configuration") or {} for codec in inner]
    return [name.removeprefix("numcodecs.") for name in names]


def _check_array(path: Path, array: Any, dims: Sequence[str]) -> None:
    """Refuse an array that is no image, too large, or encoded in an unknown way."""
    known = {"y", "x"} <= set(dims) <= set(DIMS) and len(set(dims)) == len(dims)
    if len(dims) != array.ndim or not known:
        raise InputError(
            f"this {array.ndim}-dimensional array has the axes {', '.join(dims)}, expected y and "
            "x, and none but t, c, z beside them",
            where=path,
            remedy="write it with these axes",
        )
    if array.dtype.kind not in "biuf" or array.size == 0:
        problem = f"this image has {array.dtype} pixels and the shape {array.shape}, expected one"
        remedy = "write the intensities as integers or float32"
        raise InputError(f"{problem} or more real numbers", where=path, remedy=remedy)
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    in_shard = math.prod(array.shards or ()) // math.prod(array.chunks)
    if math.prod(array.shape) > MOST_PIXELS or chunk > MOST_CHUNK or in_shard > MOST_IN_SHARD:
        raise InputError(
            f"the shape {array.shape} in chunks of {array.chunks} is too large: at most "
            f"{MOST_PIXELS} pixels, {MOST_CHUNK} bytes per chunk and {MOST_IN_SHARD} chunks per "
            "shard can be read",
            where=path,
            remedy="write it in smaller chunks",
        )
    if others := sorted(set(codecs(array)) - set(CODECS)):
        problem = f"this image is encoded with {', '.join(others)}, which is not read"
        remedy = f"write it with {', '.join(CODECS[:7])}, or without compression"
        raise InputError(problem, where=path, remedy=remedy)
