"""Frames (Y, X) of one structure, from its image files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.files import Files, each_of, list_files, only_channel, open_image
from denoisplit.images.lengths import warn_of_pixel_sizes
from denoisplit.images.scale import check_scale
from denoisplit.images.selection import ImageFile

ROWS = 16  # of a frame, by which it is looked for among others
Name = TypeVar("Name")


@dataclass(frozen=True)
class Frames:
    """Frames of one structure, in natural order of the files."""

    images: tuple[NDArray[Any], ...]  # (Y, X) each, dtype of its file; sizes may differ
    origins: tuple[str, ...]  # file of each frame, with ``[index]`` for a frame of a stack
    files: tuple[ImageFile, ...]  # all files, resolved
    pixel_size_um: dict[str, float]  # known ones of x, y, z, from the first file that has them
    time_increment_s: float | None = None  # between the frames of a single file without z


def read_frames(files: Files, *, keep_order: bool = False) -> Frames:
    """Read all frames of one structure; a warning names files of different pixel sizes.

    Parameters
    ----------
    files : sequence of Path or str
        Files and folders, see `list_files`. Every t and z of a file is a frame, t slowest.
    keep_order : bool
        Take single files in the order given, not in natural order.

    Returns
    -------
    Frames
        At least one frame.

    Raises
    ------
    InputError
        As `list_files` and `read_image`, and for a file with several channels of which none is
        chosen, or a frame whose pixels all have one value.
    """
    images: list[NDArray[Any]] = []
    origins: list[str] = []
    sizes: list[tuple[ImageFile, dict[str, float]]] = []
    steps: list[float | None] = []
    listed = list_files(files)
    taken = map(ImageFile.of, each_of(files)) if keep_order else listed
    resolved = tuple(file.resolve() for file in taken)
    for file in resolved:
        image = only_channel(open_image(file))
        sizes.append((file, image.pixel_size_um))
        steps.append(None if "z" in image.dims else image.time_increment_s)
        pixels = image.load().values
        stack = pixels.reshape(-1, *pixels.shape[-2:])
        for index, plane in enumerate(stack):
            origin = f"{file}[{index}]" if len(stack) > 1 else str(file)
            low = np.min(plane)
            if low == np.max(plane):
                problem = f"all pixels of this frame have the value {low}"
                raise InputError(problem, where=origin, remedy="leave this frame out")
            check_scale(plane, origin)
            images.append(plane)
            origins.append(origin)
    warn_of_pixel_sizes(sizes)
    pixel_size_um = {axis: size for _, known in reversed(sizes) for axis, size in known.items()}
    step = steps[0] if len(steps) == 1 else None
    return Frames(tuple(images), tuple(origins), resolved, pixel_size_um, step)


def equal_images(
    images: Iterable[tuple[Name, Any]],
    key: Callable[[Any], bytes] | None = None,
    are_equal: Callable[[Any, Any], bool] = np.array_equal,
) -> Iterator[tuple[Name, Name]]:
    """Yield the names of each two images with equal pixels, the earlier one first.

    Parameters
    ----------
    images : iterable of (name, array)
    key : callable, optional
        Returns what equal images have in common; by default some rows of an array.
    are_equal : callable
        Compares two images of one key.
    """
    seen: dict[bytes, list[tuple[Name, Any]]] = {}
    for name, image in images:
        others = seen.setdefault((key or pixel_key)(image), [])
        yield from ((first, name) for first, other in others if are_equal(other, image))
        others.append((name, image))


def pixel_key(image: NDArray[Any], *more: int) -> bytes:
    """Return the same for images of equal pixels, whatever their type."""
    rows = image[:: max(1, len(image) // ROWS)].astype(np.float64)
    return hashlib.sha256(f"{image.shape}{more}".encode() + rows.tobytes()).digest()


def fingerprint(files: Files) -> list[dict[str, str | int]]:
    """Return what identifies image files, independent of their folder.

    Each file has its ``name`` (without folder), ``bytes`` (size) and ``sha256`` (hexadecimal), and
    the number of the ``series`` and of the ``channel`` if these were chosen.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    return [_fingerprint(ImageFile.of(file)) for file in each_of(files)]


def identity(fingerprint: Mapping[str, Any]) -> tuple[str, int, int]:
    """Return what is equal in the fingerprints of the same image: file, series and channel."""
    return (
        str(fingerprint["sha256"]),
        int(fingerprint.get("series", 0)),
        int(fingerprint.get("channel", 0)),
    )


def _fingerprint(image: ImageFile) -> dict[str, str | int]:
    file = image.path
    parts = sorted(p for p in file.rglob("*") if p.is_file()) if file.is_dir() else [file]
    digest, size = hashlib.sha256(), 0
    try:
        for part in parts:  # one, unless the image is a folder
            if file.is_dir():
                digest.update(part.relative_to(file).as_posix().encode() + b"\0")
            with part.open("rb") as stream:
                hashlib.file_digest(stream, lambda: digest)
                size += stream.tell()
    except OSError as error:
        problem = f"cannot read this file ({error.strerror})"
        raise InputError(problem, where=file, remedy="check its name and permissions") from error
    chosen = {"series": image.series}
    if image.channel is not None:
        chosen["channel"] = open_image(image).channel
    known = {key: number for key, number in chosen.items() if number is not None}
    return {"name": image.name, "bytes": size, "sha256": digest.hexdigest(), **known}
