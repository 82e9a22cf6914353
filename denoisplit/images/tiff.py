"""TIFF, BigTIFF, ImageJ and OME-TIFF images, read by tifffile."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.images.axes import known_lengths, make_image, to_micrometres
from denoisplit.images.lazy import LazyImage, Mapped
from denoisplit.images.tiff_pages import check_pages

_PRINT_PIXEL_UM = 100.0  # resolution tags of plain files coarser than this are meant for paper

Metadata = tuple[Sequence[str | None], Mapping[str, float]]  # channel names, pixel size in um


def read_tiff(path: Path) -> xr.DataArray:
    """Read the one image of a TIFF file: dims out of ``t c z y x``, dtype of the file.

    Raises
    ------
    InputError
        If the file is not TIFF, is damaged, or has several images, colours or unusable pixels.
    """
    with listening() as complaints:
        try:
            check_pages(path)
            with tifffile.TiffFile(path) as tif:
                # Before the pixels are read: a damaged index leads tifffile to wrong pixels.
                series = list(tif.series)
                refuse_damaged(path, complaints)
                stack = _is_stack(series)
                _refuse_unsplittable(path, series[:1] if stack else series)
                axes = f"{'T' if stack else ''}{series[0].axes.upper()}"
                arrays = [one.asarray() for one in (series if stack else series[:1])]
                channels, pixel_size_um = _metadata(tif)
        except InputError:
            raise
        except Exception as error:  # any bytes may come in, so tifffile may raise anything
            problem = f"this TIFF is unreadable ({str(error)[:200]})"
            raise InputError(problem, where=path, remedy="copy or save the file again") from error
    refuse_damaged(path, complaints)
    array = np.stack(arrays) if stack else arrays[0]
    if "S" in axes and "C" not in axes:
        axes = axes.replace("S", "C")  # several samples per pixel that are not colours
    return make_image(array, axes, channels=channels, pixel_size_um=pixel_size_um, source=path)


def open_tiff(path: Path) -> LazyImage | None:
    """Open a TIFF whose planes can be read one by one, from a memory map or page by page.

    Returns None for other files, and for those that `read_tiff` may refuse.
    """
    with listening() as complaints:
        try:
            check_pages(path)
            with tifffile.TiffFile(path) as tif:
                series = list(tif.series)
                stack = _is_stack(series)
                if complaints.damage or (len(series) != 1 and not stack):
                    return None
                channels, pixel_size_um = _metadata(tif)
            one, axes = series[0], series[0].axes.upper()
            if stack and one.dtype.kind in "iuf":
                pages = _Pages(path, (len(series), *one.shape), one.dtype, all_of_file=True)
                return LazyImage(pages, ("t", "y", "x"), (), dict(pixel_size_um), path)
            sizes = zip(axes, one.shape, strict=True)
            outer = [(axis, n) for axis, n in sizes if n > 1 and axis not in "YX"]
            times = [axis for axis, _ in outer if axis not in "CZ"]
            if not axes.endswith("YX") or len(times) > 1 or one.dtype.kind not in "iuf":
                return None
            shape = (*(n for _, n in outer), *one.shape[-2:])
            array = _memory_map(path, shape)
        except Exception:  # any bytes may come in, so tifffile may raise anything
            return None
    if array is None and len(one.pages) == math.prod(shape[:-2]) and 0 not in shape:
        array = _Pages(path, shape, one.dtype)
    if array is None:
        return None
    dims = tuple("t" if axis in times else axis.lower() for axis, _ in outer)
    names = tuple(map(str, channels)) if all(channels) else ()
    return LazyImage(array, (*dims, "y", "x"), names, dict(pixel_size_um), path)


def _memory_map(path: Path, shape: tuple[int, ...]) -> Any:
    """Map the pixels of a file that are stored contiguously and uncompressed, else return None."""
    try:
        whole = tifffile.memmap(path, mode="r")
    except ValueError:
        return None
    return Mapped(path, shape, whole.dtype, whole.offset)


class _Pages:
    """Planes of the first series, or of the whole file, one per page; the last one read is kept."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: Any, *, all_of_file: bool = False
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        self._all_of_file = all_of_file
        self._number, self._plane = -1, np.empty(0)

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        """Read a plane, given by its indices, and slice it."""
        *indices, y, x = key
        number = 0
        for index, size in zip(indices, self.shape, strict=False):
            number = number * size + index
        if self._number != number:
            with listening() as complaints, tifffile.TiffFile(self.path) as tif:
                pages: Any = tif.pages if self._all_of_file else tif.series[0].pages
                page = pages[number]
                if page is None:
                    complaints.damage.append(f"plane {number} is missing")
                else:
                    self._plane = page.asarray().reshape(self.shape[-2:])
            refuse_damaged(self.path, complaints)
            self._number = number
        return self._plane[y, x]


def description_of(path: Path) -> str:
    """Return the description in an OME-TIFF, empty for any other file."""
    try:
        check_pages(path)
        with tifffile.TiffFile(path) as tif:
            metadata = ElementTree.fromstring(tif.ome_metadata or "<OME/>")
    except (OSError, ValueError, ElementTree.ParseError):
        return ""
    return metadata.findtext(".//{*}Description") or ""


def _is_stack(series: Sequence[tifffile.TiffPageSeries]) -> bool:
    """Return whether the series are equal planes, as a script writes them one after another."""
    kinds = {(one.kind, one.axes, one.shape, one.dtype, len(one.pages)) for one in series}
    return (
        len(series) > 1
        and len(kinds) == 1
        and {("shaped", "YX", 1)} == {(kind, axes, pages) for kind, axes, _, _, pages in kinds}
    )


def _refuse_unsplittable(path: Path, series: Sequence[tifffile.TiffPageSeries]) -> None:
    if not series:
        raise InputError("this TIFF has no image", where=path, remedy="save the file again")
    if len(series) > 1:
        shapes = ", ".join(f"{one.axes} {one.shape}" for one in series[:8])
        more = ", ..." if len(series) > 8 else ""
        problem = f"there are {len(series)} images in one file ({shapes}{more})"
        raise InputError(problem, where=path, remedy="save each image as a file")
    page = series[0].keyframe
    grey = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    if "S" in series[0].axes.upper() and page.photometric not in grey:
        raise InputError(
            f"this is a colour (RGB) image, {series[0].axes} {series[0].shape}, "
            "expected one grey value per pixel and channel",
            where=path,
            remedy="split its colours (Fiji: Image > Color > Split Channels) "
            "and save the one you need",
        )


def _metadata(tif: tifffile.TiffFile) -> Metadata:
    if tif.series[0].kind == "ome" and tif.ome_metadata:
        return _ome_metadata(tif.ome_metadata)
    if tif.is_imagej and tif.imagej_metadata:
        return _imagej_metadata(tif.imagej_metadata, tif.pages.first)
    page = tif.pages.first
    if page.tags.valueof("ResolutionUnit") != tifffile.RESUNIT.CENTIMETER:
        return (), {}
    sizes = known_lengths(_resolution(page, {"x": "cm", "y": "cm"}))
    return (), {axis: size for axis, size in sizes.items() if size < _PRINT_PIXEL_UM}


def _ome_metadata(xml: str) -> Metadata:
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return (), {}
    sizes: dict[str, float | None] = {}
    for axis in "xyz":
        key = f"PhysicalSize{axis.upper()}"
        unit = pixels.get(f"{key}Unit", "µm")
        sizes[axis] = to_micrometres(float(pixels.get(key, "nan")), unit)
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    return names, known_lengths(sizes)


def _imagej_metadata(metadata: Mapping[str, Any], page: tifffile.TiffPage) -> Metadata:
    # ImageJ writes the micro sign as the six characters \u00B5.
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ")
    units = {axis: str(metadata.get(f"{axis}unit", unit)).replace("\\u00B5", "µ") for axis in "yz"}
    sizes = _resolution(page, {"x": unit, "y": units["y"]})
    if "slices" in metadata:
        sizes["z"] = to_micrometres(float(metadata.get("spacing", math.nan)), units["z"])

    # Labels name planes, channels fastest. They name channels if they agree across all planes.
    n_channels = int(metadata.get("channels", 1))
    labels = [str(label) for label in metadata.get("Labels") or ()]
    per_channel = [set(labels[channel::n_channels]) for channel in range(n_channels)]
    named = n_channels > 1 and all(len(names) == 1 for names in per_channel)
    return [names.pop() for names in per_channel] if named else (), known_lengths(sizes)


def _resolution(page: tifffile.TiffPage, units: Mapping[str, str]) -> dict[str, float | None]:
    """Read the pixel size from the resolution tags, which count pixels per unit."""
    sizes: dict[str, float | None] = {}
    for axis, unit in units.items():
        count, per = page.tags.valueof(f"{axis.upper()}Resolution") or (0, 1)
        sizes[axis] = to_micrometres(per / count, unit) if count else None
    return sizes


class _Complaints(logging.Filter):
    """Filter that hides tifffile's messages and collects those of this thread."""

    # defects that tifffile corrects without loss
    _harmless = ("invalid data type", "ByteCounts", "StripOffsets")
    # warnings that mean zeros in place of pixels
    _lossy = ("issing", "failed to re", "out of range", "incomplete")

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.damage: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        harmless = any(word in text for word in self._harmless)
        lossy = record.levelno >= logging.ERROR or any(word in text for word in self._lossy)
        if lossy and not harmless and record.thread == self.thread:
            self.damage.append(text)
        return False


@contextmanager
def listening() -> Iterator[_Complaints]:
    """Collect tifffile's messages on the files that this thread reads; none is printed."""
    complaints, logger = _Complaints(), logging.getLogger("tifffile")
    logger.addFilter(complaints)
    try:
        yield complaints
    finally:
        logger.removeFilter(complaints)


def refuse_damaged(path: Path, complaints: _Complaints) -> None:
    """Raise `InputError` if tifffile has reported damage."""
    if complaints.damage:
        problem = f"this TIFF is damaged or incomplete ({complaints.damage[0][:200]})"
        remedy = "copy or save the file again, all planes in one file"
        raise InputError(problem, where=path, remedy=remedy)
