"""Zarr and OME-Zarr images, which are read and written part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from denoisplit.errors import InputError
from denoisplit.files.bounded import MOST_TEXT, read_bytes
from denoisplit.files.json_file import parse_json
from denoisplit.images.axes import DIMS, open_array
from denoisplit.images.formats.ngff import (
    Level,
    axes_of_array,
    check_chunks,
    images,
    levels,
    multiscales,
    unnamed_axes,
)
from denoisplit.images.lazy import LazyImage, first_line
from denoisplit.images.selection import choose_series

OME_VERSION = "0.4"  # on Zarr 2, which Fiji, napari and QuPath read
COLOURS = ("00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF")  # of channels in viewers
ABOUT = "denoisplit"  # attribute with run, image and options of a result
CONTRAST_SIDE = 1024  # px, of the middle that sets the display range
MARKERS = (".zgroup", ".zarray", "zarr.json")
METADATA = (*MARKERS, ".zattrs", ".zmetadata")
REMEDY = "copy or write it again"
TRIED = 1024  # pixels that are encoded on trial
REMOVE = "remove it, and start over"
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
    with _readable(path, REMEDY):
        return _opened(path, series)


@contextmanager
def _readable(path: Path, remedy: str) -> Iterator[None]:
    """Name the Zarr whose metadata are damaged, which raises many types of errors."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        problem = f"this Zarr is unreadable ({first_line(error)})"
        raise InputError(problem, where=path, remedy=remedy) from None


def _opened(path: Path, series: int | None) -> LazyImage:
    """Open an array or image; damaged metadata raise many types."""
    import zarr

    from denoisplit.images.formats.zarr_bounds import StoredArray

    node, folder = _node(path), path
    level: Level | None = None
    if isinstance(node, zarr.Array):
        choose_series(path, ["an array"], series)
        level = _level_of(path)
    else:
        attributes = node.attrs.asdict()
        if inner := images(attributes, partial(_attributes, path)):
            return _opened(path / inner[choose_series(path, inner, series)], None)
        if names := [str(scales.get("name") or "unnamed") for scales in multiscales(attributes)]:
            level = next(iter(levels(attributes, choose_series(path, names, series))), None)
        if level is None or level.path not in node:
            problem = "this Zarr group is not an OME-Zarr image"
            remedy = "name the image inside it: the folder with multiscales in its attributes"
            raise InputError(problem, where=path, remedy=remedy)
        folder = path / level.path
        _check_metadata(folder)
        node = node[level.path]
    named = axes_of_array(node.metadata.to_dict(), node.attrs.asdict())
    axes = (level.axes if level else ()) or named or unnamed_axes(node.ndim)
    _check_array(path, node, axes)
    return open_array(
        StoredArray(node),
        "".join(axes),
        channels=level.channels if level else (),
        pixel_size_um=level.pixel_size_um if level else {},
        source=path,
        check=partial(check_chunks, path, folder, node),
    )


def _level_of(path: Path) -> Level | None:
    """Return what an OME-Zarr image says of an array inside it; None if it is not in one."""
    import zarr

    path = path.absolute()
    for parent in path.parents[:DEEPEST]:
        if is_zarr(parent) and isinstance(group := _node(parent), zarr.Group):
            inside = path.relative_to(parent).as_posix()
            attributes = group.attrs.asdict()
            for image in range(len(multiscales(attributes))):
                for level in levels(attributes, image):
                    if level.path == inside:
                        return level
    return None


def _attributes(path: Path, inner: str) -> dict[str, Any]:
    """Return the attributes of a group inside another one; empty if there is none."""
    return _node(path / inner).attrs.asdict() if is_zarr(path / inner) else {}


def _node(path: Path) -> Any:
    """Open a Zarr group or array, after a look at the size and depth of its metadata."""
    import zarr

    _check_metadata(path)
    return zarr.open(str(path), mode="r")


def _check_metadata(folder: Path) -> None:
    """Refuse metadata that are damaged, or too large for the libraries that read them next.

    Raises
    ------
    InputError
    """
    for file in (folder / name for name in METADATA):
        if file.is_file():
            data = read_bytes(file, MOST_TEXT, "metadata of a Zarr", REMEDY)
            try:
                parse_json(data, finite=False)
            except ValueError as error:
                problem = f"this Zarr is unreadable ({error})"
                raise InputError(problem, where=file, remedy=REMEDY) from None


def _codecs(array: Any) -> list[str]:
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
    """Refuse an array that is no image, too large, or encoded in an unknown way.

    Raises
    ------
    InputError
    """
    unknown = [dim for dim in dims if dim not in DIMS]
    if len(dims) != array.ndim or unknown or not {"y", "x"} <= set(dims):
        raise InputError(
            f"this {array.ndim}-dimensional array has the axes {', '.join(dims)}, expected y and "
            "x, and none but t, c, z beside them",
            where=path,
            remedy="write it with these axes",
        )
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise InputError(
            f"this image has {array.dtype} pixels and the shape {array.shape}, expected one or "
            "more real numbers",
            where=path,
            remedy="write the intensities as integers or float32",
        )
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
    if others := sorted(set(_codecs(array)) - set(CODECS)):
        raise InputError(
            f"this image is encoded with {', '.join(others)}, which is not read",
            where=path,
            remedy=f"write it with {', '.join(CODECS[:7])}, or without compression",
        )


def create_ome_zarr(
    path: Path,
    sizes: dict[str, int],
    *,
    channels: Sequence[str],
    chunk: tuple[int, int],
    pixel_size_um: dict[str, float],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Create an OME-Zarr image of float32, to be filled chunk by chunk.

    Parameters
    ----------
    path : Path
    sizes : dict
        Dimension to length, in the order ``t c z y x``.
    channels : sequence of str
        Names, as many as ``sizes["c"]``.
    chunk : tuple of int
        Height and width of a chunk, which holds all channels of one plane. A chunk appears when it
        is complete.
    pixel_size_um : dict
        Known ones of x, y, z.
    about : mapping, optional
        Attributes of the result, see `about_zarr`.
    """
    import zarr

    kinds = {"t": "time", "c": "channel"}
    axes: list[dict[str, str]] = [{"name": d, "type": kinds.get(d, "space")} for d in sizes]
    for axis in axes:
        if axis["name"] in pixel_size_um:
            axis["unit"] = "micrometer"
    scale = [float(pixel_size_um.get(dim, 1.0)) for dim in sizes]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    name = path.name.split(".")[0]
    image = {"version": OME_VERSION, "name": name, "axes": axes, "datasets": datasets}
    display = [
        {"label": label, "color": colour, "active": True, "window": _window(0.0, 1.0)}
        for label, colour in zip(channels, cycle(COLOURS), strict=False)
    ]
    attributes = {"multiscales": [image], "omero": {"channels": display}, ABOUT: dict(about or {})}
    group = zarr.create_group(str(path), zarr_format=2, attributes=attributes)
    chunk_sizes = {"c": sizes["c"], "y": chunk[0], "x": chunk[1]}
    group.create_array(
        "0",
        shape=tuple(sizes.values()),
        chunks=tuple(chunk_sizes.get(d, 1) for d in sizes),
        dtype="float32",
        fill_value=float("nan"),  # no result has it, so every chunk that is set becomes a file
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )


def _window(darkest: float, brightest: float) -> dict[str, float]:
    return {"min": darkest, "max": brightest, "start": darkest, "end": brightest}


def set_display_range(path: Path) -> None:
    """Set the initial display range of viewers, per channel, to that of the image's middle.

    Raises
    ------
    InputError
        If the image cannot be read.
    """
    import zarr

    image = open_zarr(path)
    with _readable(path, REMOVE):
        group = zarr.open_group(str(path), mode="r+")
        omero: Any = group.attrs["omero"]
        middle = image.middle(CONTRAST_SIDE).reshape(len(omero["channels"]), -1)
        for pixels, channel in zip(middle, omero["channels"], strict=True):
            low, high = float(pixels.min()), float(pixels.max())
            channel["window"] = _window(low, high if high > low else low + 1)
    group.attrs["omero"] = omero


def about_zarr(path: Path) -> dict[str, Any]:
    """Return the attributes of an image made by `create_ome_zarr`; empty for others.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    with _readable(path, REMOVE):
        about: Any = _node(path).attrs.asdict().get(ABOUT)
    return dict(about) if isinstance(about, dict) else {}


def writable_array(path: Path) -> Any:
    """Open the array of an image made by `create_ome_zarr`, for writing.

    Raises
    ------
    InputError
        If its metadata are damaged, or of an image that was made otherwise.
    """
    import zarr

    with _readable(path, REMOVE):
        _check_metadata(path / "0")
        array = zarr.open_array(str(path / "0"), mode="r+")
        codec: Any = getattr(array.metadata, "compressor", None)
        if array.dtype != "float32" or set(_codecs(array)) - set(CODECS) or array.filters:
            raise ValueError("it was made by another program")
        if codec is not None:  # its settings are looked at only when it is used
            codec.encode(np.zeros(TRIED, np.float32))
    return array


def chunk_file(path: Path, chunk: Sequence[int]) -> Path:
    """Return the file of a chunk of such an image; it exists once the chunk is complete."""
    return path.joinpath("0", *map(str, chunk))
