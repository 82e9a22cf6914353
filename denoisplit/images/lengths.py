"""Lengths in micrometres and times in seconds: units that files name, and sizes that differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from denoisplit.progress import logger

TOLERANCE = 0.02  # relative difference up to which pixel sizes are equal

PLAUSIBLE = (1e-5, 1e7)  # um, of pixels: a tenth of an atom to ten metres
PRINT_PIXEL_UM = 19.99  # longer pixels, of 20 um or more, are those of paper or screen

# Powers of ten of SI prefixes, long and short, as in NGFF and OME.
_PREFIXES = {
    **{"yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6},
    **{"kilo": 3, "hecto": 2, "deca": 1, "": 0, "deci": -1, "centi": -2, "milli": -3},
    **{"micro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18, "zepto": -21},
    "yocto": -24,
}
_SYMBOLS = {
    **{"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1},
    **{"": 0, "d": -1, "c": -2, "m": -3, "\u00b5": -6, "\u03bc": -6, "u": -6, "n": -9, "p": -12},
    **{"f": -15, "a": -18, "z": -21, "y": -24},
}
_FEET = {"in": 1 / 12, "inch": 1 / 12, '"': 1 / 12, "li": 1 / 144, "pt": 1 / 864}
_FEET |= {"ft": 1.0, "foot": 1.0, "yd": 3.0, "yard": 3.0, "mi": 5280.0, "mile": 5280.0}
_FEET |= {"thou": 1 / 12000, "mil": 1 / 12000}
_SECONDS = {"sec": 1, "second": 1, "min": 60, "minute": 60, "hour": 3600, "h": 3600, "d": 86400}
_SECONDS |= {"hr": 3600, "day": 86400}
_ANGSTROM = ("\u00e5", "a\u030a", "angstrom", "\u00e5ngstr\u00f6m")


def to_micrometres(value: Any, unit: Any) -> float | None:
    """Convert a length to micrometres; None for an unknown unit or a value that is no length."""
    factor, length = _factor(str(unit or "").strip()), number(value)
    if factor is None or not math.isfinite(length) or length <= 0:
        return None
    return length * factor


def to_seconds(value: Any, unit: Any) -> float | None:
    """Convert a time to seconds; None for an unknown unit or a value that is no duration."""
    word, time = str(unit or "").strip(), number(value)
    lower = word.casefold()
    power = _SYMBOLS.get(word[:-1]) if word.endswith("s") else None
    if power is None and lower.removesuffix("s").endswith("second"):
        power = _PREFIXES.get(lower.removesuffix("s")[:-6])
    factor = _SECONDS.get(lower.removesuffix("s")) if power is None else float(f"1e{power}")
    return time * factor if factor and math.isfinite(time) and time > 0 else None


def number(value: Any) -> float:
    """Return a number of the metadata of a file; NaN where none can be read, as in "0,5"."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _factor(unit: str) -> float | None:
    """Return the length of a unit in micrometres."""
    if unit.endswith("m") and (power := _SYMBOLS.get(unit[:-1])) is not None:
        return float(f"1e{power + 6}")
    lower = unit.casefold().replace("metre", "meter")
    if lower == "um" or lower in ("micron", "microns", "\u03bcm"):
        return 1.0
    if lower in _ANGSTROM:
        return 1e-4
    if lower in ("nm", "mm", "cm", "m", "km"):  # in capitals
        return float(f"1e{_SYMBOLS[lower[:-1]] + 6}")
    singular = {"feet": "foot", "inches": "inch"}.get(lower, lower)
    for name in (singular, singular.removesuffix("s")):
        if name in _FEET:
            return _FEET[name] * 304800.0
        if name.endswith("meter") and (power := _PREFIXES.get(name[:-5])) is not None:
            return float(f"1e{power + 6}")
    return None


def known_lengths(
    lengths: Mapping[str, float | None], longest: float = PLAUSIBLE[1]
) -> dict[str, float]:
    """Return the lengths that are known, and that pixels can have."""
    return {a: v for a, v in lengths.items() if v is not None and PLAUSIBLE[0] <= v <= longest}


def differ(length: float, other: float) -> bool:
    """Return whether two pixel sizes are not equal within `TOLERANCE`."""
    return abs(length - other) > TOLERANCE * max(length, other)


def warn_of_pixel_sizes(sizes: Sequence[tuple[object, Mapping[str, float]]]) -> None:
    """Warn, once, of the first images whose pixel sizes differ.

    Parameters
    ----------
    sizes : sequence of (name, pixel size)
        Name of each image, and the known ones of x, y, z in micrometres.
    """
    reference: dict[str, tuple[float, object]] = {}
    for name, lengths in sizes:
        for axis, length in lengths.items():
            other, first = reference.setdefault(axis, (length, name))
            if differ(length, other):
                logger.warning(
                    "%s: its pixels are %.4g um wide along %s, those of %s %.4g um: resample the "
                    "images to one pixel size, unless the metadata are wrong",
                    *(name, length, axis, first, other),
                )
                return
