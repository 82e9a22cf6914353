"""OME-XML of TIFF files: channels, pixel size, times, and planes that are in other files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile

from denoisplit.errors import InputError
from denoisplit.files.bounded import MOST_TEXT, read_bytes
from denoisplit.images.lazy import first_line
from denoisplit.images.lengths import known_lengths, number, to_micrometres, to_seconds

TIFF = (".tif", ".tiff")
ROOT = re.compile(r"<(\w+:)?OME\b", re.IGNORECASE)
NAMED = (".ome.tif", ".ome.tiff")  # files that need OME-XML, if they have several planes
START = 2000  # letters within which the root element of OME-XML begins
REMEDY = "save it as one OME-TIFF file (Fiji: File > Import > Bio-Formats, then File > Save As)"


class Metadata(NamedTuple):
    """What a file says of its channels, pixels and frames."""

    channels: Sequence[str | None] = ()
    pixel_size_um: Mapping[str, float] = {}
    time_increment_s: float | None = None
    colours: Sequence[str | None] = ()  # of the channels, "#rrggbb"


def ome_xml(path: Path, tif: tifffile.TiffFile) -> ElementTree.Element | None:
    """Return the OME-XML of a file, or of the file that it names; None if it cannot be read."""
    try:
        xml = ElementTree.fromstring(_text(tif))
        main = xml.find("{*}BinaryOnly")
        if main is None:
            return xml
        companion = path.with_name(Path(main.get("MetadataFile", "")).name)
        data = read_bytes(companion, MOST_TEXT, "OME-XML", REMEDY)
        return None if companion.suffix in TIFF else ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, OSError):
        return None


def described_images(path: Path, tif: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the images of a file; OME-XML that cannot be used is ignored in a file of one plane.

    Raises
    ------
    InputError
        If the file has several planes.
    """
    try:
        return list(tif.series)
    except Exception as error:
        if not _is_ome(tif):
            raise
        if (planes := len(tif.pages)) > 1:
            problem = (
                f"its OME-XML is damaged ({first_line(error)}), and the axes of {planes} planes"
            )
            raise InputError(f"{problem} are unknown", where=path, remedy=REMEDY) from None
        tif.is_ome = False
        return list(tif.series)


def ome_metadata(xml: ElementTree.Element, series: int, count: int) -> Metadata:
    """Return the metadata of one of the images that a file has.

    What cannot be read is unknown.
    """
    all_pixels = xml.findall(".//{*}Pixels")
    if count > 1:  # tifffile leaves out those without data
        all_pixels = [some for some in all_pixels if some.find("{*}TiffData") is not None]
    if not all_pixels or len(all_pixels) != count > 1:
        return Metadata()
    pixels = all_pixels[series]
    sizes = {}
    for axis in "xyz":
        key = f"PhysicalSize{axis.upper()}"
        sizes[axis] = to_micrometres(pixels.get(key), pixels.get(f"{key}Unit") or "um")
    channels = pixels.findall("{*}Channel")
    unit = pixels.get("TimeIncrementUnit") or "s"
    return Metadata(
        [(channel.get("Name") or "").strip() for channel in channels],
        known_lengths(sizes),
        to_seconds(pixels.get("TimeIncrement"), unit),
        [_colour(channel.get("Color")) for channel in channels],
    )


def _colour(value: str | None) -> str | None:
    """Return the colour of a signed integer, red in the highest byte and opacity in the lowest."""
    try:
        return f"#{int(value or '') >> 8 & 0xFFFFFF:06x}"
    except ValueError:
        return None


def check_ome(path: Path, tif: tifffile.TiffFile) -> None:
    """Refuse a file in which only a description that cannot be used tells channels from time.

    A file of one plane needs no such description, unless its set has several channels.

    Raises
    ------
    InputError
    """
    one, planes, xml = tif.series[0], len(tif.pages), ome_xml(path, tif)
    if not _is_ome(tif):
        if planes > 1 and one.kind in ("uniform", "generic") and path.name.lower().endswith(NAMED):
            problem = f"it has no OME-XML, so the axes of {planes} planes are unknown"
            raise InputError(problem, where=path, remedy=REMEDY)
        return
    if one.kind == "ome":
        known = {page.offset for some in tif.series for page in some.pages if page is not None}
        described = len(known)
        if described < planes:
            problem = f"its OME-XML describes {described} of {planes} planes"
            raise InputError(problem, where=path, remedy=REMEDY)
        return
    pixels = None if xml is None else xml.find(".//{*}Pixels")
    channels = 1 if pixels is None else number(pixels.get("SizeC"))
    if planes == 1 and (not channels > 1 or one.kind == "mmstack"):
        return
    if pixels is None:
        problem = f"its OME-XML is damaged or missing, and the axes of {planes} planes are unknown"
    else:
        problem = "its OME-XML describes planes that are in other files, or missing"
    raise InputError(problem, where=path, remedy=REMEDY)


def _is_ome(tif: tifffile.TiffFile) -> bool:
    return ROOT.search(_text(tif)[:START]) is not None


def _text(tif: tifffile.TiffFile) -> str:
    return tif.pages.first.description.lstrip("\ufeff \r\n\t")
