"""By what a result is known again: run, image and options that it was made of and with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import MIXED
from denoisplit.errors import InputError, difference
from denoisplit.images import LazyImage
from denoisplit.run import DENOISERS, WEIGHTS, Run

MARK = 128  # px, side of the parts that tell one large image from another


def weights_of(run: Run) -> str:
    """SHA-256 of the stored weights, and of the denoiser's that is before a splitter."""
    files = [run.path / WEIGHTS, run.path / DENOISERS / MIXED / WEIGHTS]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files if f.exists())).hexdigest()


class Mark:
    """SHA-256 of the pixels of an image, part by part."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()

    def add(self, part: npt.NDArray[Any]) -> None:
        """In the order in which the parts always come."""
        self._found.update(str(part.dtype).encode() + np.ascontiguousarray(part).tobytes())

    def __str__(self) -> str:
        return self._found.hexdigest()


def parts_of(image: LazyImage) -> Iterator[npt.NDArray[Any]]:
    """Parts that tell one Zarr image from another: nine of each plane, all of a small one.

    Beginning, middle and end of both axes; of planes that share chunks together.
    """
    steps = dict(zip(image.dims, image.array.chunks, strict=True))
    small = image.sizes["y"] * image.sizes["x"] <= (3 * MARK) ** 2
    spans = []
    for dim, size in image.sizes.items():
        if dim not in "yx":
            spans.append([slice(a, a + steps[dim]) for a in range(0, size, steps[dim])])
        elif small or size <= MARK:
            spans.append([slice(0, size)])
        else:
            spans.append([slice(a, a + MARK) for a in (0, (size - MARK) // 2, size - MARK)])
    for key in product(*spans):
        yield image.pixels(key)


def check_same(place: Path, stored: Mapping[str, Any], told: Mapping[str, Any], what: str) -> None:
    """Refuse to go on with something that was made otherwise.

    Parameters
    ----------
    place : Path
        What was made.
    stored, told : mapping
        How it was made, and how it would be now.
    what : str
        What it is, in words.

    Raises
    ------
    InputError
        Naming the first difference.
    """
    for key, now in told.items():
        if key not in stored:
            raise InputError(
                where=place,
                found=f"{what} of another release",
                expected="one of this release",
                remedy="choose another output, or remove it to begin anew",
            )
        before = stored[key]
        if before != now:
            if isinstance(before, Mapping) and isinstance(now, Mapping):
                key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
                before, now = before.get(key), now.get(key)
            raise InputError(
                where=place,
                found=f"{what} with another {difference(key, before, now)}",
                expected="the same job, to go on with it",
                remedy="give the same options, or remove this "
                f"{'folder' if place.is_dir() else 'file'} "
                "to begin anew",
            )
