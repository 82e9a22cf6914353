"""LIF files of Leica microscopes, whose pixels are mapped where the package liffile finds them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.images.axes import Metadata, open_array
from denoisplit.images.formats.libraries import library, readable, refuse_axes
from denoisplit.images.lazy import LazyImage, Mapped
from denoisplit.images.lengths import number, to_micrometres, to_seconds
from denoisplit.images.selection import choose_series

START = b"p\0\0\0"
DIMENSIONS = {"1": "x", "2": "y", "3": "z", "4": "t"}
DESCRIPTION = "./Data/Image/ImageDescription"
UNUSED = dict.fromkeys(("ChannelTag", "Min", "Max", "Origin"), "0")  # numbers for liffile
LUTS = {"red": "#ff0000", "green": "#00ff00", "blue": "#0000ff", "cyan": "#00ffff"}
LUTS |= {"magenta": "#ff00ff", "yellow": "#ffff00", "gray": "#ffffff", "grey": "#ffffff"}
GRADIENT = re.compile(r"gradient ?\(([0-9]+), ?([0-9]+), ?([0-9]+)\)")


def open_lif(path: Path, series: int | None = None) -> LazyImage:
    """Open an image of a LIF file without reading its pixels.

    Raises
    ------
    InputError
        If the file is not LIF, is damaged, has colours or unknown axes, or several images and none
        of them is chosen.
    """
    liffile = library("liffile", "LIF", path)
    with readable(path, "LIF"):
        with path.open("rb") as stream:
            if stream.read(len(START)) != START:  # else other files may be opened that it names
                raise ValueError("it does not begin like one")
        with liffile.LifFile(path) as file:
            if file.type.name != "LIF":
                raise ValueError(f"it is a {file.type.name} file")
            images = list(file.images)
            if not images:
                raise ValueError("it has no image")
            image = images[choose_series(path, [one.path for one in images], series)]
            for part in image.xml_element.iter():  # no damage in these makes pixels unknown
                if part.tag in ("ChannelDescription", "DimensionDescription"):
                    part.attrib.update(UNUSED, Length=str(number(part.get("Length"))))
            if image.is_flim:
                problem = "this image has lifetimes of photons, expected intensities"
                raise InputError(problem, where=path, remedy="save its intensities as OME-TIFF")
            sizes, dtype, block = dict(image.sizes), image.dtype, image.memory_block
        refuse_axes(path, {"colour" if axis == "S" else axis: n for axis, n in sizes.items()})
        needed, end = math.prod(sizes.values()) * dtype.itemsize, block.offset + block.size
        if needed != block.size or end > path.stat().st_size:
            problem = f"its pixels need {needed} bytes, and {block.size} are described, up to {end}"
            raise ValueError(f"{problem} of {path.stat().st_size}")
        metadata = _metadata(image.xml_element)
        pixels = Mapped(path, tuple(sizes.values()), dtype, block.offset)
        # an axis of length 1 is left out
        axes = "".join("T" if axis not in "TCZYX" else axis for axis in sizes)
        return open_array(pixels, axes, metadata, path)


def _metadata(xml: Any) -> Metadata:
    described = xml.findall(f"{DESCRIPTION}/Channels/ChannelDescription")
    described.sort(key=lambda channel: number(channel.get("BytesInc")))
    names = [str(channel.get("LUTName") or "") for channel in described]
    sizes: dict[str, float | None] = {}
    step: float | None = None
    for dimension in xml.findall(f"{DESCRIPTION}/Dimensions/DimensionDescription"):
        axis, unit = DIMENSIONS.get(dimension.get("DimID")), dimension.get("Unit")
        steps = number(dimension.get("NumberOfElements")) - 1
        length = abs(number(dimension.get("Length"))) / steps if steps else math.nan
        if axis == "t":
            step = to_seconds(length, unit)
        elif axis:
            sizes[axis] = to_micrometres(length, unit)
    colours = list(map(_colour, names))
    return Metadata(names if len(set(names)) == len(names) else [], sizes, step, colours)


def _colour(lut: str) -> str | None:
    """Return the colour of a table of colours by its name, such as Green or Gradient (255,0,9)."""
    if match := GRADIENT.fullmatch(lut.strip().lower()):
        return "#" + "".join(f"{min(255, int(part)):02x}" for part in match.groups())
    return LUTS.get(lut.strip().lower())
