"""Images with named axes, made from the array and the axes of a file, and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from denoisplit.errors import InputError

DIMS = ("t", "c", "z", "y", "x")

# Keys are casefolded, which also turns the micro sign into the Greek letter and the
# Angstrom sign into the Scandinavian letter. Other units are unknown.
_MICROMETRES = {
    "å": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "inch": 25400.0,
    "in": 25400.0,
    "m": 1e6,
}


def to_micrometres(value: float, unit: str) -> float | None:
    """Convert a length to micrometres; None for an unknown unit or a value that is no length."""
    factor = _MICROMETRES.get(unit.strip().casefold())
    if factor is None or not math.isfinite(value) or value <= 0:
        return None
    return value * factor


def known_lengths(lengths: Mapping[str, float | None]) -> dict[str, float]:
    """Return the lengths that are not None."""
    return {axis: value for axis, value in lengths.items() if value is not None}


def make_image(
    array: NDArray[Any],
    axes: str,
    *,
    channels: Sequence[str | None],
    pixel_size_um: Mapping[str, float],
    source: Path,
) -> xr.DataArray:
    """Build an image from the pixels and metadata of a file.

    Parameters
    ----------
    array : ndarray
        Pixels, one dimension per letter of `axes`, any byte order.
    axes : str
        Letters as in tifffile. Y and X are required; C and Z are kept; all other axes longer than
        1 are flattened into one axis of time, in the order of the file.
    channels : sequence of str or None
        Channel names; used if their number is that of the channels. A missing name is numbered
        from 1.
    pixel_size_um : mapping
        Micrometres for the known ones of x, y, z.
    source : Path
        The file, for messages and ``attrs["source"]``.

    Returns
    -------
    DataArray
        Dims out of ``t c z y x``, native byte order, dtype kept (bool becomes uint8).

    Raises
    ------
    InputError
        No pixels, no (Y, X) plane, complex or other non-number pixels, NaN or infinity.
    """
    axes = axes.upper()
    if "Y" not in axes or "X" not in axes:
        problem = f"this file has the axes {axes}, but an image needs Y and X"
        raise InputError(problem, where=source, remedy="save it as an image")
    if array.size == 0:
        problem = f"this image has no pixels (shape {array.shape})"
        raise InputError(problem, where=source, remedy="save the file again")
    array = _real_numbers(array, source)
    place = {axis: axes.rindex(axis) for axis in "CZYX" if axis in axes}
    n_channels = array.shape[place["C"]] if "C" in place else 1
    kept = [axis for axis in place if axis in "YX" or array.shape[place[axis]] > 1]
    ends = [place[axis] for axis in kept]
    leading = [index for index in range(array.ndim) if index not in ends]
    pixels = array.transpose(leading + ends).reshape(-1, *(array.shape[end] for end in ends))
    dims = ["t", *(axis.lower() for axis in kept)]
    if pixels.shape[0] == 1:
        pixels, dims = pixels[0], dims[1:]

    attributes = {"pixel_size_um": dict(pixel_size_um), "source": str(source)}
    image = xr.DataArray(np.ascontiguousarray(pixels), dims=dims, attrs=attributes)
    names = list(channels) if len(channels) == n_channels else [None] * n_channels
    if n_channels > 1:
        named = [name or f"channel {number}" for number, name in enumerate(names, start=1)]
        return image.assign_coords(c=named)
    return image.assign_coords(c=names[0]) if names[0] else image


def _real_numbers(array: NDArray[Any], source: Path) -> NDArray[Any]:
    """Return the pixels as finite real numbers of native byte order, or raise InputError."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        kind = "complex" if array.dtype.kind == "c" else str(array.dtype)
        problem = f"this image has {kind} pixels, expected one real number per pixel"
        remedy = "save the intensities (or the magnitude) as an integer or float32 image"
        raise InputError(problem, where=source, remedy=remedy)
    if array.dtype.kind == "f":
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            problem = f"{bad} of {array.size} pixels are NaN or infinite"
            raise InputError(problem, where=source, remedy="crop or fill those pixels")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
