"""Images that are split piece by piece, and what came out; the run is that of the commands."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from denoisplit.images import read_image, write_ome_tiff
from denoisplit.images.formats.zarr_write import create_ome_zarr, writable_array
from denoisplit.run import ERROR_MAP, load, save_error_map

from ..commands.conftest import _in_an_empty_folder as _in_an_empty_folder
from ..commands.conftest import bench as bench
from ..commands.conftest import call as call
from ..commands.conftest import refused as refused
from ..commands.conftest import run_folder as trained_folder  # noqa: F401
from ..commands.conftest import trained as trained
from ..commands.conftest import works as works
from ..network.test_error_map import random_error_map

MAPPED = ("split", "std", "spread", "low", "high", "samples")  # of a run with an error map
OPTIONS = ("--samples", "3", "--keep-samples", "2", "--tile", "32", "--halo", "16")
KINDS = ("split", "std", "samples")
SHAPE = (2, 75, 66)  # t, y, x of images
PIECES = 2 * 2 * 2


@pytest.fixture(scope="package")
def run_folder(
    trained_folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run of the commands without an error map."""
    path = Path(shutil.copytree(trained_folder, tmp_path_factory.mktemp("plain") / "er-mt"))
    (path / ERROR_MAP).unlink(missing_ok=True)
    return path


@pytest.fixture(scope="package")
def mapped_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an untrained error map, which has intervals of 0.5 and 0.9."""
    return with_error_map(run_folder, tmp_path_factory.mktemp("mapped") / "er-mt")


def with_error_map(run_folder: Path, path: Path) -> Path:
    shutil.copytree(run_folder, path)
    save_error_map(random_error_map(load(path, device="cpu").model), path)
    return path


@pytest.fixture(params=["zarr", "tif"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two planes, t, y, x as in SHAPE."""
    return made(tmp_path / f"mixed.ome.{request.param}")


def made(path: Path, seed: int = 0, *, dark: float = 0.0) -> Path:
    pixels = np.random.default_rng(seed).uniform(20, 100, SHAPE).astype(np.float32) - dark
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".tif":
        sizes = {"pixel_size_um": {"y": 0.125, "x": 0.0625}}
        write_ome_tiff(path, xr.DataArray(pixels, dims=("t", "y", "x"), attrs=sizes))
        return path
    t, y, x = SHAPE
    create_ome_zarr(
        path, {"t": t, "c": 1, "y": y, "x": x}, channels=("mixed",), chunk=(64, 64),
        pixel_size_um={"y": 0.125, "x": 0.0625},
    )  # fmt: skip
    writable_array(path)[:] = pixels[:, None]
    return path


def results(folder: str, kinds: Sequence[str] = KINDS) -> dict[str, np.ndarray]:
    """The results of the one image, which are of its kind."""
    paths = {kind: list(Path(folder).glob(f"mixed_{kind}.ome.*")) for kind in kinds}
    assert all(len(some) == 1 for some in paths.values()), paths
    return {kind: read_image(path).values for kind, (path,) in paths.items()}


def named(image: Path, *kinds: str) -> list[str]:
    return sorted(f"mixed_{kind}.ome{image.suffix}" for kind in kinds)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for kind in a:
        np.testing.assert_array_equal(a[kind], b[kind])
