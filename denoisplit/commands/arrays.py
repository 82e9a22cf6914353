"""Arrays in place of image files: written as OME-TIFF, which commands read like any file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.files.outputs import check_new
from denoisplit.images import LazyImage, read_image, write_ome_tiff
from denoisplit.jobs.array_input import DIMS, ImageInMemory
from denoisplit.machine.distributed import team

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

KEPT = ".images"  # ending of the folder beside a run that holds its images
INT32 = np.iinfo(np.int32)


def takes_arrays(
    *names: str, kept: bool = False
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Let a command take arrays for files, as arguments or as values of mappings.

    An array of two dimensions is a frame, one of three are frames (T, Y, X), and an xarray has dims
    out of ``t z y x``.

    Parameters
    ----------
    names : str
        Arguments of images.
    kept : bool
        Keep the files in a folder beside ``output``, since a run needs its images again. They go if
        there is no run.
    """

    def take(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(function)
        def call(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
            bound = signature(function).bind(*arguments, **options)
            given = [name for name in names if _holds_arrays(bound.arguments.get(name))]
            if not given or not team().leads:
                return function(*arguments, **options)
            with _kept_folder(bound.arguments) if kept else _temporary_folder() as folder:
                for name in given:
                    place = folder if name == "structures" else folder / name
                    bound.arguments[name] = _as_files(bound.arguments[name], place, "image")
                return function(*bound.args, **bound.kwargs)

        return call

    return take


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def _kept_folder(arguments: Mapping[str, Any]) -> Iterator[Path]:
    """Name the folder of the images of a run; it is removed if the call makes it, but no run."""
    run = Path(arguments.get("output", "run"))
    if not arguments.get("resume"):
        check_new(run, "choose another output, or continue the training in it with `resume`")
    folder = run.with_name(run.name + KEPT)
    existed = folder.exists()
    try:
        yield folder
    finally:
        if not existed and not run.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_arrays, value.values()))
    return _is_array(value) or (isinstance(value, list | tuple) and any(map(_is_array, value)))


def _as_files(value: Any, folder: Path, name: str) -> Any:
    """Return files in place of arrays, which are written to a folder."""
    if isinstance(value, Mapping):
        return {key: _as_files(inner, folder, str(key)) for key, inner in value.items()}
    if _is_array(value):
        return _written(value, folder, name)
    if isinstance(value, list | tuple):
        return [_as_files(one, folder, f"{name}_{number}") for number, one in enumerate(value)]
    return value


def _written(array: Any, folder: Path, name: str) -> Path:
    """Write an array, or find it written.

    Raises
    ------
    InputError
        If it is no image, or another image is there.
    """
    if Path(name).name != name:
        raise InputError(
            "this name cannot be that of a file", where=name, remedy="choose another name"
        )
    axes, count = None, len(array.shape)
    if not isinstance(array, xr.DataArray):
        if count not in (2, 3):
            problem = f"an array of shape {tuple(array.shape)} is not a stack of frames"
            remedy = "provide frames (T, Y, X), or an xarray.DataArray with named dims"
            raise InputError(problem, where=name, remedy=remedy)
        axes = "TYX"[-count:]
    try:
        image = ImageInMemory.of(array, axes).image
    except InputError as error:
        raise error.replace(where=name) from None
    ordered = xr.DataArray(image.array, dims=image.dims)
    ordered = ordered.transpose(*(dim for dim in DIMS if dim in image.dims))
    pixels = _storable(ordered.data)
    dims = tuple(map(str, ordered.dims))
    path = folder / f"{name}.ome.tif"
    if path.exists():
        there = read_image(path).values
        new = np.asarray(pixels)
        if (there.dtype, there.size) == (new.dtype, new.size) and (
            there.ravel() == new.ravel()
        ).all():
            return path
        problem = "another image was written here by an earlier call"
        raise InputError(problem, where=path, remedy="choose another output, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    step = image.time_increment_s
    lazy = LazyImage(pixels, dims, (), image.pixel_size_um, path, time_increment_s=step)
    write_ome_tiff(path, lazy)
    return path


def _storable(pixels: Any) -> Any:
    """Return pixels of a type that TIFF has, with the same values."""
    kind = pixels.dtype
    if kind.kind in "iu" and kind.itemsize == 8:
        low, high = int(pixels.min()), int(pixels.max())
        return pixels.astype(np.int32 if INT32.min <= low and high <= INT32.max else np.float64)
    if kind.kind == "f" and kind.itemsize not in (4, 8):
        return pixels.astype(np.float32 if kind.itemsize == 2 else np.float64)
    return pixels.astype(kind.newbyteorder("="))
