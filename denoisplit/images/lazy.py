"""Images on disk, of which planes or parts are read when they are indexed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.images.scale import check_largest


@dataclass(frozen=True)
class LazyImage:
    """Image on disk, whose pixels are read when they are indexed."""

    array: Any  # Zarr array, mapped or paged file, or array in memory, with the dimensions `dims`
    dims: tuple[str, ...]  # out of ``t c z y x``, in the order of the file
    channels: tuple[str, ...]  # names, if the file names every channel
    pixel_size_um: dict[str, float]  # known ones of x, y, z
    source: Path

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension."""
        return dict(zip(self.dims, self.array.shape, strict=True))

    @property
    def nbytes(self) -> int:
        """Size of all pixels in memory, bytes."""
        return int(np.prod(self.array.shape)) * int(self.array.dtype.itemsize)

    def plane(self, index: dict[str, int]) -> Plane:
        """Return one (Y, X) plane; dims that ``index`` does not name have length 1."""
        return Plane(self, index)

    def planes(self) -> Iterator[Plane]:
        """Yield all planes, in the order of the dims."""
        outer = {dim: size for dim, size in self.sizes.items() if dim not in "yx"}
        for places in product(*map(range, outer.values())):
            yield self.plane(dict(zip(outer, places, strict=True)))

    def middle(self, side: int) -> npt.NDArray[Any]:
        """Read at most ``side`` x ``side`` px of the middle plane: (C, Y, X), or (Y, X)."""
        spans = {"c": slice(None)}
        for dim in "yx":
            size = self.sizes[dim]
            spans[dim] = slice(max(0, (size - side) // 2), (size + side) // 2)
        return self.pixels(tuple(spans.get(dim, size // 2) for dim, size in self.sizes.items()))

    def pixels(self, key: Any) -> npt.NDArray[Any]:
        """Read a part of the image, in native byte order.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        try:
            part = np.asarray(self.array[key])
        except InputError:
            raise
        except Exception as error:  # of the codec, the store, or the disk
            problem = f"a part of this image cannot be read ({first_line(error)})"
            raise InputError(problem, where=self.source, remedy="copy or write it again") from None
        return part.astype(part.dtype.newbyteorder("="), copy=False)


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
        if self.image.dims.index("x") < self.image.dims.index("y"):
            part = part.T
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            bad = np.argwhere(~np.isfinite(part))
            first = {**self.index, "y": bad[0, 0] + (y.start or 0), "x": bad[0, 1] + (x.start or 0)}
            place = ", ".join(f"{dim} {n}" for dim, n in first.items() if dim != "c")
            problem = f"{len(bad)} of {part.size} pixels are NaN or infinite, the first at {place}"
            raise InputError(problem, where=self.image.source, remedy="crop or fill those pixels")
        if part.dtype.itemsize > 2:
            check_largest(part, self.image.source)
        return part


class Mapped:
    """Pixels in a file, mapped anew for each read: a lasting map keeps all read pages in memory."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any, offset: int) -> None:
        self.path, self.shape, self.dtype, self.offset = path, shape, dtype, offset

    def __getitem__(self, key: Any) -> Any:
        """Read a part."""
        whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(whole[key])


def in_memory(image: xr.DataArray) -> LazyImage:
    """Return an image in memory as a lazy one."""
    pixel_size_um, source = dict(image.attrs["pixel_size_um"]), Path(image.attrs["source"])
    return LazyImage(image.values, tuple(map(str, image.dims)), (), pixel_size_um, source)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type, shortened."""
    return (str(error) or type(error).__name__).splitlines()[0][:120]
