"""MRC stacks, read by mrcfile."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import data_dtype_from_header, data_shape_from_header

from denoisplit.errors import InputError
from denoisplit.images.axes import open_array
from denoisplit.images.lazy import LazyImage, Mapped
from denoisplit.images.lengths import known_lengths, to_micrometres
from denoisplit.images.selection import choose_series

AXES = "TZYX"
_SMALLEST_PIXEL = 10.0  # Angstrom; no light microscope has smaller pixels


class _Layout(NamedTuple):
    """Position, shape and type of the pixels in a file."""

    dtype: np.dtype[Any]  # in the byte order of the file
    shape: tuple[int, ...]
    offset: int  # bytes
    pixel_size_um: dict[str, float]


def open_mrc(path: Path, series: int | None = None) -> LazyImage:
    """Open an MRC stack as ``(y, x)``, ``(z, y, x)`` or ``(t, z, y, x)``, dtype of the file.

    x varies fastest; the extended header is skipped. Microscope software often leaves the file type
    mark and byte order mark of the header empty; such files are read.

    Raises
    ------
    InputError
        If the file is not MRC, is cut off, or has complex or otherwise unusable pixels.
    """
    choose_series(path, ["a stack"], series)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layout = _layout(path)
        except Exception as error:  # any bytes may come in, so mrcfile may raise anything
            raise InputError(
                f"this MRC file is unreadable ({str(error)[:300]})",
                where=path,
                remedy="copy the file again, or save it as TIFF if its pixels are not of mode 0, "
                "1, 2, 6 or 12",
            ) from error
    pixels = Mapped(path, layout.shape, layout.dtype, layout.offset)
    axes, sizes = AXES[-len(layout.shape) :], layout.pixel_size_um
    return open_array(pixels, axes, pixel_size_um=sizes, source=path)


def _layout(path: Path) -> _Layout:
    """Read the header, after a check that it is not longer than the file."""
    with path.open("rb") as stream:
        start = stream.read(96)
    # length of the extended header, in either byte order: mrcfile allocates it unchecked
    if min(int.from_bytes(start[92:], order) for order in ("little", "big")) > path.stat().st_size:
        raise ValueError("its header asks for more than the file holds")
    with mrcfile.open(path, permissive=True, header_only=True) as mrc:
        header, voxel = mrc.header, mrc.voxel_size
        lengths = [int(header[key]) for key in ("nz", "ny", "nx")]
        extended, dtype = int(header.nsymbt), data_dtype_from_header(header)
        size, start_of_data = path.stat().st_size, HEADER_DTYPE.itemsize + extended
        needed = start_of_data + math.prod(lengths) * dtype.itemsize
        if min(*lengths, extended) < 0 or size < needed:
            raise ValueError(f"{size} bytes, its header asks for {needed} with shape {lengths}")
        shape = tuple(map(int, data_shape_from_header(header)))
    sizes = {axis: float(voxel[axis]) for axis in "xyz"}
    return _Layout(dtype, shape, start_of_data, _pixel_size(sizes))


def _pixel_size(sizes: dict[str, float]) -> dict[str, float]:
    """Convert the voxel size of the header to micrometres.

    The unit of the format is Angstrom. Software of light microscopes writes micrometres all the
    same, and 1 where the size is unknown.
    """
    if sizes["x"] == sizes["y"] == 1.0 or not math.isfinite(sizes["x"]):
        return {}
    unit = "å" if sizes["x"] >= _SMALLEST_PIXEL else "um"
    return known_lengths({axis: to_micrometres(size, unit) for axis, size in sizes.items()})
