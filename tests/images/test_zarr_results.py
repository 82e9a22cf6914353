"""Results that were damaged before a job goes on are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from denoisplit.errors import InputError
from denoisplit.images.formats.zarr import create_ome_zarr, set_display_range, writable_array


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "a.ome.zarr"
    sizes = {"c": 1, "y": 32, "x": 32}
    create_ome_zarr(path, sizes, channels=("a",), chunk=(32, 32), pixel_size_um={})
    writable_array(path)[:] = 1
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "<u2"},
        {"order": float("nan")},
        {"filters": [{"id": "pickle"}]},
        {"shape": 1},
        {"compressor": {"id": "blosc", "clevel": 99}},
        {"compressor": {"id": "blosc", "shuffle": None}},
    ],
)
def test_damaged_metadata_of_an_array(change: dict[str, Any], result: Path) -> None:
    file = result / "0" / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=r"\A.*this Zarr is unreadable.*\Z"):
        writable_array(result)


@pytest.mark.parametrize("change", [{"omero": None}, {"omero": {"channels": [1]}}])
def test_damaged_channels(change: dict[str, Any], result: Path) -> None:
    file = result / ".zattrs"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=r"\A.*this Zarr is unreadable.*\Z"):
        set_display_range(result)
