"""CZI files of Zeiss microscopes, whose blocks the package czifile finds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.axes import Metadata, colour, open_array
from denoisplit.images.formats.compression import is_lossy
from denoisplit.images.formats.libraries import REMEDY, library, readable, refuse_axes, refuse_lossy
from denoisplit.images.lazy import LazyImage, Pages
from denoisplit.images.lengths import to_micrometres, to_seconds
from denoisplit.images.selection import choose_series

OUTER = "TZC"  # axes along which each block is one plane
DIRECTORY, METADATA = b"ZISRAWDIRECTORY", b"ZISRAWMETADATA"
JPEG, LZW, JPEG_XR, ZSTD, ZSTD_HEADER = 1, 2, 4, 5, 6  # compressions
MOST_BYTES = 2**31  # of a plane, which is read as a whole
SLACK = 2**16  # bytes by which a compressed block may be longer than its pixels


class _Stored(NamedTuple):
    """Where the pixels of a plane are in the file."""

    offset: int
    size: int  # bytes
    compression: int

    def read(self, path: Path) -> bytes:
        """Read the bytes as they are stored."""
        with path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


class _Block(NamedTuple):
    """One plane, or a part of it."""

    entry: Any  # of czifile
    starts: dict[str, int]  # of each axis
    sizes: dict[str, int]


def open_czi(path: Path, series: int | None = None) -> LazyImage:
    """Open a scene of a CZI file, of which planes are read one by one.

    Raises
    ------
    InputError
        If the file is not CZI, is damaged, was compressed with loss, has colours, tiles, unknown
        axes or missing planes, or several scenes and none of them is chosen.
    """
    with readable(path, "CZI"), library("czifile", "CZI", path).CziFile(path) as file:
        blocks = _blocks(path, file)
        scenes = sorted({block.starts.get("S", 0) for block in blocks})
        chosen = choose_series(path, [f"scene {scene}" for scene in scenes], series)
        blocks = [block for block in blocks if block.starts.get("S", 0) == scenes[chosen]]
        height, width = _side(path, blocks, "Y"), _side(path, blocks, "X")
        axes = {axis for block in blocks for axis in block.starts} - set("SYX")
        values = {axis: sorted({b.starts.get(axis, 0) for b in blocks}) for axis in sorted(axes)}
        refuse_axes(path, {axis: len(some) for axis, some in values.items()})
        outer = [values.get(axis, [0]) for axis in OUTER]
        places = {tuple(b.starts.get(axis, 0) for axis in OUTER): b.entry for b in blocks}
        planes = math.prod(map(len, outer))
        if len(blocks) > len(places):
            refuse_axes(path, {"tiles or views": len(blocks) // len(places) + 1})
        if len(places) < planes:
            problem = f"{planes - len(places)} of {planes} planes of this image are missing"
            raise InputError(problem, where=path, remedy=REMEDY)
        entries = [places[place] for place in product(*outer)]
        dtype = _dtype(path, entries)
        stored = [_stored(file, entry, height * width * dtype.itemsize) for entry in entries]
        kinds = {one.compression: one for one in stored}
        if JPEG in kinds or (
            JPEG_XR in kinds and is_lossy("JPEGXR", kinds[JPEG_XR].read(path)) is not False
        ):
            refuse_lossy(path, "JPEG" if JPEG in kinds else "JPEG XR")
        metadata = _metadata(path, file)
    read = partial(_read, path, stored, (height, width), dtype)
    pixels = Pages(tuple(map(len, outer)), (height, width), dtype, read)
    return open_array(pixels, f"{OUTER}YX", metadata, path)


def _blocks(path: Path, file: Any) -> list[_Block]:
    """Return the blocks of full resolution; a search for them, if not listed, may never end."""
    if file.header.file_part or _mark(path, file.header.directory_position) != DIRECTORY:
        raise ValueError("it is a part of several files, or its list of blocks is missing")
    blocks = []
    for entry in file.subblock_directory:
        if hasattr(entry, "dimension_entries"):  # in versions before 2026
            dimensions = entry.dimension_entries
        else:
            dimensions = list(entry.read_dimension_entries(file).values())
        starts = {str(one.dimension): int(one.start) for one in dimensions}
        sizes = {str(one.dimension): int(one.size) for one in dimensions}
        if not entry.pyramid_type and all(
            (one.stored_size or one.size) == one.size for one in dimensions
        ):
            blocks.append(_Block(entry, starts, sizes))
    if not blocks or not {"Y", "X"} <= set.intersection(*(set(block.sizes) for block in blocks)):
        raise ValueError("it has no plane of full resolution")
    if any(n != 1 for b in blocks for axis, n in b.sizes.items() if axis not in "YX"):
        raise ValueError("its blocks are not single planes")
    return blocks


def _side(path: Path, blocks: Sequence[_Block], axis: str) -> int:
    """Return the height or width of all blocks, which must be at one place."""
    spans = {(block.starts[axis], block.sizes[axis]) for block in blocks}
    refuse_axes(path, {f"tiles along {axis.lower()}": len(spans)})
    ((_, side),) = spans
    if side < 1:
        raise ValueError(f"its planes have {side} pixels along {axis}")
    return side


def _dtype(path: Path, entries: Sequence[Any]) -> np.dtype[Any]:
    """Return the type of the pixels of all blocks."""
    refuse_axes(path, {"colour": max(int(entry.shape[-1]) for entry in entries)})
    (name,) = {str(np.dtype(entry.dtype)) for entry in entries}
    return np.dtype(name)


def _mark(path: Path, position: int) -> bytes:
    """Return the mark at the start of a segment."""
    with path.open("rb") as stream:
        stream.seek(max(0, position))
        return stream.read(16).rstrip(b"\0")


def _stored(file: Any, entry: Any, needed: int) -> _Stored:
    """Return where a plane is stored that needs a number of bytes."""
    if hasattr(entry, "data_segment"):  # in versions before 2026
        segment = entry.data_segment()
    else:
        segment = entry.read_segment_data(file)
    if needed > MOST_BYTES or not 0 < segment.data_size <= 2 * needed + SLACK:
        raise ValueError(f"a plane has {segment.data_size} bytes, its pixels need {needed}")
    return _Stored(int(segment.data_offset), int(segment.data_size), int(entry.compression))


def _read(
    path: Path,
    stored: Sequence[_Stored],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    numbers: Sequence[int],
) -> Iterator[NDArray[Any]]:
    for number in numbers:
        with readable(path, "CZI"):
            data, plane = stored[number].read(path), np.empty(shape, dtype)
            yield _decoded(data, stored[number].compression, plane)


def _decoded(data: bytes | bytearray, compression: int, plane: NDArray[Any]) -> NDArray[Any]:
    """Decode a block into a plane, whose size bounds what is decoded."""
    import imagecodecs

    if compression == JPEG_XR:
        imagecodecs.jpegxr_decode(data, out=plane)
        return plane
    halves = False  # first all low, then all high bytes
    if compression == ZSTD_HEADER:
        size = data[0]
        if size not in (1, 3) or (size == 3 and data[1] != 1):
            raise ValueError("a block has an unknown header")
        halves = size == 3 and bool(data[2] & 1)
        data = data[size:]
    if compression in (ZSTD, ZSTD_HEADER):
        data = imagecodecs.zstd_decode(data, out=plane.nbytes)
    elif compression == LZW:
        data = imagecodecs.lzw_decode(data, out=plane.nbytes)
    elif compression:
        raise ValueError(f"its compression is of the unknown kind {int(compression)}")
    if len(data) != plane.nbytes:
        raise ValueError(f"a block has {len(data)} bytes, its pixels need {plane.nbytes}")
    flat = np.frombuffer(data, np.uint8)
    if halves:
        flat = np.stack(np.split(flat, 2), axis=1).ravel()
    plane[...] = flat.view(plane.dtype).reshape(plane.shape)
    return plane


def _metadata(path: Path, file: Any) -> Metadata:
    if _mark(path, file.header.metadata_position) != METADATA:
        return Metadata()
    try:
        xml = ElementTree.fromstring(file.metadata())
    except (ElementTree.ParseError, ValueError, OSError):
        return Metadata()
    sizes = {
        str(one.get("Id")).lower(): to_micrometres(one.findtext("Value"), "m")
        for one in xml.findall(".//Scaling/Items/Distance")
    }
    channels = xml.findall(".//Information/Image/Dimensions/Channels/Channel")
    shown = {one.get("Id"): one for one in xml.findall(".//DisplaySetting/Channels/Channel")}
    colours = [  # the one that is shown, or else that of the recording
        shown.get(one.get("Id"), one).findtext("Color") or one.findtext("Color") or ""
        for one in channels
    ]
    step = xml.findtext(".//Information/Image/Dimensions/T/Positions/Interval/Increment")
    return Metadata(
        [channel.get("Name") for channel in channels],
        {axis: sizes.get(axis) for axis in "xyz"},
        to_seconds(step, "s"),
        [colour(text[-6:]) for text in colours],  # behind the opacity
    )
