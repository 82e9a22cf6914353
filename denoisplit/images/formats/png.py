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
from denoisplit.images.axes import COLOURS, open_array
from denoisplit.images.lazy import LazyImage, Pages, first_line
from denoisplit.images.lengths import known_lengths, to_micrometres
from denoisplit.images.selection import choose_series

START = b"\x89PNG\r\n\x1a\n"
KINDS = {0: "grey", 2: "colour (RGB)", 3: "indexed colour", 4: "grey and alpha", 6: "RGB and alpha"}
GREY, RGB = 0, 2
MOST_PIXELS = 2**28  # decoded at once
MOST_BYTES = 2 * MOST_PIXELS + 2**20  # of a file of so many pixels
PRINT_PIXEL_UM = 20.0  # resolutions coarser than this are meant for paper or screen


def open_png(path: Path, series: int | None = None) -> LazyImage:
    """Open a PNG image of 8 or 16 bit, which is decoded when it is indexed.

    Raises
    ------
    InputError
        If the file is not PNG, is damaged or too large, or has indexed colours, transparency,
        several images or other bits.
    """
    choose_series(path, ["an image"], series)
    try:
        chunks = dict(_chunks(path))
        width, height, bits, kind = struct.unpack_from(">IIBB", chunks[b"IHDR"])
        sizes = _pixel_size(chunks.get(b"pHYs", b""))
    except (KeyError, ValueError, struct.error, OSError) as error:
        problem = f"this PNG is unreadable ({first_line(error)})"
        raise InputError(problem, where=path, remedy="copy or save the file again") from None
    what = f"{KINDS.get(kind, 'unknown')} of {bits} bit"
    what += ", animated" if b"acTL" in chunks else ""
    what += ", transparent" if b"tRNS" in chunks else ""
    if what not in [f"{KINDS[n]} of {b} bit" for n in (GREY, RGB) for b in (8, 16)]:
        remedy = (
            "save it as grey image, one file per channel (Fiji: Image > Type, or Split Channels)"
        )
        problem = f"this PNG is {what}, expected grey or RGB of 8 or 16 bit"
        raise InputError(problem, where=path, remedy=remedy)
    colours = COLOURS if kind == RGB else ()
    page = (height, width, *([len(colours)] if colours else []))
    if not 0 < math.prod(page) <= MOST_PIXELS or path.stat().st_size > MOST_BYTES:
        problem = f"this PNG has {height} x {width} px in {path.stat().st_size} bytes"
        remedy = f"save it as TIFF: PNGs of more than {MOST_PIXELS} px are not read"
        raise InputError(problem, where=path, remedy=remedy)
    dtype = np.dtype(f"u{bits // 8}")
    pixels = Pages((), page, dtype, partial(_read, path, page, dtype))
    axes = "YXS" if colours else "YX"
    image = open_array(pixels, axes, channels=colours, pixel_size_um=sizes, source=path)
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
    sizes = known_lengths({a: to_micrometres(1 / n, "m") if n else None for a, n in counts.items()})
    return {axis: size for axis, size in sizes.items() if size < PRINT_PIXEL_UM}


def _read(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], numbers: Sequence[int]
) -> Iterator[NDArray[Any]]:
    import imagecodecs

    for _ in numbers:
        try:
            pixels = imagecodecs.png_decode(path.read_bytes())
        except Exception as error:  # any bytes may come in
            problem = f"this PNG is damaged ({first_line(error)})"
            raise InputError(problem, where=path, remedy="copy or save the file again") from None
        if pixels.shape != shape or pixels.dtype != dtype:
            problem = f"this PNG has the shape {pixels.shape}, its header says {shape}"
            raise InputError(problem, where=path, remedy="copy or save the file again")
        yield pixels
