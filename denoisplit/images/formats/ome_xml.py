"""OME-XML of TIFF files: channels, pixel size, times, and planes that are in other files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from denoisplit.errors import InputError
from denoisplit.files.bounded import MOST_TEXT, read_bytes
from denoisplit.images.axes import Metadata, colour
from denoisplit.images.lazy import first_line
from denoisplit.images.lengths import number, to_micrometres, to_seconds

TIFF = (".tif", ".tiff")
ROOT = re.compile(r"<(\w+:)?OME\b", re.IGNORECASE)
NAMED = (".ome.tif", ".ome.tiff")  # files that need OME-XML, if they have several planes
PLACES = ("IFD", "FirstC", "FirstT", "FirstZ")  # of planes
START = 2000  # letters within which the root element of OME-XML begins
SHOWN = 3  # files that a warning names
LENGTHS = ("images", "channels", "slices", "frames")  # in a description by ImageJ
REMEDY = "save it as one OME-TIFF file (Fiji: File > Import > Bio-Formats, then File > Save As)"


class OmeXml:
    """OME-XML of a file, or of the file that it names.

    Attributes
    ----------
    is_there : bool
        Whether the file has any, even damaged.
    root : Element or None
        None if it cannot be read.
    """

    def __init__(self, path: Path, tif: tifffile.TiffFile) -> None:
        text = tif.pages.first.description.lstrip("\ufeff \r\n\t")
        self.is_there, self.path = ROOT.search(text[:START]) is not None, path
        self.root: ElementTree.Element | None = None
        self._id: str | None = None
        self._main: Path | None = None  # that has the OME-XML of this one
        try:
            root = ElementTree.fromstring(text)
            self._id, binary = root.get("UUID"), root.find("{*}BinaryOnly")
            if binary is not None:
                self._main = path.with_name(Path(binary.get("MetadataFile", "")).name)
                data = read_bytes(self._main, MOST_TEXT, "OME-XML", REMEDY)
                self.root = None if self._main.suffix in TIFF else ElementTree.fromstring(data)
            else:
                self.root = root
        except (ElementTree.ParseError, ValueError, OSError):
            pass

    def metadata(self, series: int, count: int) -> Metadata:
        """Return the metadata of one of the images that a file has, as far as it can be read."""
        images = [] if self.root is None else self.root.findall(".//{*}Pixels")
        if count > 1:  # tifffile leaves out those without data
            images = [some for some in images if some.find("{*}TiffData") is not None]
        if not images or len(images) != count > 1:
            return Metadata()
        pixels = images[series]
        keys = {axis: f"PhysicalSize{axis.upper()}" for axis in "xyz"}
        units = {axis: pixels.get(f"{key}Unit") or "um" for axis, key in keys.items()}
        channels = pixels.findall("{*}Channel")
        return Metadata(
            [(channel.get("Name") or "").strip() for channel in channels],
            {axis: to_micrometres(pixels.get(key), units[axis]) for axis, key in keys.items()},
            to_seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit") or "s"),
            [_colour(channel.get("Color")) for channel in channels],
        )

    def missing(self) -> str:
        """Return a warning of files that hold other planes of the image, and are not there.

        It is empty if there are none, and for all files of the image but the first that is there.
        """
        if self._main is not None and not self._main.exists():
            return f"its OME-XML is in {self._main.name}, which is missing: its scale is unknown"
        parts = [] if self.root is None else self.root.findall(".//{*}TiffData/{*}UUID")
        names = {Path(part.get("FileName", "")).name: part.text for part in parts}
        files = {
            name: name == self.path.name or None is not self._id == text
            for name, text in names.items()
            if name
        }
        there = [name for name, own in files.items() if own or self.path.with_name(name).exists()]
        others = [name for name in files if name not in there]
        if not others or not there or not files[there[0]]:
            return ""
        shown = ", ".join(others[:SHOWN] + ["..."] * (len(others) > SHOWN))
        return (
            f"{len(others)} of {len(files)} files of this image are missing ({shown}), and their "
            "planes are not read"
        )

    def check(self, tif: tifffile.TiffFile) -> None:
        """Refuse a file in which only a description that cannot be used tells channels from time.

        A file of one plane needs no such description, unless its set has several channels.

        Raises
        ------
        InputError
        """
        one, planes, problem = tif.series[0], len(tif.pages), ""
        pixels = None if self.root is None else self.root.find(".//{*}Pixels")
        channels = 1 if pixels is None else number(pixels.get("SizeC"))
        if not self.is_there:
            named = self.path.name.lower().endswith(NAMED)
            if planes > 1 and one.kind in ("uniform", "generic") and named:
                problem = f"it has no OME-XML, so the axes of {planes} planes are unknown"
        elif one.kind == "ome":
            known = {page.offset for some in tif.series for page in some.pages if page is not None}
            if len(known) < planes:
                problem = f"its OME-XML describes {len(known)} of {planes} planes"
            data = [] if self.root is None else self.root.findall(".//{*}TiffData")
            if any(number(part.get(key)) < 0 for part in data for key in PLACES):
                problem = "its OME-XML has planes of negative numbers"
        elif planes == 1 and (not channels > 1 or one.kind == "mmstack"):
            return
        elif pixels is None:
            problem = (
                f"its OME-XML is damaged or missing, and the axes of {planes} planes are unknown"
            )
        else:
            problem = "its OME-XML describes planes that are in other files, or missing"
        if problem:
            raise InputError(problem, where=self.path, remedy=REMEDY)


def described_images(path: Path, tif: Any) -> list[tifffile.TiffPageSeries]:
    """Return the images of a file; a description that cannot be used is ignored for one plane.

    Raises
    ------
    InputError
        If the file has several planes.
    """
    planes = len(tif.pages)
    try:
        if tif.is_imagej:
            lengths = {key: tif.imagej_metadata.get(key, 1) for key in LENGTHS}
            known = [n for n in lengths.values() if isinstance(n, int)]
            planes = max(planes, *known)  # also of one page before the pixels of all planes
            if wrong := [f"{k}={n}" for k, n in lengths.items() if n not in known or n < 1]:
                raise ValueError(f"it has {', '.join(wrong)}")
        return list(tif.series)
    except Exception as error:
        kinds = {"OME-XML": OmeXml(path, tif).is_there, "description by ImageJ": tif.is_imagej}
        kinds["description by tifffile"] = tif.is_shaped
        kind = next((kind for kind, is_there in kinds.items() if is_there), None)
        if kind is None:
            raise
        if planes > 1 or "truncated" in tif.pages.first.description:
            problem = f"its {kind} is damaged ({first_line(error)}), and the axes of {planes}"
            raise InputError(f"{problem} planes are unknown", where=path, remedy=REMEDY) from None
        tif.is_ome = tif.is_imagej = tif.is_shaped = False
        return list(tif.series)


def _colour(value: str | None) -> str | None:
    """Return the colour of a signed integer, red in the highest byte and opacity in the lowest."""
    code = number(value)
    return colour(f"{int(code) >> 8 & 0xFFFFFF:06x}") if code == code // 1 else None
