"""MRC stacks, read by mrcfile."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import mrcfile
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import data_dtype_from_header, data_shape_from_header

from denoisplit.images.axes import Metadata, open_array
from denoisplit.images.lazy import LazyImage, Mapped, unreadable
from denoisplit.images.lengths import to_micrometres
from denoisplit.images.selection import choose_series

AXES = "TZYX"
REMEDY = "copy the file again, or save it as TIFF if its pixels are not of mode 0, 1, 2, 6 or 12"
_SMALLEST_PIXEL = 10.0  # Angstrom; no light microscope has smaller pixels


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
    with warnings.catch_warnings(), unreadable(path, "MRC file", REMEDY):
        warnings.simplefilter("ignore")
        with path.open("rb") as stream:
            start = stream.read(96)
        size = path.stat().st_size
        # length of the extended header, in either byte order: mrcfile allocates it unchecked
        if min(int.from_bytes(start[92:], order) for order in ("little", "big")) > size:
            raise ValueError("its header asks for more than the file holds")
        with mrcfile.open(path, permissive=True, header_only=True) as mrc:
            header, voxel = mrc.header, mrc.voxel_size
            lengths = [int(header[key]) for key in ("nz", "ny", "nx")]
            extended, dtype = int(header.nsymbt), data_dtype_from_header(header)
            offset = HEADER_DTYPE.itemsize + extended
            needed = offset + math.prod(lengths) * dtype.itemsize
            if min(*lengths, extended) < 0 or size < needed:
                raise ValueError(f"{size} bytes, its header asks for {needed} of {lengths} pixels")
            shape = tuple(map(int, data_shape_from_header(header)))
        metadata = _metadata({axis: float(voxel[axis]) for axis in "xyz"})
    return open_array(Mapped(path, shape, dtype, offset), AXES[-len(shape) :], metadata, path)


def _metadata(voxel: dict[str, float]) -> Metadata:
    """Convert the voxel size of the header to micrometres.

    The unit of the format is Angstrom. Software of light microscopes writes micrometres all the
    same, and 1 where the size is unknown.
    """
    if voxel["x"] == voxel["y"] == 1.0 or not math.isfinite(voxel["x"]):
        return Metadata()
    unit = "å" if voxel["x"] >= _SMALLEST_PIXEL else "um"
    return Metadata(lengths={axis: to_micrometres(size, unit) for axis, size in voxel.items()})
