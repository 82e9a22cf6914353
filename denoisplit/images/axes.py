"""Images with named axes, made from the pixels and the axes of a file, and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.lazy import LazyImage
from denoisplit.images.lengths import known_lengths

DIMS = ("t", "c", "z", "y", "x")
COLOURS = ("red", "green", "blue")  # names of the channels of a colour image
CHANNELS = "CSE"  # letters of tifffile: channels, samples per pixel, wavelengths


class Metadata(NamedTuple):
    """What a file says of its channels, pixels and frames, as far as it can be read."""

    channels: Sequence[str | None] = ()  # names
    lengths: Mapping[str, float | None] = {}  # of pixels along x, y and z, micrometres
    time_increment_s: float | None = None  # between the frames
    colours: Sequence[str | None] = ()  # of the channels, "#rrggbb"


def colour(digits: Any) -> str | None:
    """Return the colour that six hexadecimal digits name, with "#" or without; else None."""
    match = re.fullmatch("#?([0-9a-f]{6})", str(digits).lower())
    return f"#{match[1]}" if match else None


def open_array(
    array: Any, axes: str, metadata: Metadata, source: Path, check: Callable[[], None] | None = None
) -> LazyImage:
    """Return the image of a file: the only place where its axes are decided.

    Parameters
    ----------
    array
        Pixels, which are read when indexed: one dimension per letter of `axes`, any byte order.
    axes : str
        Letters as in tifffile. Y and X are required, Z is depth; C, S (samples) and E (wavelengths)
        together are the channels; all others together are time, in the order of the file.
    metadata : Metadata
        Names are used if their number is that of the channels, and colours if all are known, too. A
        missing name is numbered from 1.
    source : Path
        The file.
    check : callable, optional
        See `LazyImage.check`.

    Raises
    ------
    InputError
        No pixels, no single (Y, X) plane, complex or other non-number pixels.
    """
    axes = axes.upper()
    if len(axes) != len(array.shape) or axes.count("Y") != 1 or axes.count("X") != 1:
        problem = f"this image of shape {array.shape} has the axes {axes}, expected one Y and one X"
        raise InputError(problem, where=source, remedy="save it as an image")
    if 0 in array.shape:
        problem = f"this image has no pixels (shape {array.shape})"
        raise InputError(problem, where=source, remedy="save the file again")
    if array.dtype.kind not in "biuf":
        kind = "complex" if array.dtype.kind == "c" else str(array.dtype)
        problem = f"this image has {kind} pixels, expected one real number per pixel"
        remedy = "save the intensities (or the magnitude) as an integer or float32 image"
        raise InputError(problem, where=source, remedy=remedy)
    roles = ["c" if a in CHANNELS else a.lower() if a in "ZYX" else "t" for a in axes]
    view = Arranged(array, roles)
    count = dict(zip(view.dims, view.shape, strict=True)).get("c", 1)
    names, sizes = metadata.channels, known_lengths(metadata.lengths)
    names = list(names) if len(names) == count else [None] * count
    unnamed = [f"channel {number}" if count > 1 else "" for number in range(1, count + 1)]
    known = tuple(str(name or other) for name, other in zip(names, unnamed, strict=True))
    known = known if any(known) else ()
    shown = tuple(filter(None, metadata.colours))
    shown = shown if len(shown) == len(metadata.colours) == count else ()
    step = metadata.time_increment_s if "t" in view.dims else None
    return LazyImage(view, view.dims, known, sizes, source, check, step, shown)


class Arranged:
    """Array whose dimensions are in the order of `DIMS`, without those of length 1.

    Parameters
    ----------
    stored
        The array, as its file has it.
    roles : sequence of str
        What each of its dimensions is, out of `DIMS`. Those of one role become one dimension.
    """

    def __init__(self, stored: Any, roles: Sequence[str]) -> None:
        self.stored = stored
        kept = [(n, r) for n, r in enumerate(roles) if r in "yx" or stored.shape[n] > 1]
        places = {dim: [n for n, role in kept if role == dim] for dim in DIMS}
        self._places = {dim: some for dim, some in places.items() if some}
        self.dims = tuple(self._places)
        self.shape = self._lengths(stored.shape)
        kind = np.dtype(stored.dtype)
        self.dtype = np.dtype(np.uint8) if kind.kind == "b" else kind.newbyteorder("=")

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the parts in which the pixels are stored."""
        return self._lengths(self.stored.chunks)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part: an index or a slice per dimension, or ``...``."""
        keys = (slice(None),) * len(self.dims) if key is ... else key
        inner: list[Any] = [0] * len(self.stored.shape)
        outer, order, shape = [], list[int](), list[int]()
        for places, part in zip(self._places.values(), keys, strict=True):
            lengths, is_one = [self.stored.shape[n] for n in places], len(places) == 1
            if not isinstance(part, slice):
                parts = np.unravel_index(part, lengths)
                for place, index in zip(places, parts, strict=True):
                    inner[place] = int(index)
                continue
            for place in places:  # of several that become one, all is read
                inner[place] = part if is_one else slice(None)
            order += places
            shape.append(len(range(*part.indices(lengths[0]))) if is_one else math.prod(lengths))
            outer.append(slice(None) if is_one else part)
        pixels = np.asarray(self.stored[tuple(inner)])
        pixels = pixels.transpose([sorted(order).index(place) for place in order]).reshape(shape)
        return pixels[tuple(outer)].astype(self.dtype, copy=False)

    def _lengths(self, shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(math.prod(shape[n] for n in some) for some in self._places.values())
