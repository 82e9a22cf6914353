"""Published files as downloaded: their headers, and single channels of them.

Several deposits hold plain TIFFs that name no axes, or the wrong ones; the axes are then inferred
from their sizes.
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
from denoisplit.images.formats.libraries import hidden
from denoisplit.images.formats.tiff import refuse_damaged

MRC_HEADER = 1024  # bytes


class Header(NamedTuple):
    """Sizes of an image file, read without its pixels."""

    frames: int
    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.height} x {self.width} px"


def not_as_published(path: Path, found: str, expected: str) -> InputError:
    """Return the error of a file that differs from the published one."""
    remedy = "use the published file unchanged"
    return InputError(where=path, found=found, expected=expected, remedy=remedy)


def header_of(path: Path, *, several: bool = False) -> Header:
    """Return the sizes of a stack, or of all frames of a folder; no pixel is read.

    Parameters
    ----------
    path : Path
        A TIFF or MRC file, or a folder of files with one frame each.
    several : bool
        Whether channels are expected, even in a file that does not name its axes.

    Raises
    ------
    InputError
        For a truncated or unreadable file, several images in one file, or complex pixels.
    """
    if path.is_dir():
        return _header_of_frames(path)
    suffix = path.suffix.lower()
    if suffix not in (".mrc", ".tif", ".tiff"):
        raise not_as_published(path, f"a {suffix} file", "TIFF or MRC")
    try:
        return _header_of_mrc(path) if suffix == ".mrc" else _header_of_tiff(path, several=several)
    except InputError:
        raise
    except Exception as error:  # readers raise errors of any kind on damaged files
        raise InputError(
            f"this file is damaged or incomplete ({str(error)[:200]})",
            where=path,
            remedy="download it again",
        ) from error


def has_frames(folder: Path) -> bool:
    """Return whether a folder directly contains image files."""
    try:
        return folder.is_dir() and bool(list_files(folder))
    except InputError:
        return False


def read_channel(path: Path, channel: int) -> xr.DataArray:
    """Read one channel of a TIFF stack as (t, y, x), whether or not its axes are named.

    Raises
    ------
    InputError
        For a file without this channel, and as in `header_of` and `read_image`.
    """
    header = header_of(path, several=True)
    if header.channels <= channel:
        raise not_as_published(path, f"{header.channels} channels", f"{channel + 1} or more")
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        axes = _axes(series, several=True)
        if axes != series.axes:
            # memory-mapped: the file is four times as large as one channel
            stack = np.take(series.asarray(out="memmap"), channel, axis=axes.index("C"))
            pixels = stack.reshape(-1, *stack.shape[-2:])
            return xr.DataArray(
                pixels.astype(pixels.dtype.newbyteorder("=")),
                dims=("t", "y", "x"),
                attrs={"pixel_size_um": {}, "source": str(path)},
            )
    return read_image(path).isel(c=channel, drop=True)


def _header_of_frames(folder: Path) -> Header:
    headers = {file.path: header_of(file.path) for file in list_files(folder)}
    for path, header in headers.items():
        if header.frames > 1:
            raise InputError(
                where=path,
                found=f"a stack of {header.frames} frames",
                expected="one frame in each file of a folder",
                remedy="give the stack its published name",
            )
    first = next(iter(headers.values()))
    return first._replace(frames=len(headers), channels=max(h.channels for h in headers.values()))


def _header_of_mrc(path: Path) -> Header:
    with path.open("rb") as stream:
        start = stream.read(MRC_HEADER)
    if len(start) < MRC_HEADER:
        raise ValueError(f"{len(start)} bytes, but a header alone has {MRC_HEADER}")
    # the byte order mark is often empty; in the wrong order, sizes are huge
    kinds = [HEADER_DTYPE.newbyteorder(order) for order in "<>"]
    headers = [np.frombuffer(start, kind).view(np.recarray)[0] for kind in kinds]
    header = next((h for h in headers if h["mode"] < 2**16 and 0 < h["nx"] < 2**16), headers[0])
    frames, height, width = (int(header[key]) for key in ("nz", "ny", "nx"))
    dtype = data_dtype_from_header(header)
    _refuse_unusable(path, dtype)
    extension, size = int(header["nsymbt"]), path.stat().st_size
    needed = MRC_HEADER + extension + math.prod((frames, height, width)) * dtype.itemsize
    if min(frames, height, width, extension + 1) < 1 or size < needed:
        raise ValueError(f"{size} bytes, but its header declares {needed}")
    return Header(frames, 1, height, width)


def _header_of_tiff(path: Path, *, several: bool) -> Header:
    with hidden("tifffile") as complaints, tifffile.TiffFile(path) as tif:
        stacks = list(tif.series)
        refuse_damaged(path, complaints)
        if len(stacks) != 1:
            raise not_as_published(path, f"{len(stacks)} images", "one stack")
        series = stacks[0]
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
    """Return the intended axes of a stack; unknown letters are kept."""
    axes: str = series.axes.upper()
    if "S" in axes and "C" not in axes:
        return axes.replace("S", "C")  # tifffile writes three or four channels as colours
    if several and "C" not in axes and len(axes) == 4:
        # no axis is named C; there are fewer channels than pixels along a side
        return "TYXC" if series.shape[-1] < series.shape[1] else "TCYX"
    return axes


def _end_of(series: tifffile.TiffPageSeries) -> int | None:
    """Return the position in the file after the last pixel; None if pages are missing."""
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
        raise not_as_published(path, f"{dtype} pixels", "real numbers")
