"""Images that are refused before the first one is split."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from denoisplit.errors import InputError
from denoisplit.images import ImageFile
from denoisplit.images.formats.zarr_write import create_ome_zarr
from denoisplit.jobs.inputs import check_sides, warn_of_pixel_size, warn_of_same
from denoisplit.machine import dask_cluster as cluster

from .conftest import made

Call = Callable[..., Any]


def test_refusals(
    refused: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made(tmp_path / "mixed.ome.zarr")
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    zarr.save_array(str(tmp_path / "flat.zarr"), np.full((40, 40), 7, dtype=np.uint8))
    start = ("predict", run_folder)
    refused(*start, tmp_path / "flat.zarr", "-o", "out", says=("flat.zarr", "constant image"))
    pixels = np.linspace(20, 100, 1600, dtype=np.float32).reshape(40, 40)
    pixels[20, 21] = np.nan
    zarr.save_array(str(tmp_path / "holes.zarr"), pixels)
    refused(
        *start,
        tmp_path / "holes.zarr",
        "-o",
        "out",
        says=("NaN or infinite", "in its middle"),
    )
    refused(
        *start,
        image,
        "-o",
        "out",
        "--dask",
        "tcp://127.0.0.1:1",
        says=("--dask", "no scheduler answers"),
    )
    create_ome_zarr(tmp_path / "two.ome.zarr", {"c": 2, "y": 40, "x": 40}, channels="AB",
                    chunk=(64, 64), pixel_size_um={})  # fmt: skip
    refused(*start, tmp_path / "two.ome.zarr", "-o", "out", says=("two.ome.zarr", "2 channels"))


@pytest.mark.parametrize(
    ("size_um", "warned"),
    [({"x": 0.1, "y": 0.1}, True), ({"x": 0.0625, "z": 9.0}, False), ({}, False)],
)
def test_other_pixel_sizes_than_in_training_are_warned_of(
    size_um: dict[str, float], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    facts = SimpleNamespace(pixel_size_um={"x": 0.0625, "y": 0.0625, "z": 0.3})
    run: Any = SimpleNamespace(path=Path("er-mt"), config=SimpleNamespace(facts=facts))
    with caplog.at_level(logging.WARNING, "denoisplit"):
        warn_of_pixel_size(run, Path("mixed.tif"), size_um)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.startswith("mixed.tif: its pixels are 0.1 um") for line in lines] == [
        True
    ] * warned


def test_images_are_compared_by_all_their_pixels_whatever_their_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("denoisplit.jobs.inputs.MIDDLE", 8)
    monkeypatch.setattr("denoisplit.jobs.inputs.COMPARED", 7)
    pixels = np.random.default_rng(0).integers(0, 250, (3, 40, 50)).astype(np.uint8)
    files = [ImageFile(tmp_path / name) for name in ("a.tif", "b.zarr", "c.tif", "d.tif")]
    tifffile.imwrite(files[0].path, pixels, photometric="minisblack")
    zarr.save_array(str(files[1].path), pixels.astype(np.float32))
    tifffile.imwrite(files[3].path, pixels[:2], photometric="minisblack")
    pixels[2, -1, -1] += 1
    tifffile.imwrite(files[2].path, pixels, photometric="minisblack")
    warn_of_same([files[0], *files[2:]])
    assert caplog.messages == []
    warn_of_same(files)
    says = f"{files[1]}: this is the same image as {files[0]}, pixel by pixel"
    assert caplog.messages == [says]


def test_planes_narrower_than_the_stride_are_refused() -> None:
    run: Any = SimpleNamespace(model=SimpleNamespace(stride=16))
    check_sides(run, (16, 40), "mixed.tif")
    for sides in ((80, 3), (15, 40)):
        with pytest.raises(InputError, match=r"mixed\.tif: found planes of .* expected 16 px"):
            check_sides(run, sides, "mixed.tif")
