"""Images of a package, read in bounded time and memory: test and sample tensors, and covers."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, UnidentifiedImageError

from denoisplit.errors import reason_of
from denoisplit.files.npz import parse_npy
from denoisplit_zoo.archive import Contents, at, mappings

LARGEST_COVER = 4096  # px


def read_test_tensor(data: bytes) -> npt.NDArray[np.float32]:
    """Read a test tensor.

    Raises
    ------
    ValueError
        With one line, if it is damaged or not of finite real numbers of 32 bits.
    """
    values: npt.NDArray[np.float32] = parse_npy(data)
    if values.dtype != np.float32:
        raise ValueError(f"its values are {values.dtype}, not float32")
    return values


def read_sample_tensor(data: bytes, size: int) -> npt.NDArray[np.float32]:
    """Return ``size`` values of an uncompressed TIFF file, as `denoisplit export` writes them.

    Raises
    ------
    ValueError
        With one line, if it is damaged or of another kind.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            kind, start, contiguous = page.dtype, page.dataoffsets[0], page.is_contiguous
            order = file.byteorder
    except (tifffile.TiffFileError, OSError, LookupError, TypeError, struct.error) as error:
        raise ValueError(reason_of(error)[:80]) from None
    if kind != np.float32 or not contiguous:
        raise ValueError("it is compressed or not of type float32")
    values = np.frombuffer(data, np.dtype(f"{order}f4"), count=size, offset=start)
    return values.astype(np.float32)


def cover_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a PNG image, px.

    Raises
    ------
    ValueError
        If it is none, or a huge one.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            width, height = picture.size
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError("it is not a PNG image") from None
    if max(width, height) > LARGEST_COVER:
        raise ValueError(f"it has more than {LARGEST_COVER} px")
    return width, height


def unreadable(package: Contents) -> Iterator[str]:
    """Yield a sentence on every image that bioimageio cannot be given."""
    tensors = [t for key in ("inputs", "outputs") for t in mappings(package.description.get(key))]
    names = [at(tensor, "test_tensor", "source") for tensor in tensors]
    covers = [at(c, "source") or c for c in package.description.get("covers", ())]
    for read, sources in ((read_test_tensor, names), (cover_size, covers)):
        for name in sources:
            try:
                if name in package.files:
                    read(package.files[name])
            except ValueError as error:
                yield f"{name} cannot be read ({error})"
