"""Frames (Y, X) of one structure, from its image files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.files import Files, each_of, list_files, read_image
from denoisplit.images.lengths import warn_of_pixel_sizes
from denoisplit.images.scale import check_scale


@dataclass(frozen=True)
class Frames:
    """Frames of one structure, in natural order of the files."""

    images: tuple[NDArray[Any], ...]  # (Y, X) each, dtype of its file; sizes may differ
    origins: tuple[str, ...]  # path of each frame, with ``[index]`` for a frame of a stack
    files: tuple[Path, ...]  # all files, resolved
    pixel_size_um: dict[str, float]  # known ones of x, y, z, from the first file that has them


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
        As `list_files` and `read_image`, and for a file with several channels or a frame whose
        pixels all have one value.
    """
    images: list[NDArray[Any]] = []
    origins: list[str] = []
    sizes: list[tuple[Path, dict[str, float]]] = []
    listed = list_files(files)
    paths = tuple(Path(file).resolve() for file in (each_of(files) if keep_order else listed))
    for path in paths:
        image = read_image(path)
        sizes.append((path, image.attrs["pixel_size_um"]))
        stack = _planes(image)
        for index, plane in enumerate(stack):
            origin = f"{path}[{index}]" if len(stack) > 1 else str(path)
            low = np.min(plane)
            if low == np.max(plane):
                problem = f"all pixels of this frame have the value {low}"
                raise InputError(problem, where=origin, remedy="leave this frame out")
            check_scale(plane, origin)
            images.append(plane)
            origins.append(origin)
    warn_of_pixel_sizes(sizes)
    pixel_size_um = {axis: size for _, known in reversed(sizes) for axis, size in known.items()}
    return Frames(tuple(images), tuple(origins), paths, pixel_size_um)


def fingerprint(files: Files) -> list[dict[str, str | int]]:
    """Return what identifies image files, independent of their folder.

    Each file has its ``name`` (without folder), ``bytes`` (size) and ``sha256`` (hexadecimal).

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    return [_fingerprint(Path(file)) for file in each_of(files)]


def _fingerprint(file: Path) -> dict[str, str | int]:
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
    return {"name": file.name, "bytes": size, "sha256": digest.hexdigest()}


def _planes(image: xr.DataArray) -> NDArray[Any]:
    """Return the planes (t, z, Y, X) of a single channel as (frames, Y, X)."""
    if "c" in image.dims:
        names = ", ".join(str(name) for name in image["c"].values)
        problem = f"this image has {image.sizes['c']} channels ({names}), expected one structure"
        remedy = "split the channels (Fiji: Image > Color > Split Channels) and save each as a file"
        raise InputError(problem, where=image.attrs["source"], remedy=remedy)
    pixels: NDArray[Any] = image.values
    return pixels.reshape(-1, *pixels.shape[-2:])
