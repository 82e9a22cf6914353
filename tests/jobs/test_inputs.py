"""Images that are refused before the first one is split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from denoisplit.images.zarr import create_ome_zarr
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
