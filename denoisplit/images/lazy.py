"""Images on disk, of which a plane, or a part of one, is read when it is looked at."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from denoisplit.errors import InputError


@dataclass(frozen=True)
class LazyImage:
    """An image on disk.

    Attributes
    ----------
    array : array
        Of a Zarr, in the memory map of a file, or whole; one dimension per entry of `dims`.
    dims : tuple of str
        Out of ``t c z y x``, in the order of the file.
    channels : tuple of str
        Names, where the file gives one for each channel.
    pixel_size_um : dict
        Known ones of x, y, z.
    source : Path
    """

    array: Any
    dims: tuple[str, ...]
    channels: tuple[str, ...]
    pixel_size_um: dict[str, float]
    source: Path

    @property
    def sizes(self) -> dict[str, int]:
        """Dimension to length."""
        return dict(zip(self.dims, self.array.shape, strict=True))

    @property
    def nbytes(self) -> int:
        """Of all pixels."""
        return int(np.prod(self.array.shape)) * int(self.array.dtype.itemsize)

    def plane(self, index: dict[str, int]) -> Plane:
        """One (Y, X) plane, read where it is looked at; dims that are not named have length 1."""
        return Plane(self, index)

    def planes(self) -> Iterator[Plane]:
        """All of them, in the order of the dims."""
        outer = {dim: size for dim, size in self.sizes.items() if dim not in "yx"}
        for places in product(*map(range, outer.values())):
            yield self.plane(dict(zip(outer, places, strict=True)))

    def middle(self, side: int) -> npt.NDArray[Any]:
        """At most ``side`` x ``side`` px of the middle plane: (C, Y, X), or (Y, X)."""
        key = tuple(
            slice(None)
            if dim == "c"
            else size // 2
            if dim in ("t", "z")
            else slice(max(0, (size - side) // 2), (size + side) // 2)
            for dim, size in self.sizes.items()
        )
        return self.pixels(key)

    def pixels(self, key: Any) -> npt.NDArray[Any]:
        """A part of the image, native byte order.

        Raises
        ------
        InputError
            If something is damaged.
        """
        try:
            part = np.asarray(self.array[key])
        except InputError:
            raise
        except Exception as error:  # of the codec, the store, or the disk
            if hasattr(self.array, "store"):
                # zarr leaves other reads of a part pending, of which Python would tell at the end
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
                warnings.filterwarnings("ignore", "coroutine 'concurrent_map", RuntimeWarning)
            raise InputError(
                where=self.source,
                found=f"a part that cannot be read ({first_line(error)})",
                expected="a whole image",
                remedy="copy or write it again",
            ) from None
        return part.astype(part.dtype.newbyteorder("="), copy=False)


class Plane:
    """A plane of an image on disk, sliced as an array is."""

    def __init__(self, image: LazyImage, index: dict[str, int]) -> None:
        self.image = image
        self.index = index
        sizes = image.sizes
        self.shape = (sizes["y"], sizes["x"])

    def __getitem__(self, where: Any) -> Any:
        """Pixels of a pair of slices.

        Raises
        ------
        InputError
            If something is damaged, or a pixel is no finite number.
        """
        y, x = where
        ends = {"y": y, "x": x}
        key = tuple(ends.get(dim, self.index.get(dim, 0)) for dim in self.image.dims)
        part = self.image.pixels(key)
        if self.image.dims.index("x") < self.image.dims.index("y"):
            part = part.T
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            bad = np.argwhere(~np.isfinite(part))
            first = {**self.index, "y": bad[0, 0] + (y.start or 0), "x": bad[0, 1] + (x.start or 0)}
            place = ", ".join(f"{dim} {n}" for dim, n in first.items() if dim != "c")
            raise InputError(
                where=self.image.source,
                found=f"{len(bad)} NaN or infinite of {part.size} pixels, the first at {place}",
                expected="finite numbers",
                remedy="crop or fill those pixels",
            )
        return part


class Mapped:
    """Pixels in a file, mapped for each look: a map that stays keeps all that was looked at."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any, offset: int) -> None:
        self.path, self.shape, self.dtype, self.offset = path, shape, dtype, offset

    def __getitem__(self, key: Any) -> Any:
        """A copy of a part."""
        whole = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(whole[key])


def in_memory(image: xr.DataArray) -> LazyImage:
    """An image that is there already, as one on disk."""
    return LazyImage(
        image.values,
        tuple(map(str, image.dims)),
        (),
        dict(image.attrs["pixel_size_um"]),
        Path(image.attrs["source"]),
    )


def first_line(error: Exception) -> str:
    """What an error says, short."""
    return (str(error) or type(error).__name__).splitlines()[0][:120]
