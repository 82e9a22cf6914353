"""Writing of OME-TIFF files, which are complete or absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.files.atomic import replacing
from denoisplit.images.axes import DIMS
from denoisplit.images.lazy import LazyImage

_BIG = 3_900_000_000  # bytes; classic TIFF is limited to 4 GiB
_TYPES = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def write_ome_tiff(
    path: Path | str, image: xr.DataArray | LazyImage, *, overwrite: bool = False, about: str = ""
) -> None:
    """Write an image as uncompressed OME-TIFF.

    The file appears under its name when it is complete. An image on disk is written plane by plane.

    Parameters
    ----------
    path : Path or str
        A ``.tif`` or ``.tiff`` file in an existing folder.
    image : DataArray
        Dims out of ``t c z y x`` with y and x, and a dtype of OME-TIFF, such as float32 or integers
        up to 32 bit. Channel names (coordinate ``c``) and ``attrs["pixel_size_um"]`` are written
        if present.
    overwrite : bool
        Replace an existing file.
    about : str
        Description in the file.

    Raises
    ------
    InputError
        If the file exists, its type or that of the pixels is not supported, or writing fails.
    ValueError
        Dims outside ``t c z y x``.
    """
    path = Path(path)
    check_tiff_name(path)
    if path.exists() and not overwrite:
        problem = "this file exists already"
        raise InputError(problem, where=path, remedy="choose another name, or remove it")
    dtype = (image.array if isinstance(image, LazyImage) else image).dtype
    if dtype.name not in _TYPES:
        problem = f"{dtype} pixels cannot be written, only {', '.join(_TYPES)}"
        raise InputError(problem, where=path, remedy="convert the image to float32 first")
    if isinstance(image, xr.DataArray):
        image = image.transpose(*[dim for dim in DIMS if dim in image.dims])
    with replacing(path, size=image.nbytes) as stream:
        _write(stream, image, about)


def write_ome_tiffs(images: Sequence[tuple[Path, xr.DataArray]], *, about: str = "") -> list[Path]:
    """Write several images, all or none; see `write_ome_tiff`."""
    written: list[Path] = []
    try:
        for path, image in images:
            write_ome_tiff(path, image, about=about)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def check_tiff_name(path: Path) -> None:
    """Raise InputError if an output file is not named as a TIFF."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        problem = f"the file type is {path.suffix!r}, expected .tif or .tiff"
        raise InputError(problem, where=path, remedy="rename the output")


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
    # the tags repeat the pixel size for readers that do not know OME
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
