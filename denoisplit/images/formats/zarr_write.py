"""Writing of OME-Zarr images: results that are made chunk by chunk, and their final form."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError
from denoisplit.images.display import display_limits, light
from denoisplit.images.formats.ngff import quotients
from denoisplit.images.formats.zarr import CODECS, check_metadata, codecs, open_node, open_zarr
from denoisplit.images.lazy import LazyImage, unreadable

OmeVersion = Literal["0.4", "0.5"]
ABOUT = "denoisplit"  # attribute with run, image and options of a result
TRIED = 1024  # pixels that are encoded on trial
REMOVE = "remove it, and start over"
CHUNK: dict[OmeVersion, int] = {"0.4": 1024, "0.5": 512}  # px, largest side of a chunk
PART_SIDE = 2048  # px, largest side of the parts that are written at once; of 0.5, each is a shard
PART = 2**22  # pixels in a part, at most; 16 MiB
SMALLEST = 512  # px, longest side of the last pyramid level, at most
MOST_FILES = 10_000  # of the full resolution, above which results have shards by default
UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}


def create_ome_zarr(
    path: Path,
    sizes: dict[str, int],
    *,
    channels: Sequence[str],
    chunk: tuple[int, int],
    pixel_size_um: dict[str, float],
    time_increment_s: float | None = None,
    colours: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> None:
    """Create an OME-Zarr 0.4 image of float32 without a pyramid, to be filled chunk by chunk.

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
    time_increment_s : float, optional
        Seconds between the frames.
    colours : sequence of str, optional
        Of the channels, "#rrggbb"; by default those of structures.
    about : mapping, optional
        Attributes of the result, see `about_zarr`.
    """
    import zarr

    colours = colours or [light(k, len(channels)) for k in range(len(channels))]
    limits = [(0.0, 1.0)] * len(channels)
    lengths = {**pixel_size_um, "t": time_increment_s}
    metadata = _metadata("0.4", path, tuple(sizes), 1, lengths, channels, colours, limits)
    attributes = metadata | {ABOUT: dict(about or {})}
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


def check_created(path: Path, **options: Any) -> None:
    """Refuse an image whose axes, scale, channels or shape are not as `create_ome_zarr` makes them.

    Colours may be those of another release.

    Raises
    ------
    InputError
    """
    with tempfile.TemporaryDirectory() as folder:
        expected = Path(folder) / path.name
        create_ome_zarr(expected, **options)
        if _created_as(path) != _created_as(expected):
            problem = "this unfinished result was made for another image, or is damaged"
            raise InputError(problem, where=path, remedy="remove this folder to start over")


def _created_as(path: Path) -> list[Any]:
    attributes, array = _attributes(path), writable_array(path)
    with unreadable(path, "Zarr", REMOVE):
        names = [channel["label"] for channel in attributes["omero"]["channels"]]
    return [array.shape, array.chunks, attributes.get("multiscales"), names]


def write_ome_zarr(path: Path, made: Path, version: OmeVersion | None = None) -> None:
    """Write an image made by `create_ome_zarr` with a pyramid, and in shards for version 0.5.

    Parameters
    ----------
    path : Path
        Folder that does not exist.
    made : Path
        The complete image.
    version : {"0.4", "0.5"}, optional
        By default 0.4, which more programs read, up to 10 000 chunks, and 0.5 above.

    Raises
    ------
    InputError
        If the image cannot be read.
    """
    import zarr

    image = open_zarr(made)
    with unreadable(made, "Zarr", REMOVE):
        attributes: Any = open_node(made).attrs
        axes = [str(axis["name"]) for axis in attributes["multiscales"][0]["axes"]]
        names = [str(channel["label"]) for channel in attributes["omero"]["channels"]]
    shape = tuple(image.sizes.get(dim, 1) for dim in axes)
    count = image.sizes.get("c", 1)
    colours = image.colours or [light(k, count) for k in range(count)]
    files = math.prod(quotients(shape, _chunk(shape, "0.4")))
    version = version or ("0.4" if files <= MOST_FILES else "0.5")
    levels = [shape]
    while max(levels[-1][-2:]) > SMALLEST:
        *outer, y, x = levels[-1]
        levels.append((*outer, -(-y // 2), -(-x // 2)))
    lengths = {**image.pixel_size_um, "t": image.time_increment_s}
    limits = [display_limits(part) for part in image.middle_of_channels()]
    metadata = _metadata(version, path, axes, len(levels), lengths, names, colours, limits)
    group = zarr.create_group(
        str(path),
        zarr_format=2 if version == "0.4" else 3,
        attributes=metadata | {ABOUT: about_zarr(made)},
    )
    for number, shape in enumerate(levels):
        array = _level(group, str(number), shape, axes, version)
        before = None if number == 0 else group[str(number - 1)]
        for part in _parts(shape):
            array[part] = _full(image, axes, part) if before is None else _halved(before, part)


def _metadata(
    version: OmeVersion,
    path: Path,
    axes: Sequence[str],
    levels: int,
    lengths: Mapping[str, float | None],
    channels: Sequence[str],
    colours: Sequence[str],
    limits: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """Return the attributes of a group: axes, units and scale of each level, and its channels."""
    kinds = {"t": "time", "c": "channel"}
    described: list[dict[str, str]] = [{"name": d, "type": kinds.get(d, "space")} for d in axes]
    for axis in described:
        if lengths.get(axis["name"]):
            axis["unit"] = UNITS[axis["name"]]
    datasets = []
    for level in range(levels):
        factors = {"y": 2**level, "x": 2**level}
        sizes = [float(lengths.get(dim) or 1.0) for dim in axes]
        scale = [size * factors.get(dim, 1) for dim, size in zip(axes, sizes, strict=True)]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if level:  # the centre of the first pixel, which is the mean of several
            shift = [(big - size) / 2 for big, size in zip(scale, sizes, strict=True)]
            steps.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    image = {"name": path.name.split(".")[0], "axes": described, "datasets": datasets}
    image |= {"type": "mean"} if levels > 1 else {}
    display = [
        {
            "label": label,
            "color": colour[1:].upper(),
            "active": True,
            "window": {"min": low, "max": high, "start": low, "end": high},
        }
        for label, colour, (low, high) in zip(channels, colours, limits, strict=True)
    ]
    omero = {"channels": display}
    if version == "0.4":
        return {"multiscales": [{"version": version} | image], "omero": omero}
    return {"ome": {"version": version, "multiscales": [image], "omero": omero}}


def _chunk(shape: Sequence[int], version: OmeVersion) -> tuple[int, ...]:
    """Return the shape of a chunk: a part of one plane."""
    sides = [min(side, CHUNK[version]) for side in shape[-2:]]
    return (*[1] * (len(shape) - 2), *sides)


def _part(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the parts that are written at once: whole chunks, mostly of many planes.

    A part grows in y and x first, then from the last dimension to the first.
    """
    part = [1] * len(shape)
    for place in (-2, -1):
        side = min(shape[place], CHUNK["0.5"])
        part[place] = side * min(-(-shape[place] // side), PART_SIDE // side)
    for place in range(len(shape) - 3, -1, -1):
        part[place] = max(1, min(shape[place], PART // math.prod(part)))
    return tuple(part)


def _parts(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    starts = (range(0, length, side) for length, side in zip(shape, _part(shape), strict=True))
    for corner in product(*starts):
        sides = zip(corner, _part(shape), shape, strict=True)
        yield tuple(slice(a, min(a + side, length)) for a, side, length in sides)


def _level(
    group: Any, name: str, shape: tuple[int, ...], axes: Sequence[str], version: OmeVersion
) -> Any:
    """Create the array of a level, compressed by Blosc as most programs write it."""
    from numcodecs import Blosc  # type: ignore[import-untyped]
    from zarr.codecs import BloscCodec

    options: dict[str, Any] = {"shape": shape, "dtype": "float32", "fill_value": float("nan")}
    options["chunks"] = _chunk(shape, version)
    if version == "0.4":
        options["compressors"] = Blosc(cname="lz4", clevel=5, shuffle=1)
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    else:
        options["compressors"] = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)
        options |= {"shards": _part(shape), "dimension_names": axes}
    return group.create_array(name, **options)


def _full(image: LazyImage, axes: Sequence[str], part: Sequence[slice]) -> npt.NDArray[Any]:
    """Read a part of the full resolution, also along dimensions of length 1."""
    spans = dict(zip(axes, part, strict=True))
    pixels = image.pixels(tuple(spans[dim] for dim in image.dims))
    return pixels.reshape([span.stop - span.start for span in part])


def _halved(before: Any, part: Sequence[slice]) -> npt.NDArray[np.float32]:
    """Return the means of 2 x 2 px of the level before; at odd borders, of those that exist."""
    *outer, y, x = part
    # slices may end beyond the border
    spans = (slice(2 * span.start, 2 * span.stop) for span in (y, x))
    pixels: npt.NDArray[np.float32] = before[(*outer, *spans)]
    margins = [(0, 0)] * len(outer) + [(0, side % 2) for side in pixels.shape[-2:]]
    padded = np.pad(pixels, margins, mode="edge")
    rows: npt.NDArray[np.float32] = (padded[..., ::2, :] + padded[..., 1::2, :]) / np.float32(2)
    halved: npt.NDArray[np.float32] = (rows[..., ::2] + rows[..., 1::2]) / np.float32(2)
    return halved


def about_zarr(path: Path) -> dict[str, Any]:
    """Return the attributes of an image made by `create_ome_zarr`; empty for others.

    Raises
    ------
    InputError
        If they cannot be read.
    """
    about = _attributes(path).get(ABOUT)
    return dict(about) if isinstance(about, dict) else {}


def _attributes(path: Path) -> dict[str, Any]:
    with unreadable(path, "Zarr", REMOVE):
        attributes: dict[str, Any] = open_node(path).attrs.asdict()
    return attributes


def writable_array(path: Path) -> Any:
    """Open the array of an image made by `create_ome_zarr`, for writing.

    Raises
    ------
    InputError
        If its metadata are damaged, or of an image that was made otherwise.
    """
    import zarr

    with unreadable(path, "Zarr", REMOVE):
        check_metadata(path / "0")
        array = zarr.open_array(str(path / "0"), mode="r+")
        codec: Any = getattr(array.metadata, "compressor", None)
        if array.dtype != "float32" or set(codecs(array)) - set(CODECS) or array.filters:
            raise ValueError("it was made by another program")
        if codec is not None:  # its settings are looked at only when it is used
            codec.encode(np.zeros(TRIED, np.float32))
    return array


def chunk_file(path: Path, chunk: Sequence[int]) -> Path:
    """Return the file of a chunk of such an image; it exists once the chunk is complete."""
    return path.joinpath("0", *map(str, chunk))
