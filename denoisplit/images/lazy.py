"""Images on disk, of which planes or parts are read when they are indexed."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError
from denoisplit.images.scale import check_finite, check_largest
from denoisplit.images.selection import ImageFile
from denoisplit.images.tiling import middle

if TYPE_CHECKING:
    import xarray as xr

CONTRAST_SIDE = 1024  # px, of the middle that sets the display range
# errors of code that meets values of another kind than it expects, and words in their texts
OF_PYTHON: tuple[type[Exception], ...] = (ArithmeticError, AssertionError, AttributeError)
OF_PYTHON += (LookupError, TypeError, UnicodeError, struct.error)
WORDS_OF_PYTHON = re.compile(
    r"\(\)|literal|unpack|broadcast|reshape|not convert|\bobject\b|NoneType|__|\b(int|float)\b"
)


@dataclass(frozen=True)
class LazyImage:
    """Image on disk, whose pixels are read when they are indexed."""

    array: Any  # with the dimensions `dims`; see `denoisplit.images.axes.Arranged`
    dims: tuple[str, ...]  # out of ``t c z y x``, in this order; only y and x may have length 1
    channels: tuple[str, ...]  # names: one per channel, or none for a single one without a name
    pixel_size_um: dict[str, float]  # known ones of x, y, z
    source: Path | ImageFile
    checks: Callable[[], None] | None = None  # refuses or warns of pixels that are not there
    time_increment_s: float | None = None  # between the frames, seconds
    colours: tuple[str, ...] = ()  # of the channels, "#rrggbb"; none if not all are known
    is_colour: bool = False  # the channels are red, green and blue, which are no structures
    channel: int | None = None  # number of this one in its file, if it was chosen

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension."""
        return dict(zip(self.dims, self.array.shape, strict=True))

    @property
    def nbytes(self) -> int:
        """Size of all pixels in memory, bytes."""
        return int(np.prod(self.array.shape)) * int(self.array.dtype.itemsize)

    def only(self, channel: int) -> LazyImage:
        """Return the image of one channel; the pixels of the others are not read."""
        if "c" not in self.dims:
            return replace(self, channel=channel)
        place = self.dims.index("c")
        dims = (*self.dims[:place], *self.dims[place + 1 :])
        of_one = slice(channel, channel + 1)
        return replace(
            self,
            array=OneOf(self.array, place, channel),
            dims=dims,
            channels=self.channels[of_one],
            colours=self.colours[of_one],
            is_colour=False,
            channel=channel,
        )

    def check(self) -> None:
        """Look for missing pixels, as far as this is possible without reading all others.

        Raises
        ------
        InputError
            If there are none. Of some that are missing, their number is logged.
        """
        if self.checks is not None:
            self.checks()

    def load(self) -> xr.DataArray:
        """Read the whole image; see `denoisplit.images.read_image`."""
        self.check()
        pixels = np.ascontiguousarray(self.pixels(...))
        check_finite(pixels, self.source)
        attrs = {"pixel_size_um": dict(self.pixel_size_um), "source": str(self.source)}
        known: dict[str, Any] = {"time_increment_s": self.time_increment_s, "colours": self.colours}
        attrs |= {name: value for name, value in known.items() if value}
        import xarray as xr  # it takes as long as a small prediction

        image = xr.DataArray(pixels, dims=self.dims, attrs=attrs)
        if "c" in self.dims:
            return image.assign_coords(c=list(self.channels))
        return image.assign_coords(c=self.channels[0]) if self.channels else image

    def plane(self, index: dict[str, int]) -> Plane:
        """Return one (Y, X) plane; dims that ``index`` does not name have length 1."""
        return Plane(self, index)

    def planes(self) -> Iterator[Plane]:
        """Yield all planes, in the order of the dims."""
        outer = {dim: size for dim, size in self.sizes.items() if dim not in "yx"}
        for places in product(*map(range, outer.values())):
            yield self.plane(dict(zip(outer, places, strict=True)))

    def middle(self, side: int, **index: int) -> npt.NDArray[Any]:
        """Read at most ``side`` x ``side`` px of a plane (Y, X), or (C, Y, X) for all channels.

        Dims that ``index`` does not name are taken in their middle.
        """
        y, x = middle(self.array.shape[-2:], side)
        spans: dict[str, Any] = {"c": slice(None), "y": y, "x": x, **index}
        return self.pixels(tuple(spans.get(dim, size // 2) for dim, size in self.sizes.items()))

    def middle_of_channels(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the middle of each channel, by which viewers choose a display range."""
        for channel in range(self.sizes.get("c", 1)):
            yield self.middle(CONTRAST_SIDE, c=channel)

    def pixels(self, key: Any) -> npt.NDArray[Any]:
        """Read a part of the image: an index or a slice per dimension, or ``...``.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        try:
            part: npt.NDArray[Any] = self.array[key]
        except InputError:
            raise
        except Exception as error:  # of the codec, the store, or the disk
            problem = f"a part of this image cannot be read ({first_line(error)})"
            raise InputError(problem, where=self.source, remedy="copy or write it again") from None
        return part


class Plane:
    """Plane of an image on disk, which is sliced like an array."""

    def __init__(self, image: LazyImage, index: dict[str, int]) -> None:
        self.image, self.index = image, index
        self.shape = (image.sizes["y"], image.sizes["x"])

    def __getitem__(self, where: Any) -> Any:
        """Read the pixels of a pair of slices.

        Raises
        ------
        InputError
            If they cannot be read, or some are NaN or infinite.
        """
        y, x = where
        slices = {"y": y, "x": x}
        key = tuple(slices.get(dim, self.index.get(dim, 0)) for dim in self.image.dims)
        part = self.image.pixels(key)
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            bad = np.argwhere(~np.isfinite(part))
            first = {**self.index, "y": bad[0, 0] + (y.start or 0), "x": bad[0, 1] + (x.start or 0)}
            place = ", ".join(f"{dim} {n}" for dim, n in first.items() if dim != "c")
            check_finite(part, self.image.source, f", the first at {place}")
        if part.dtype.itemsize > 2:
            check_largest(part, self.image.source)
        return part


class OneOf:
    """Part of an array at one place along a dimension, read when it is indexed."""

    def __init__(self, array: Any, dim: int, place: int) -> None:
        self.array, self.dim, self.place = array, dim, place
        self.shape, self.dtype = self._without(array.shape), array.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the parts in which the pixels are stored."""
        return self._without(self.array.chunks)

    def __getitem__(self, key: Any) -> Any:
        """Read a part: an index or a slice per dimension, or ``...``."""
        keys = (slice(None),) * len(self.shape) if key is ... else tuple(key)
        return self.array[(*keys[: self.dim], self.place, *keys[self.dim :])]

    def _without(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        return (*lengths[: self.dim], *lengths[self.dim + 1 :])


class Mapped:
    """Pixels in a file, mapped anew for each read: a lasting map keeps all read pages in memory."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any, offset: int) -> None:
        self.path, self.shape, self.dtype, self.offset = path, shape, dtype, offset

    def __getitem__(self, key: Any) -> Any:
        """Read a part."""
        whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(whole[key])


class Pages:
    """Planes of a file, which are read when they are indexed; the last one read is kept.

    Parameters
    ----------
    outer : tuple of int
        Number of pages along each dimension.
    page : tuple of int
        Shape of a page.
    dtype : dtype
    read : callable
        Yields the pages of a sequence of numbers, which count along all dimensions.
    """

    def __init__(
        self,
        outer: tuple[int, ...],
        page: tuple[int, ...],
        dtype: Any,
        read: Callable[[Sequence[int]], Iterator[npt.NDArray[Any]]],
    ) -> None:
        self.shape, self.dtype = (*outer, *page), np.dtype(dtype)
        self._outer, self._read = outer, read
        self._last: tuple[int, npt.NDArray[Any]] = (-1, np.empty(0))

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        """Read a part: an index or a slice per dimension."""
        outer, inner = key[: len(self._outer)], key[len(self._outer) :]
        places = np.arange(math.prod(self._outer)).reshape(self._outer)[outer]
        numbers = [int(number) for number in np.ravel(places)]
        number, page = self._last
        pages = [page[inner]] if numbers == [number] else []
        if not pages:
            for number, page in zip(numbers, self._read(numbers), strict=True):
                pages.append(page[inner])
                self._last = number, page
        return np.reshape(pages, (*np.shape(places), *pages[0].shape))


@contextmanager
def unreadable(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Name a damaged file, whose reader raises many types of errors.

    Raises
    ------
    InputError
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        problem = f"this {what} is unreadable ({first_line(error)})"
        raise InputError(problem, where=path, remedy=remedy) from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, shortened, if it is written for people."""
    lines = str(error).splitlines()
    if not lines or isinstance(error, OF_PYTHON) or WORDS_OF_PYTHON.search(lines[0]):
        return "a value in it is damaged, or of the wrong type"
    return lines[0][:120]
