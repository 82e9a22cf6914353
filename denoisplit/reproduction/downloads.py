"""Published files as they were downloaded: what their headers say, and single planes of them.

Several deposits hold plain TIFFs that name no axes, or wrong ones: the size of each axis tells.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
import xarray as xr
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import data_dtype_from_header

from denoisplit.errors import InputError
from denoisplit.images import list_files, read_image
from denoisplit.images.tiff import listening, refuse_damaged

HEADER = 1024  # bytes of an MRC file
AS_PUBLISHED = "take the file as it was published"


class Header(NamedTuple):
    """What a file holds, told without its pixels."""

    frames: int
    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.height} x {self.width} px"


def header_of(path: Path, *, several: bool = False) -> Header:
    """Sizes of a stack, or of all frames of a folder; no pixel is read.

    Parameters
    ----------
    path : Path
        A TIFF or MRC file, or a folder of such with one frame each.
    several : bool
        Whether channels are expected, also of a file that does not name its axes.

    Raises
    ------
    InputError
        For a file that is cut off or unreadable, several images in one, or pixels that are no real
        numbers.
    """
    if path.is_dir():
        return _header_of_frames(path)
    suffix = path.suffix.lower()
    if suffix not in (".mrc", ".tif", ".tiff"):
        raise InputError(
            where=path,
            found=f"a file of type {suffix!r}",
            expected="TIFF or MRC",
            remedy=AS_PUBLISHED,
        )
    try:
        return _header_of_mrc(path) if suffix == ".mrc" else _header_of_tiff(path, several=several)
    except InputError:
        raise
    except Exception as error:  # any bytes may come in, so the readers may raise anything
        raise InputError(
            where=path,
            found=f"an unreadable file ({str(error)[:200]})",
            expected="a complete image file",
            remedy="download it again",
        ) from error


def frames_in(folder: Path) -> bool:
    """Whether a folder has image files directly in it."""
    if not folder.is_dir():
        return False
    try:
        return bool(list_files(folder))
    except InputError:
        return False


def read_channel(path: Path, channel: int) -> xr.DataArray:
    """One channel of a TIFF stack (t, y, x), whether or not its axes are named.

    Raises
    ------
    InputError
        For a file without such a channel, and as `header_of` and `read_image`.
    """
    header = header_of(path, several=True)
    if header.channels <= channel:
        raise InputError(
            where=path,
            found=f"{header.channels} channels",
            expected=f"{channel + 1} or more",
            remedy=AS_PUBLISHED,
        )
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        axes = _axes(series, several=True)
        if axes != series.axes:
            # mapped into memory: the whole is four times as large as what is wanted
            stack = np.take(series.asarray(out="memmap"), channel, axis=axes.index("C"))
            pixels = stack.reshape(-1, *stack.shape[-2:])
            return xr.DataArray(
                pixels.astype(pixels.dtype.newbyteorder("=")),
                dims=("t", "y", "x"),
                attrs={"pixel_size_um": {}, "source": str(path)},
            )
    return read_image(path).isel(c=channel, drop=True)


def _header_of_frames(folder: Path) -> Header:
    headers = {path: header_of(path) for path in list_files(folder)}
    for path, header in headers.items():
        if header.frames > 1:
            raise InputError(
                where=path,
                found=f"a stack of {header.frames} frames",
                expected="the published file, or one frame in each file of the folder",
                remedy="name the stack as it was published",
            )
    first = next(iter(headers.values()))
    return first._replace(frames=len(headers), channels=max(h.channels for h in headers.values()))


def _header_of_mrc(path: Path) -> Header:
    with path.open("rb") as stream:
        start = stream.read(HEADER)
    if len(start) < HEADER:
        raise ValueError(f"{len(start)} bytes, a header alone has {HEADER}")
    # the byte order mark is often left empty: in the wrong order sizes are huge
    kinds = [HEADER_DTYPE.newbyteorder(order) for order in "<>"]
    headers = [np.frombuffer(start, kind).view(np.recarray)[0] for kind in kinds]
    header = next((h for h in headers if h["mode"] < 2**16 and 0 < h["nx"] < 2**16), headers[0])
    frames, height, width = (int(header[key]) for key in ("nz", "ny", "nx"))
    dtype = data_dtype_from_header(header)
    needed = HEADER + int(header["nsymbt"]) + math.prod((frames, height, width)) * dtype.itemsize
    _refuse_unusable(path, dtype)
    if min(frames, height, width, int(header["nsymbt"]) + 1) < 1 or path.stat().st_size < needed:
        raise ValueError(f"{path.stat().st_size} bytes, its header asks for {needed}")
    return Header(frames, 1, height, width)


def _header_of_tiff(path: Path, *, several: bool) -> Header:
    with listening() as complaints, tifffile.TiffFile(path) as tif:
        found = list(tif.series)
        refuse_damaged(path, complaints)
        if len(found) != 1:
            raise InputError(
                where=path, found=f"{len(found)} images", expected="one stack", remedy=AS_PUBLISHED
            )
        series = found[0]
        _refuse_unusable(path, series.dtype)
        end = _end_of(series)
        if end is None or path.stat().st_size < end:
            raise ValueError("some of its pixels are missing")
        axes, shape = _axes(series, several=several), series.shape
    sizes = {axis: shape[axes.index(axis)] for axis in "CYX" if axis in axes}
    if not {"Y", "X"} <= set(sizes):
        raise ValueError(f"axes {axes}")
    channels = sizes.get("C", 1)
    frames = math.prod(shape) // (channels * sizes["Y"] * sizes["X"])
    return Header(frames, channels, sizes["Y"], sizes["X"])


def _axes(series: tifffile.TiffPageSeries, *, several: bool) -> str:
    """Letters of the axes as they are meant; an unknown one stays, Y and X are never repeated."""
    axes: str = series.axes.upper()
    if "S" in axes and "C" not in axes:
        return axes.replace("S", "C")  # three or four channels are taken for colours by default
    if several and "C" not in axes and len(axes) == 4:
        # nothing names the channels, which are fewer than the pixels of a side
        return "TYXC" if series.shape[-1] < series.shape[1] else "TCYX"
    return axes


def _end_of(series: tifffile.TiffPageSeries) -> int | None:
    """Where in its file the last pixel ends; None if pages are missing."""
    if series.dataoffset is not None:
        return int(series.dataoffset + series.nbytes)
    pages = list(series.pages)
    if not all(pages):
        return None
    return max(
        offset + count
        for page in pages
        if page is not None
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )


def _refuse_unusable(path: Path, dtype: np.dtype[np.generic]) -> None:
    if dtype.kind not in "iuf":
        raise InputError(
            where=path, found=f"{dtype} pixels", expected="real numbers", remedy=AS_PUBLISHED
        )
