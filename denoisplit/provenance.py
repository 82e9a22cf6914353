"""By what a result is known again: run, image and options that it was made of and with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config import MIXED
from denoisplit.errors import InputError
from denoisplit.images import LazyImage
from denoisplit.images.lazy import Plane
from denoisplit.images.zarr import is_zarr
from denoisplit.run import DENOISERS, WEIGHTS, Run

MARK = 128  # px, side of the parts that tell one large image from another


def weights_of(run: Run) -> str:
    """SHA-256 of the stored weights, and of the denoiser's that is before a splitter."""
    files = [run.path / WEIGHTS, run.path / DENOISERS / MIXED / WEIGHTS]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files if f.exists())).hexdigest()


def mark_of(image: LazyImage) -> str:
    """SHA-256 of the pixels of an image; of a Zarr, which may be huge, of nine parts a plane."""
    found = hashlib.sha256()
    for plane in image.planes():
        for part in _corners(plane) if is_zarr(image.source) else [plane[:, :]]:
            found.update(str(part.dtype).encode() + np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def _corners(plane: Plane) -> Iterator[npt.NDArray[Any]]:
    """Of the beginning, middle and end of both axes."""
    y, x = ([slice(a, a + MARK) for a in (0, (n - MARK) // 2, n - MARK)] if n > MARK
            else [slice(0, n)] for n in plane.shape)  # fmt: skip
    for rows in y:
        for columns in x:
            yield plane[rows, columns]


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
        before = stored.get(key)
        if before != now:
            raise InputError(
                place, f"{what} with another {_difference(key, before, now)}",
                "the same job, to go on with it",
                f"give the same options, or remove this {'folder' if place.is_dir() else 'file'} "
                "to begin anew",
            )  # fmt: skip


def _difference(key: str, before: Any, now: Any) -> str:
    """Its name, and both values where they are short."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        key = next(name for name in now if before.get(name) != now[name])
        before, now = before.get(key), now[key]
    short = isinstance(now, int | float | str) and len(str(now)) < 20
    return f"{key} ({before}, not {now})" if short else key
