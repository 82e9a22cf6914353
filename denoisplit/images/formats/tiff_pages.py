"""Pages of TIFF files: chains, followed once before tifffile follows them, and encoding."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, TIFF, TiffFormat

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


Layouts = dict[int, tuple[int, ...]]
Entry = tuple[int, int, bytes]  # of a page: type, number of values, and the values or their place
Page = tuple[int, tuple[int, ...], list[int]]


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
        is_big = start[:4] in (b"II+\0", b"MM\0+")
        formats = {b"II": (TIFF.CLASSIC_LE, TIFF.BIG_LE), b"MM": (TIFF.CLASSIC_BE, TIFF.BIG_BE)}
        if start[:2] not in formats or len(start) < 16:
            return {}
        form = formats[start[:2]][is_big]
        (first,) = struct.unpack_from(form.offsetformat, start, 8 if is_big else 4)
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


def _pages(file: BinaryIO, offset: int, form: TiffFormat) -> Iterator[Page]:
    """Yield offset and layout of each page in a chain, and the starts of chains that it names."""
    while offset:
        try:
            file.seek(offset)
            (count,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
            if count > 2**16:
                return
            table = file.read(count * form.tagsize)
            end = file.read(form.offsetsize)
            entries: dict[int, Entry] = {}
            for start in range(0, len(table), form.tagsize):
                tag, kind = struct.unpack_from(form.tagformat1, table, start)
                entries[tag] = (kind, *struct.unpack_from(form.tagformat2, table, start + 4))
            layout = tuple(_number(entries.get(tag, n), form) for tag, n in LAYOUT.items())
            yield offset, layout, _sub_pages(file, entries.get(SUB_PAGES, (0, 0, b"")), form)
            (offset,) = struct.unpack(form.offsetformat, end)
        except (struct.error, OSError, OverflowError):  # of a file that is cut off
            return


def _number(entry: Entry | int, form: TiffFormat) -> int:
    """Return the whole number in the entry of a page; of several, how many there are, negative."""
    if isinstance(entry, int):
        return entry
    kind, count, value = entry
    if count != 1 or kind not in WHOLE:
        return -count
    return int(struct.unpack_from(form.byteorder + WHOLE[kind], value)[0])


def _sub_pages(file: BinaryIO, entry: Entry, form: TiffFormat) -> list[int]:
    """Return the offsets in the entry of a page for further chains."""
    kind, count, values = entry
    if kind not in OFFSETS or not 0 < count <= MOST_PAGES:
        return []
    code = f"{form.byteorder}{count}{OFFSETS[kind]}"
    if (size := struct.calcsize(code)) > len(values):
        file.seek(struct.unpack(form.offsetformat, values)[0])
        values = file.read(size)
    return list(struct.unpack_from(code, values))


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
