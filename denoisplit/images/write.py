"""Writing of OME-TIFF files, which are complete or absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tifffile

from denoisplit.errors import InputError
from denoisplit.files.atomic import replacing
from denoisplit.images.axes import DIMS
from denoisplit.images.display import display_limits
from denoisplit.images.lazy import LazyImage

if TYPE_CHECKING:
    import xarray as xr

Compression = Literal["none", "zlib"]
_BIG = 3_900_000_000  # bytes; classic TIFF is limited to 4 GiB
_TYPES = ("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")


def write_ome_tiff(
    path: Path | str,
    image: xr.DataArray | LazyImage,
    *,
    overwrite: bool = False,
    about: str = "",
    compression: Compression = "none",
) -> None:
    """Write an image as OME-TIFF, which ImageJ reads as a hyperstack.

    The file appears under its name when it is complete. An image on disk is written plane by plane.

    Parameters
    ----------
    path : Path or str
        A ``.tif`` or ``.tiff`` file in an existing folder.
    image : DataArray
        Dims out of ``t c z y x`` with y and x, and a dtype of OME-TIFF, such as float32 or integers
        up to 32 bit. Channel names (coordinate ``c``) and the attributes ``pixel_size_um``,
        ``time_increment_s`` and ``colours`` ("#rrggbb" per channel) are written if present.
    overwrite : bool
        Replace an existing file.
    about : str
        Description in the file.
    compression : {"none", "zlib"}

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
    if not isinstance(image, LazyImage):
        image = image.transpose(*[dim for dim in DIMS if dim in image.dims])
    with replacing(path, size=image.nbytes) as stream:
        _write(stream, image, about, compression)


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


def _write(
    stream: Any, image: xr.DataArray | LazyImage, about: str, compression: Compression
) -> None:
    """Write the planes in the order of ImageJ, which also reads a description of its own."""
    dims = [dim for dim in ("t", "z", "c", "y", "x") if dim in image.dims]
    pixels: dict[str, Any]
    if isinstance(image, LazyImage):
        shape = [image.sizes[dim] for dim in dims]
        places = np.ndindex(*shape[:-2])
        planes = (image.plane(dict(zip(dims, place, strict=False)))[:, :] for place in places)
        data = map(np.ascontiguousarray, planes)
        pixels = {"data": data, "shape": shape, "dtype": image.array.dtype}
    else:
        pixels = {"data": image.transpose(*dims).values}
        image = _as_lazy(image)
    sizes = image.pixel_size_um
    metadata: dict[str, Any] = {"axes": "".join(dims).upper()}
    if about:
        metadata["Description"] = about
    for axis, size in sizes.items():
        metadata[f"PhysicalSize{axis.upper()}"] = size
        metadata[f"PhysicalSize{axis.upper()}Unit"] = "µm"
    if image.time_increment_s:
        metadata |= {"TimeIncrement": image.time_increment_s, "TimeIncrementUnit": "s"}
    channels: dict[str, Any] = {"Name": list(image.channels)} if image.channels else {}
    if image.colours:
        codes = [int(f"{colour[1:]}ff", 16) for colour in image.colours]
        channels["Color"] = [code - 2**32 if code >= 2**31 else code for code in codes]
    if channels:
        metadata["Channel"] = channels
    # the tags repeat the pixel size for readers that do not know OME
    per_cm = (1e4 / sizes["x"], 1e4 / sizes["y"]) if {"x", "y"} <= sizes.keys() else None
    big = image.nbytes > _BIG
    tifffile.imwrite(
        stream,
        **pixels,
        ome=True,
        bigtiff=big,
        byteorder="<",
        photometric="minisblack",
        compression=None if compression == "none" else compression,
        resolution=per_cm,
        resolutionunit="CENTIMETER" if per_cm else None,
        metadata=metadata,
        extratags=() if big else _imagej_tags(image, in_cm=per_cm is not None),
    )


def _as_lazy(image: xr.DataArray) -> LazyImage:
    """Return an image in memory as one that is read when it is indexed."""
    names = np.atleast_1d(image["c"].values) if "c" in image.coords else ()
    known = {key: image.attrs[key] for key in ("time_increment_s", "colours") if key in image.attrs}
    dims, sizes = tuple(map(str, image.dims)), image.attrs.get("pixel_size_um", {})
    return LazyImage(image.values, dims, tuple(map(str, names)), sizes, Path(), **known)


def _imagej_tags(image: LazyImage, *, in_cm: bool) -> list[Any]:
    """Return a second description, and further tags: names, colours and ranges of the channels.

    ImageJ and Fiji read these where they open a file themselves; Bio-Formats and other programs
    read the first description, the OME-XML.
    """
    if image.array.dtype.name not in ("uint8", "uint16", "float32"):
        return []
    t, z, c = (image.sizes.get(dim, 1) for dim in "tzc")
    values: dict[str, Any] = {"mode": "composite"} if c > 1 else {}
    if in_cm:  # the unit of the resolution tags; ImageJ shows micrometres
        values["unit"] = "cm"
        if "z" in image.pixel_size_um:
            values["spacing"] = image.pixel_size_um["z"] / 1e4
    if image.time_increment_s:
        values["finterval"] = image.time_increment_s
    limits = [display_limits(part) for part in image.middle_of_channels()]
    if c == 1:
        values["min"], values["max"] = limits[0]
    shape = (t, z, c, image.sizes["y"], image.sizes["x"])
    about = tifffile.imagej_description(shape, axes="TZCYX", **values)
    shown: dict[str, Any] = {"Ranges": [value for limit in limits for value in limit]}
    if image.channels:
        shown["Labels"] = list(image.channels) * (t * z)
    if image.colours:
        ramp = np.arange(256)[:, None] / 255
        rgb = [np.array(list(bytes.fromhex(colour[1:]))) for colour in image.colours]
        shown["LUTs"] = [np.rint(ramp * one).astype(np.uint8).T for one in rgb]
    tags = tifffile.imagej_metadata_tag(shown, "<")
    return [("ImageDescription", 2, 0, about, True), *tags]  # by its number it would be dropped
