"""Pages of TIFF files: chains, followed once before tifffile follows them, and encoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from denoisplit.errors import InputError
from denoisplit.images.formats.compression import FIRST, is_lossy
from denoisplit.images.formats.libraries import refuse_lossy

MOST_PAGES = 2**20
MOST_UNEQUAL = 1000  # pages of different sizes: more take tifffile minutes, in quadratic time
SIDES = (256, 257)  # tags of width and height
# and of bits, compression, meaning of 0, samples per pixel: equal in all pages of an image
LAYOUT = {256: 0, 257: 0, 258: 1, 259: 1, 262: 0, 277: 1}  # and what they are if not there
WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of whole numbers
OTHER_COLOURS = tuple(
    PHOTOMETRIC[name]
    for name in ("SEPARATED", "YCBCR", "CIELAB", "ICCLAB", "ITULAB", "CFA", "LOGL", "LOGLUV")
)
SUB_PAGES = 330  # tag of the offsets of further chains
OFFSETS = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # types of these offsets


class _Form(NamedTuple):
    """Layout of a page's entries, in classic TIFF or BigTIFF."""

    order: str  # of bytes
    entries: str  # their number
    entry: str  # tag, type, number of values
    offset: str

    def size(self, code: str) -> int:
        return struct.calcsize(self.order + code)

    def unpack(self, code: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + code, data[: self.size(code)])


Layouts = dict[int, tuple[int, ...]]
CLASSIC, BIG = ("H", "HHI", "I"), ("Q", "HHQ", "Q")


def check_pages(path: Path) -> Layouts:
    """Refuse a file whose pages form a loop, or are too many, and return what each is like.

    Damage that ends a chain is left to the reader of the pages.

    Returns
    -------
    dict
        Offset of each page to its numbers of `LAYOUT`.

    Raises
    ------
    ValueError
    """
    with path.open("rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 16:
            return {}
        version = struct.unpack(order + "H", start[2:4])[0]
        form = _Form(order, *(BIG if version == 43 else CLASSIC))
        (first,) = form.unpack(form.offset, start[8:] if version == 43 else start[4:])
        chains, known, sizes = [first], Layouts(), set[tuple[int, ...]]()
        while chains:
            chain = Layouts()
            for offset, layout, more in _pages(file, chains.pop(), form):
                if offset in chain:
                    raise ValueError("its pages form a loop")
                if offset in known:  # a chain that joins another one
                    break
                chain[offset] = layout
                sizes.add(layout[: len(SIDES)])
                chains += more
                if len(sizes) > 1 and len(chain) > MOST_UNEQUAL:
                    raise ValueError(f"it has more than {MOST_UNEQUAL} pages of different sizes")
                if len(known) + len(chain) + len(chains) > MOST_PAGES:
                    raise ValueError(f"it has more than {MOST_PAGES} pages")
            known |= chain
        return known


Page = tuple[int, tuple[int, ...], list[int]]


def _pages(file: BinaryIO, offset: int, form: _Form) -> Iterator[Page]:
    """Yield offset and layout of each page in a chain, and the starts of chains that it names."""
    while offset:
        try:
            file.seek(offset)
            (count,) = form.unpack(form.entries, file.read(form.size(form.entries)))
            if count > 2**16:
                return
            width = form.size(form.entry) + form.size(form.offset)
            table = file.read(count * width)
            end = file.read(form.size(form.offset))
            entries = {
                form.unpack("H", table[start:])[0]: table[start : start + width]
                for start in range(0, len(table), width)
            }
            layout = tuple(_number(entries.get(tag), n, form) for tag, n in LAYOUT.items())
            yield offset, layout, _sub_pages(file, entries.get(SUB_PAGES), form)
            (offset,) = form.unpack(form.offset, end)
        except (struct.error, OSError, OverflowError):  # of a file that is cut off
            return


def _number(entry: bytes | None, default: int, form: _Form) -> int:
    """Return the whole number in the entry of a page; of several, how many there are, negative."""
    if entry is None:
        return default
    _, kind, count = form.unpack(form.entry, entry)
    if count != 1 or kind not in WHOLE:
        return -int(count)
    return form.unpack(WHOLE[kind], entry[form.size(form.entry) :])[0]


def _sub_pages(file: BinaryIO, entry: bytes | None, form: _Form) -> list[int]:
    """Return the offsets in the entry of a page for further chains."""
    _, kind, count = form.unpack(form.entry, entry) if entry else (0, 0, 0)
    if kind not in OFFSETS or not 0 < count <= MOST_PAGES:
        return []
    values = entry[form.size(form.entry) :] if entry else b""
    size = count * form.size(OFFSETS[kind])
    if size > len(values):
        file.seek(form.unpack(form.offset, values)[0])
        values = file.read(size)
    return list(form.unpack(f"{count}{OFFSETS[kind]}", values))


def check_encoding(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> str:
    """Refuse inverted greys, colours other than RGB, and pixels that were compressed with loss.

    Returns
    -------
    str
        A warning of a compression that may be with loss; else empty.

    Raises
    ------
    InputError
    """
    page = series.keyframe
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        raise InputError(
            "the greys of this image are inverted: 0 is white",
            where=path,
            remedy="save it with 0 as black (Fiji: Image > Lookup Tables > Grays, Edit > Invert)",
        )
    name = COMPRESSION(page.compression).name
    if lossy := is_lossy(name, _start(tif, page)):
        refuse_lossy(path, name)
    colours = PHOTOMETRIC(page.photometric)
    if colours in OTHER_COLOURS or (colours == PHOTOMETRIC.PALETTE and not _rises(page)):
        what = f"the colours {'CMYK' if colours == PHOTOMETRIC.SEPARATED else colours.name}"
        problem = f"this image has {what}, expected intensities or RGB"
        remedy = "save it in greys, if it is a recording (Fiji: Image > Lookup Tables > Grays)"
        raise InputError(problem, where=path, remedy=remedy)
    return f"{name} may be with loss, which alters the noise of an image" if lossy is None else ""


def _rises(page: tifffile.TiffPage) -> bool:
    """Return whether the colours of a page become brighter with its pixels, which ImageJ writes."""
    table = page.colormap
    return table is not None and bool((np.diff(table.sum(axis=0, dtype=np.int64)) >= 0).all())


def _start(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> bytes:
    """Return the first bytes of the pixels of a page."""
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if count:
            tif.filehandle.seek(offset)
            return bytes(tif.filehandle.read(min(count, FIRST)))
    return b""
