"""PNG images, grey or of single colours, read by imagecodecs."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.axes import COLOURS, Metadata, open_array
from denoisplit.images.lazy import LazyImage, Pages, unreadable
from denoisplit.images.lengths import PRINT_PIXEL_UM, known_lengths, to_micrometres
from denoisplit.images.selection import choose_series

START = b"\x89PNG\r\n\x1a\n"
KINDS = {0: "grey", 2: "colour (RGB)", 3: "indexed colour", 4: "grey and alpha", 6: "RGB and alpha"}
GREY, RGB = 0, 2
MOST_PIXELS = 2**28  # decoded at once
MOST_BYTES = 2 * MOST_PIXELS + 2**20  # of a file of so many pixels
REMEDY = "copy or save the file again"
GREY_REMEDY = "save it as grey image, one file per channel (Fiji: Image > Type, or Split Channels)"


def open_png(path: Path, series: int | None = None) -> LazyImage:
    """Open a PNG image of 8 or 16 bit, which is decoded when it is indexed.

    Raises
    ------
    InputError
        If the file is not PNG, is damaged or too large, or has indexed colours, transparency,
        several images or other bits.
    """
    choose_series(path, ["an image"], series)
    with unreadable(path, "PNG", REMEDY):
        chunks = dict(_chunks(path))
        width, height, bits, kind = struct.unpack_from(">IIBB", chunks[b"IHDR"])
        sizes = _pixel_size(chunks.get(b"pHYs", b""))
    what = f"{KINDS.get(kind, 'unknown')} of {bits} bit"
    what += ", animated" if b"acTL" in chunks else ""
    what += ", transparent" if b"tRNS" in chunks else ""
    if what not in [f"{KINDS[n]} of {b} bit" for n in (GREY, RGB) for b in (8, 16)]:
        problem = f"this PNG is {what}, expected grey or RGB of 8 or 16 bit"
        raise InputError(problem, where=path, remedy=GREY_REMEDY)
    colours = COLOURS if kind == RGB else ()
    page = (height, width, *([len(colours)] if colours else []))
    if not 0 < math.prod(page) <= MOST_PIXELS or path.stat().st_size > MOST_BYTES:
        problem = f"this PNG has {height} x {width} px in {path.stat().st_size} bytes"
        remedy = f"save it as TIFF: PNGs of more than {MOST_PIXELS} px are not read"
        raise InputError(problem, where=path, remedy=remedy)
    dtype = np.dtype(f"u{bits // 8}")
    pixels = Pages((), page, dtype, partial(_read, path, page, dtype))
    image = open_array(pixels, "YXS" if colours else "YX", Metadata(colours, sizes), path)
    return replace(image, is_colour=bool(colours))


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and start of each chunk before those of the pixels."""
    with path.open("rb") as stream:
        if stream.read(len(START)) != START:
            raise ValueError("it does not begin like one")
        while True:
            length, name = struct.unpack(">I4s", stream.read(8))
            if name == b"IDAT":
                return
            yield name, stream.read(min(length, 32))
            stream.seek(max(0, length - 32) + 4, 1)


def _pixel_size(data: bytes) -> dict[str, float]:
    """Return the pixel size in the chunk that counts pixels per metre."""
    if len(data) < 9 or data[8] != 1:
        return {}
    counts = dict(zip("xy", struct.unpack_from(">II", data), strict=True))
    sizes = {axis: to_micrometres(1 / n, "m") if n else None for axis, n in counts.items()}
    return known_lengths(sizes, PRINT_PIXEL_UM)


def _read(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], numbers: Sequence[int]
) -> Iterator[NDArray[Any]]:
    import imagecodecs

    for _ in numbers:
        with unreadable(path, "PNG", REMEDY):
            pixels = imagecodecs.png_decode(path.read_bytes())
            if pixels.shape != shape or pixels.dtype != dtype:
                raise ValueError(f"its shape is {pixels.shape}, its header says {shape}")
        yield pixels
