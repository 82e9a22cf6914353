"""Identify the run, image and options behind a result."""

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
from denoisplit.images import ImageFile, LazyImage
from denoisplit.run import DENOISERS, ERROR_MAP, WEIGHTS, Run
from denoisplit.version import __version__

COMPARED = 128  # px, side of the parts by which large Zarr images are compared
OPTIONAL = (
    "error_map",
    "interval",
    "format",
    "compression",
)  # only in the records of jobs that have them


def origin(run: Run, source: str | ImageFile) -> dict[str, str]:
    """Return what a person looks for in the record of a result: release, run and input."""
    name = ImageFile.of(source).name
    return {"denoisplit": __version__, "run": run.path.resolve().name, "input": name}


def weights_digest(run: Run) -> str:
    """Return the SHA-256 of the stored weights, including a denoiser before the splitter."""
    files = [run.path / WEIGHTS, run.path / DENOISERS / MIXED / WEIGHTS]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files if f.exists())).hexdigest()


def error_map_digest(run: Run) -> str | None:
    """Return the SHA-256 of the stored error map; None if the run has none."""
    if run.error_map is None:
        return None
    return hashlib.sha256((run.path / ERROR_MAP).read_bytes()).hexdigest()


def add_pixels(digest: hashlib._Hash, part: npt.NDArray[Any]) -> None:
    """Include a part of an image, and the type of its pixels, in a digest."""
    digest.update(str(part.dtype).encode() + np.ascontiguousarray(part).tobytes())


def compared_parts(image: LazyImage) -> Iterator[npt.NDArray[Any]]:
    """Yield the parts by which Zarr images are compared: nine of each plane, all of a small one.

    They lie at the start, middle and end of both axes. Planes that share chunks are read together.
    """
    steps = dict(zip(image.dims, image.array.chunks, strict=True))
    small = image.sizes["y"] * image.sizes["x"] <= (3 * COMPARED) ** 2
    spans = []
    for dim, size in image.sizes.items():
        if dim not in "yx":
            spans.append([slice(a, a + steps[dim]) for a in range(0, size, steps[dim])])
        elif small or size <= COMPARED:
            spans.append([slice(0, size)])
        else:
            starts = (0, (size - COMPARED) // 2, size - COMPARED)
            spans.append([slice(a, a + COMPARED) for a in starts])
    for key in product(*spans):
        yield image.pixels(key)


def check_same_record(
    path: Path, stored: Mapping[str, Any], record: Mapping[str, Any], kind: str
) -> None:
    """Refuse to resume a result or unfinished job, its ``kind``, that was made with other options.

    ``stored`` are the options that it was made with, ``record`` those of the present call.

    Raises
    ------
    InputError
        Naming the first difference.
    """
    for key in {**record, **dict.fromkeys(OPTIONAL)}:
        if key not in stored and key not in OPTIONAL:
            problem = f"this {kind} was written by another release of denoisplit"
            remedy = "choose another output, or remove it to start over"
            raise InputError(problem, where=path, remedy=remedy)
        before, now = stored.get(key), record.get(key)
        if before != now:
            if isinstance(before, Mapping) and isinstance(now, Mapping):
                key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
                before, now = before.get(key), now.get(key)
            place = "folder" if path.is_dir() else "file"
            name = key.replace("_", " ")
            problem = f"this {kind} used another {difference(name, before, now)}"
            remedy = f"pass the same options, or remove this {place} to start over"
            raise InputError(problem, where=path, remedy=remedy)
