"""Lists of image files, and the reader of each file type."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from denoisplit.errors import InputError
from denoisplit.images.formats.czi import open_czi
from denoisplit.images.formats.lif import open_lif
from denoisplit.images.formats.mrc import open_mrc
from denoisplit.images.formats.nd2 import open_nd2
from denoisplit.images.formats.png import open_png
from denoisplit.images.formats.tiff import open_tiff
from denoisplit.images.formats.zarr import is_zarr, open_zarr
from denoisplit.images.lazy import LazyImage
from denoisplit.images.selection import ImageFile, choose_channel, matching

if TYPE_CHECKING:
    import xarray as xr

PathLike = str | Path | ImageFile
Files = Sequence[PathLike] | PathLike

# given a path, and the number of one of several images (series), None for the only one
_OPENERS: dict[str, Callable[[Path, int | None], LazyImage]] = {
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".mrc": open_mrc,
    ".zarr": open_zarr,
    ".nd2": open_nd2,
    ".czi": open_czi,
    ".lif": open_lif,
    ".png": open_png,
}
_KINDS = ", ".join(_OPENERS)
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")


def read_image(file: PathLike) -> xr.DataArray:
    """Read one image file, or a channel of it.

    Parameters
    ----------
    file : Path, str or ImageFile
        TIFF (plain, ImageJ, OME, BigTIFF; ``.tif``, ``.tiff``), MRC (``.mrc``), grey PNG
        (``.png``), Zarr and OME-Zarr folders (``.zarr``), or, with the library of an extra each,
        ND2, CZI and LIF files (``.nd2``, ``.czi``, ``.lif``). A channel is chosen by its name or
        number, ``stack.tif:ER`` or ``stack.tif:0``, one of several images by its number,
        ``stack.tif:series=2`` or ``stack.tif:series=2:ER``.

    Returns
    -------
    DataArray
        Dims out of ``t c z y x`` in this order, without those of size 1 (y and x always stay);
        dtype of the file in native byte order, bool as uint8. Channel names are the coordinate
        ``c``: one per channel, or a scalar where a single channel has a known name.
        ``attrs["pixel_size_um"]`` maps the known ones of x, y, z to micrometres;
        ``attrs["source"]`` is the file; ``attrs["time_increment_s"]`` (seconds between frames)
        and ``attrs["colours"]`` ("#rrggbb" per channel) are there if known.

    Raises
    ------
    InputError
        Missing, damaged, cut off or unsupported file, several images in one file or colours (RGB)
        of which none is chosen, an unknown channel, complex, NaN or infinite pixels, or no pixels
        at all.
    """
    return open_image(file).load()


def open_image(file: PathLike) -> LazyImage:
    """Open an image file without reading its pixels: planes or parts are read when indexed.

    Raises
    ------
    InputError
        As `read_image`; for damaged or NaN pixels when they are read.
    """
    file = ImageFile.of(file)
    path = file.path
    opener = _opener(path)
    if not is_zarr(path):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            problem = f"cannot read this file ({error.strerror})"
            remedy = "check its name and permissions"
            raise InputError(problem, where=path, remedy=remedy) from error
    image = opener(path, file.series)
    if (file.series, file.channel) != (None, None):
        image = replace(image, source=file)
    if file.channel is not None:
        names, count = image.channels, image.sizes.get("c", 1)
        return image.only(choose_channel(names, count, file.channel, path, remedy=""))
    if image.is_colour:
        problem = "this is a colour (RGB) image, expected one grey value per pixel and channel"
        remedy = f"choose one of its colours, such as {file.name}:0 for red, if it is a recording"
        raise InputError(problem, where=file, remedy=remedy)
    return image


def only_channel(image: LazyImage) -> LazyImage:
    """Return an image that must have one channel.

    Raises
    ------
    InputError
        Names the channels, and how to choose one.
    """
    if "c" in image.dims:
        file, names = ImageFile.of(image.source), image.channels
        remedy = f"choose one by its name or number, {file.name}:{names[0]} or {file.name}:0"
        choose_channel(names, image.sizes["c"], None, file, remedy=remedy)
    return image


def each_of(files: Files) -> list[PathLike]:
    """Return a list of names, also for a single one."""
    return [files] if isinstance(files, PathLike) else list(files)


def list_files(entries: Files) -> list[ImageFile]:
    """Expand files, folders and patterns to single image files.

    Parameters
    ----------
    entries : Path, str or ImageFile, or a sequence of them
        Files, folders (all image files directly in them, without hidden files), or patterns with
        ``*`` or ``?`` for shells that do not expand them. Series and channel, see `read_image`, are
        chosen of all files: ``folder:ER``, ``folder/*.tif:0``.

    Returns
    -------
    list of ImageFile
        At least one file, in natural order of their paths, ``img2`` before ``img10``: the same for
        a folder, a pattern and a list of its files, in any order.

    Raises
    ------
    InputError
        No entry, a missing file, an empty folder, an unsupported file type, or a file named twice.
    """
    files = [file for entry in each_of(entries) for file in _expand(ImageFile.of(entry))]
    if not files:
        raise InputError("no image file was given", remedy="name at least one file or folder")
    seen: set[ImageFile] = set()
    for file in files:
        _opener(file.path)
        resolved = file.resolve()
        if resolved in seen:
            raise InputError("this file is named twice", where=file, remedy="name it once")
        seen.add(resolved)
    return sorted(files, key=_natural)


def _opener(path: Path) -> Callable[[Path, int | None], LazyImage]:
    opener = open_zarr if is_zarr(path) else _OPENERS.get(path.suffix.lower())
    if path.suffix.lower() in _JPEG:
        problem = "JPEG compresses with loss, which alters the noise that the method relies on"
        raise InputError(problem, where=path, remedy="use the original recording, such as a TIFF")
    if opener is None:
        kind = f"of type {path.suffix!r}" if path.suffix else "without a type"
        problem = f"files {kind} cannot be read, only {_KINDS}"
        raise InputError(problem, where=path, remedy="save it as TIFF (Fiji: File > Save As)")
    return opener


def _expand(entry: ImageFile) -> list[ImageFile]:
    path = entry.path
    if path.exists() and (is_zarr(path) or not path.is_dir()):
        return [entry]
    files = [
        file
        for file in (path.glob("*") if path.is_dir() else matching(path))
        if file.suffix.lower() in _OPENERS and not file.name.startswith(".")
        if file.is_file() or is_zarr(file)
    ]
    if not files and path.is_dir():
        problem = f"this folder has no image files ({_KINDS})"
        raise InputError(problem, where=path, remedy="check the folder")
    if not files:
        raise InputError("no such file or folder", where=entry, remedy="check the name")
    return [replace(entry, path=file) for file in files]


def _natural(file: ImageFile) -> tuple[list[list[tuple[int, str]]], str]:
    names = (*file.path.absolute().parts, str(file.series or 0), str(file.channel or ""))
    parts = [re.findall(r"(\d+)|(\D+)", part) for part in names]
    return [[(int(n or -1), text.casefold()) for n, text in part] for part in parts], str(file)
