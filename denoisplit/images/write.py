"""Image -> OME-TIFF that Fiji opens, whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.files.atomic import draft_of
from denoisplit.images.axes import DIMS
from denoisplit.images.lazy import LazyImage

_BIG = 3_900_000_000  # bytes; classic TIFF ends at 4 GiB
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_TYPES = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def write_ome_tiff(
    path: Path | str, image: xr.DataArray | LazyImage, *, overwrite: bool = False, about: str = ""
) -> None:
    """Write an Image as uncompressed OME-TIFF.

    The file appears under its name when it is complete, never before. Of an image on disk one plane
    is in memory at a time.

    Parameters
    ----------
    path : Path or str
        A ``.tif`` or ``.tiff`` file in an existing folder.
    image : DataArray
        Dims out of ``t c z y x`` with y and x, a dtype that OME-TIFF knows (float32 and integers up
        to 32 bit among them); channel names as coordinate ``c`` and ``attrs["pixel_size_um"]``
        are written where present.
    overwrite : bool
        Replace an existing file.
    about : str
        The description in the file.

    Raises
    ------
    InputError
        The file exists, its type or the pixel type does not fit, or the disk does not take it.
    ValueError
        Dims outside ``t c z y x``.
    """
    path = Path(path)
    check_tiff_name(path)
    if path.exists() and not overwrite:
        raise InputError(
            where=path,
            found="an existing file",
            expected="a new name",
            remedy="remove it, rename it, or allow overwriting",
        )
    dtype = (image.array if isinstance(image, LazyImage) else image).dtype
    if dtype.name not in _TYPES:
        raise InputError(
            where=path,
            found=f"{dtype} pixels to write",
            expected=f"one of {', '.join(_TYPES)}",
            remedy="convert the image to float32 first",
        )
    if isinstance(image, xr.DataArray):
        image = image.transpose(*[dim for dim in DIMS if dim in image.dims])
    temporary = draft_of(path)
    try:
        with temporary.open("xb") as stream:
            _write(stream, image, about)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error, image.nbytes) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_ome_tiffs(images: Sequence[tuple[Path, xr.DataArray]]) -> list[Path]:
    """Write several Images, all or none; see `write_ome_tiff`."""
    written: list[Path] = []
    try:
        for path, image in images:
            write_ome_tiff(path, image)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def check_tiff_name(path: Path) -> None:
    """Refuse an output that is not named as a TIFF."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(
            where=path,
            found=f"file type {path.suffix!r}",
            expected=".tif or .tiff",
            remedy="rename the output",
        )


def _write(stream: Any, image: xr.DataArray | LazyImage, about: str) -> None:
    metadata: dict[str, Any] = {"axes": "".join(str(dim) for dim in image.dims).upper()}
    if about:
        metadata["Description"] = about
    sizes: dict[str, float]
    pixels: dict[str, Any]
    if isinstance(image, LazyImage):
        sizes, names = image.pixel_size_um, list(image.channels)
        planes = (np.ascontiguousarray(plane[:, :]) for plane in image.planes())
        pixels = {"data": planes, "shape": image.array.shape, "dtype": image.array.dtype}
    else:
        sizes = image.attrs.get("pixel_size_um", {})
        names = list(np.atleast_1d(image["c"].values)) if "c" in image.coords else []
        pixels = {"data": image.values}
    for axis, size in sizes.items():
        metadata[f"PhysicalSize{axis.upper()}"] = size
        metadata[f"PhysicalSize{axis.upper()}Unit"] = "µm"
    if names:
        metadata["Channel"] = {"Name": [str(name) for name in names]}
    # The tags repeat the pixel size for readers that do not know OME.
    per_cm = (1e4 / sizes["x"], 1e4 / sizes["y"]) if {"x", "y"} <= sizes.keys() else None
    tifffile.imwrite(
        stream,
        **pixels,
        ome=True,
        bigtiff=image.nbytes > _BIG,
        photometric="minisblack",
        resolution=per_cm,
        resolutionunit="CENTIMETER" if per_cm else None,
        metadata=metadata,
    )


def _not_written(path: Path, error: OSError, needed: int) -> InputError:
    # numpy reports a short write, which is a full disk, without a number.
    if error.errno is None or error.errno in _FULL:
        return InputError(
            where=path,
            found=f"no room for the file ({error.strerror or error})",
            expected=f"{needed / 1e6:.1f} MB of free space",
            remedy="free some space or write to another disk",
        )
    return InputError(
        where=path,
        found=f"a place that cannot be written ({error.strerror})",
        expected="a folder",
        remedy="check its rights",
    )
