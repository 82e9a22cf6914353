"""TIFF, BigTIFF, ImageJ and OME-TIFF images, read by tifffile."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.axes import COLOURS, Metadata, open_array
from denoisplit.images.formats.libraries import hidden
from denoisplit.images.formats.ome_xml import REMEDY, OmeXml, described_images
from denoisplit.images.formats.tiff_pages import Layouts, check_encoding, check_pages
from denoisplit.images.lazy import LazyImage, Mapped, Pages, unreadable
from denoisplit.images.lengths import (
    PRINT_PIXEL_UM,
    known_lengths,
    number,
    to_micrometres,
    to_seconds,
)
from denoisplit.images.selection import choose_series
from denoisplit.progress import logger

GREY = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
# messages of tifffile: defects that it corrects without loss, and metadata that are checked here
HARMLESS = ("invalid data type", "ByteCounts", "StripOffsets", "OME series raised")
# warnings that mean zeros in place of pixels
LOSSY = ("issing", "failed to re", "out of range", "incomplete", "OME series expected")
UNITS = {1: "", 2: "in", 3: "cm", 4: "mm", 5: "um"}  # of the resolution, by its number


def open_tiff(path: Path, series: int | None = None) -> LazyImage:
    """Open an image of a TIFF file, of which planes are read from a map or page by page.

    Raises
    ------
    InputError
        If the file is not TIFF, is damaged, has several images and none of them is chosen, or has
        colours or unusable pixels.
    """
    with hidden("tifffile") as complaints, unreadable(path, "TIFF", "copy or save the file again"):
        layouts = check_pages(path)
        # other files of a set are left closed: a member is no image of its own
        with tifffile.TiffFile(path, _multifile=False) as tif:
            # Before the pixels are read: a damaged index leads tifffile to wrong pixels.
            images = described_images(path, tif)
            refuse_damaged(path, complaints)
            stack = _is_stack(images)
            if not images:
                raise ValueError("it has no image")
            names = [f"{one.name} {one.axes} {one.shape}".strip() for one in images]
            chosen = choose_series(path, names[:1] if stack else names, series)
            one, xml = images[chosen], OmeXml(path, tif)
            _refuse_unsplittable(path, tif, one, several=len(images) > 1 or series is None)
            xml.check(tif)
            warnings = [xml.missing(), check_encoding(path, tif, one)]
            _check_layouts(images if stack else [one], layouts)
            axes = f"{'T' if stack else ''}{one.axes}"
            array = _pixels(path, tif, chosen, len(images) if stack else 0)
            has_xml = xml.root is not None
            metadata = xml.metadata(chosen, len(images)) if has_xml else _metadata(tif, chosen)
            is_colour = "S" in one.axes.upper() and one.keyframe.photometric not in GREY
    refuse_damaged(path, complaints)
    if is_colour:
        more = [None] * (one.shape[one.axes.upper().index("S")] - len(COLOURS))
        metadata = metadata._replace(channels=(*COLOURS, *more), colours=())
    image = open_array(array, axes, metadata, path, partial(_warn, path, warnings))
    return replace(image, is_colour=is_colour)


def _warn(path: Path, warnings: Sequence[str]) -> None:
    for warning in filter(None, warnings):
        logger.warning("%s: %s", path, warning)


def _pixels(path: Path, tif: tifffile.TiffFile, series: int, stack: int) -> Any:
    """Return the pixels of one of the series, or of a number of equal ones, with their axes."""
    one = tif.series[series]
    if stack:
        read = partial(_read_pages, path, one.shape, None)
        return Pages((stack,), one.shape, one.dtype, read)
    start = one.dataoffset
    if start is not None and one.keyframe.is_memmappable and one.dtype.kind in "iuf":
        if start + one.nbytes > path.stat().st_size:
            raise ValueError("it ends before its pixels do")
        return Mapped(path, one.shape, np.dtype(tif.byteorder + one.dtype.char), start)
    for outer in range(len(one.shape)):
        pages, page = math.prod(one.shape[:outer]), math.prod(one.shape[outer:])
        if pages == len(one.pages) and page == math.prod(one.keyframe.shape):
            read = partial(_read_pages, path, one.shape[outer:], series)
            return Pages(one.shape[:outer], one.shape[outer:], one.dtype, read)
    for part in one.pages:
        _check_segments(part)
    return one.asarray()


def _check_segments(page: Any) -> None:
    """Refuse a page with a part that is longer than its file, for which memory would be taken."""
    if page is not None and max(page.databytecounts, default=0) > page.parent.filehandle.size:
        raise ValueError("a part of a plane is longer than the file")


def _read_pages(
    path: Path, page_shape: tuple[int, ...], series: int | None, numbers: Sequence[int]
) -> Iterator[NDArray[Any]]:
    """Yield pages of one series, or of the whole file."""
    with hidden("tifffile") as complaints, tifffile.TiffFile(path, _multifile=False) as tif:
        pages: Any = tif.pages if series is None else described_images(path, tif)[series].pages
        for number in numbers:
            if (page := pages[number]) is None:
                raise ValueError(f"plane {number} is missing")
            _check_segments(page)
            plane = page.asarray().reshape(page_shape)
            refuse_damaged(path, complaints)
            yield plane


def description_of(path: Path) -> str:
    """Return the description in an OME-TIFF, empty for any other file."""
    try:
        check_pages(path)
        with hidden("tifffile"), tifffile.TiffFile(path) as tif:
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


def _refuse_unsplittable(
    path: Path, tif: tifffile.TiffFile, one: tifffile.TiffPageSeries, *, several: bool
) -> None:
    """Refuse a part of an image, and planes that would be left out without a word."""
    if one.is_multifile:
        problem = "this file is one of several that hold an image together"
        raise InputError(problem, where=path, remedy=REMEDY)
    described, planes = math.prod(one.shape) // math.prod(one.keyframe.shape), len(tif.pages)
    if one.kind == "imagej" and described < planes:
        problem = f"its description by ImageJ is of {described} planes, but there are {planes}"
        raise InputError(problem, where=path, remedy="save it again (Fiji: File > Save As)")
    pages = [level.keyframe for level in one.levels[1:]] if several else []
    # of no pyramid whose levels are marked
    if any(len(page.treeindex) == 1 and not page.is_reduced for page in pages):
        problem = f"some of {planes} pages have a fraction of the size of the first"
        remedy = f"choose {path.name}:series=0 for those of full size, or save one image"
        raise InputError(problem, where=path, remedy=remedy)


def _check_layouts(series: Sequence[tifffile.TiffPageSeries], layouts: Layouts) -> None:
    """Refuse pages that differ from the first one of their image: tifffile does not always look."""
    for one in series:
        offsets = [page.offset for page in one.pages if page is not None]
        kinds = {layouts[offset] for offset in offsets if offset in layouts}
        if len(kinds) > 1:
            raise ValueError("its pages differ in size, type or compression")


def _metadata(tif: tifffile.TiffFile, series: int) -> Metadata:
    """Return the metadata of ImageJ, or those of the resolution tags."""
    page = tif.series[series].keyframe
    imagej = (tif.imagej_metadata if tif.is_imagej else None) or {}
    channels = _channels_of_imagej(imagej)
    step = to_seconds(imagej.get("finterval"), imagej.get("tunit", "s"))
    if str(imagej.get("unit", "")).strip():
        return Metadata(channels, _size_of_imagej(imagej, page), step)
    unit = UNITS.get(page.tags.valueof("ResolutionUnit"), "")
    sizes = known_lengths(_resolution(page, {"x": unit, "y": unit}), PRINT_PIXEL_UM)
    return Metadata(channels, sizes, step)


def _size_of_imagej(
    metadata: Mapping[str, Any], page: tifffile.TiffPage
) -> dict[str, float | None]:
    # ImageJ writes the micro sign, and other letters, as six characters: \u00B5
    units = {
        axis: re.sub(
            r"\\u([0-9A-Fa-f]{4})",
            lambda code: chr(int(code[1], 16)),
            str(metadata.get(f"{axis}unit") or metadata["unit"]),
        )
        for axis in "xyz"
    }
    sizes = _resolution(page, {axis: units[axis] for axis in "xy"})
    if "slices" in metadata:
        sizes["z"] = to_micrometres(metadata.get("spacing"), units["z"])
    return sizes


def _channels_of_imagej(metadata: Mapping[str, Any]) -> Sequence[str | None]:
    # Labels name planes, channels fastest. They name channels if they agree across all planes.
    n_channels = metadata.get("channels", 1)
    if not isinstance(n_channels, int) or n_channels < 2:
        return ()
    labels = [str(label) for label in metadata.get("Labels") or ()]
    per_channel = [set(labels[channel::n_channels]) for channel in range(n_channels)]
    named = all(len(names) == 1 for names in per_channel)
    return [names.pop() for names in per_channel] if named else ()


def _resolution(page: tifffile.TiffPage, units: Mapping[str, str]) -> dict[str, float | None]:
    """Read the pixel size from the resolution tags, which count pixels per unit."""
    sizes: dict[str, float | None] = {}
    for axis, unit in units.items():
        value: Any = page.tags.valueof(f"{axis.upper()}Resolution")
        try:
            count, per = map(number, value)
            sizes[axis] = to_micrometres(per / count, unit)
        except (TypeError, ValueError, ZeroDivisionError):  # not a fraction, or of nothing
            sizes[axis] = None
    return sizes


def refuse_damaged(path: Path, messages: Sequence[tuple[int, str]]) -> None:
    """Raise `InputError` if tifffile has logged damage; messages are of level and text."""
    for level, text in messages:
        is_lossy = level >= logging.ERROR or any(word in text for word in LOSSY)
        if is_lossy and not any(word in text for word in HARMLESS):
            # without the names of objects and exceptions of Python
            text = re.sub(r"<[^>]*> ?", "", text)
            text = re.sub(r"(,? raised|^raised) \w+\(['\"](.*)['\"]\)", r": \2", text).lstrip(": ")
            problem = f"this TIFF is damaged or incomplete ({text[:200]})"
            remedy = "copy or save the file again, all planes in one file"
            raise InputError(problem, where=path, remedy=remedy)
