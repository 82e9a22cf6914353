"""Images in memory: their axes, the channel that is split, and their planes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.images import ImageFile, LazyImage, open_image
from denoisplit.images.formats.ngff import axis_name
from denoisplit.images.lengths import known_lengths, to_micrometres, to_seconds
from denoisplit.images.scale import check_largest, check_range
from denoisplit.images.selection import choose_channel

DIMS = ("t", "c", "z", "y", "x")
NAME = "image"  # of an image in memory, in messages


@dataclass
class ImageInMemory:
    """One channel of an array, or of an image file, which is read plane by plane."""

    image: LazyImage
    channel: int
    coords: dict[str, Any]  # of an xarray, without those of its channels
    name: str  # for messages
    _range: tuple[float, float] = (math.inf, -math.inf)  # of the planes that were read
    _sum: float = 0.0

    @classmethod
    def of(
        cls, image: Any, axes: str | None = None, channel: int | str | None = None
    ) -> ImageInMemory:
        """Take an array or a path.

        Raises
        ------
        InputError
            If the axes or pixels are not those of an image, or the channel cannot be chosen.
        """
        coords: dict[str, Any] = {}
        if isinstance(image, str | Path):
            if axes is not None:
                problem = "the axes of a file are those that it names"
                raise InputError(problem, where="axes", remedy="leave `axes` out")
            opened = open_image(ImageFile.of(image).with_channel(channel))
            opened.check()
            name = str(opened.source)
            return cls(opened, _channel(opened, None, name), coords, name)
        names: tuple[str, ...] = ()
        sizes: dict[str, float] = {}
        step: float | None = None
        name = NAME
        if isinstance(image, xr.DataArray):
            axes = "".join(_letter(dim) for dim in image.dims) if axes is None else axes
            if "c" in axes.lower():
                dim = image.dims[axes.lower().index("c")]
                names = tuple(map(str, image[dim].values)) if dim in image.coords else ()
            coords = {
                letter: image[dim].values
                for letter, dim in zip(axes.lower(), image.dims, strict=False)
                if dim in image.coords and letter != "c"
            }
            known = image.attrs.get("pixel_size_um")
            if isinstance(known, Mapping):
                sizes = known_lengths({a: to_micrometres(known.get(a), "um") for a in "xyz"})
            if "t" in axes.lower():
                step = to_seconds(image.attrs.get("time_increment_s"), "s")
            name = str(image.attrs.get("source", NAME))
            image = image.data
        array = _numbers(image)
        dims = _dims(array.shape, axes)
        opened = LazyImage(array, dims, names, sizes, Path(name), time_increment_s=step)
        return cls(opened, _channel(opened, channel, name), coords, name)

    @property
    def outer(self) -> dict[str, int]:
        """Lengths of t and z, those that the image has."""
        sizes = self.image.sizes
        return {dim: sizes[dim] for dim in ("t", "z") if dim in sizes}

    @property
    def pixels(self) -> int:
        """Number of pixels of the channel."""
        return math.prod([*self.outer.values(), self.image.sizes["y"], self.image.sizes["x"]])

    @property
    def mean(self) -> float:
        """Mean of the channel, once all of its planes were read."""
        return self._sum / self.pixels

    def places(self) -> Iterator[tuple[int, ...]]:
        """Yield the places of all planes along t and z."""
        return product(*map(range, self.outer.values()))

    def plane(self, place: tuple[int, ...]) -> npt.NDArray[Any]:
        """Read a plane (Y, X).

        Raises
        ------
        InputError
            If its pixels, or those of the planes before, cannot be computed with.
        """
        index = {**dict(zip(self.outer, place, strict=True)), "c": self.channel}
        plane: npt.NDArray[Any] = np.asarray(self.image.plane(index)[:, :])
        low, high = check_largest(plane, self.name)
        low, high = min(low, self._range[0]), max(high, self._range[1])
        self._range = low, high
        self._sum += float(plane.sum(dtype=np.float64))
        if low < high:
            check_range(low, high, self.name)
        return plane

    @contextmanager
    def named(self) -> Iterator[None]:
        """Add the name of the image to errors of its tiles, which do not know it."""
        try:
            yield
        except InputError as error:
            raise error.replace(where=error.where or self.name) from None


def _letter(dim: Any) -> str:
    """Return the letter of a named dimension, or its name in brackets, which is refused."""
    name = axis_name(dim)
    return name if name in DIMS else f"({dim})"


def _numbers(image: Any) -> Any:
    """Return an array of real numbers, which may be read when it is indexed."""
    if not (hasattr(image, "shape") and isinstance(getattr(image, "dtype", None), np.dtype)):
        image = np.asarray(image)
    if image.dtype.kind == "b":
        image = image.astype(np.uint8)
    if image.dtype.kind not in "iuf":
        problem = f"this array has {image.dtype} pixels, expected one real number per pixel"
        raise InputError(problem, where=NAME, remedy="convert it to an integer or float32 array")
    if 0 in image.shape:
        problem = f"this array has no pixels (shape {tuple(image.shape)})"
        raise InputError(problem, where=NAME, remedy="check how it was made")
    return image


def _dims(shape: tuple[int, ...], axes: str | None) -> tuple[str, ...]:
    """Return the dims of an array, from one letter for each.

    Raises
    ------
    InputError
    """
    if axes is None and len(shape) == 2:
        return ("y", "x")
    if axes is None:
        raise InputError(
            f"the axes of an array of shape {tuple(shape)} are not known",
            where="axes",
            remedy='name them with `axes`, such as "ZYX", or "CYX" for channels',
        )
    dims = tuple(axes.lower()) if "(" not in axes else ()
    known = set(dims) <= set(DIMS) and len(set(dims)) == len(dims)
    if not known or not {"y", "x"} <= set(dims) or len(dims) != len(shape):
        raise InputError(
            where="axes",
            found=repr(axes),
            expected=f"one letter out of TCZYX, with Y and X, for each of the {len(shape)} "
            f"dimensions of shape {tuple(shape)}",
            remedy="correct `axes`",
        )
    return dims


def _channel(image: LazyImage, channel: int | str | None, name: str) -> int:
    """Return the number of the channel to split.

    Raises
    ------
    InputError
    """
    count = image.sizes.get("c", 1)
    names = image.channels if len(image.channels) == count else ()
    remedy = "choose one with `channel`, by its name or its number, counted from 0"
    return choose_channel(names, count, channel, name, remedy=remedy)
