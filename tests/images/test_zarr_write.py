"""Results in OME-Zarr: metadata for viewers, pyramid, shards, and damage of unfinished ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.images.display import DISPLAY_PERCENTILES
from denoisplit.images.formats import zarr_write
from denoisplit.images.formats.zarr_write import (
    about_zarr,
    create_ome_zarr,
    writable_array,
    write_ome_zarr,
)


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


def test_damaged_channels(result: Path, tmp_path: Path) -> None:
    file = result / ".zattrs"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"omero": {"channels": [1]}}))
    with pytest.raises(InputError, match=r"\A.*this Zarr is unreadable.*\Z"):
        write_ome_zarr(tmp_path / "b.ome.zarr", result)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """An image of odd sides, two structures, and pieces that are not the parts of the result."""
    path, sizes = tmp_path / "made.ome.zarr", {"t": 3, "c": 2, "y": 75, "x": 90}
    create_ome_zarr(
        path, sizes, channels=("ER", "MT"), chunk=(32, 40), pixel_size_um={"y": 0.25, "x": 0.5},
        time_increment_s=1.5, about={"seed": 1},
    )  # fmt: skip
    pixels = np.random.default_rng(0).normal(size=tuple(sizes.values())).astype(np.float32)
    writable_array(path)[:] = pixels
    return path, pixels


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_result_is_the_image_with_its_means(
    version: Any, made: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written part by part; each level is the mean of 2 x 2 px of the one before."""
    path, expected = made
    for name, value in (("SMALLEST", 20), ("PART_SIDE", 32), ("PART", 32 * 32 * 2)):
        monkeypatch.setattr(zarr_write, name, value)
    monkeypatch.setattr(zarr_write, "CHUNK", {"0.4": 32, "0.5": 16})
    result = tmp_path / "result.ome.zarr"
    write_ome_zarr(result, path, version)
    image = read_image(result)
    xr.testing.assert_equal(image, read_image(path))
    assert image.attrs["pixel_size_um"] == {"y": 0.25, "x": 0.5}
    assert image.attrs["time_increment_s"] == 1.5
    assert image.attrs["colours"] == ("#ff3df2", "#3dff5a")
    assert about_zarr(result) == {"seed": 1}
    group = zarr.open_group(str(result), mode="r")
    attributes: Any = group.attrs.asdict()
    shown = attributes.get("ome", attributes)
    for level, dataset in enumerate(shown["multiscales"][0]["datasets"]):
        array: Any = group[dataset["path"]]
        np.testing.assert_allclose(array[:], expected, rtol=1e-6, atol=1e-7)
        scale, *shift = dataset["coordinateTransformations"]
        assert scale["scale"] == [1.5, 1, 0.25 * 2**level, 0.5 * 2**level]
        moved = [0, 0, 0.125 * (2**level - 1), 0.25 * (2**level - 1)]
        assert [one["translation"] for one in shift] == ([moved] if level else [])
        # one file per shard, each of several chunks and planes
        files = [file for file in (result / str(level)).rglob("*") if file.is_file()]
        stored = array.shards or array.chunks
        parts = [-(-n // side) for n, side in zip(array.shape, stored, strict=True)]
        assert len(files) == np.prod(parts) + (2 if version == "0.4" else 1)  # with metadata
        assert (array.shards is None) == (version == "0.4")
        odd = [(0, n % 2) for n in expected.shape[2:]]
        padded = np.pad(expected, [(0, 0), (0, 0), *odd], "edge")
        expected = padded.reshape(3, 2, padded.shape[2] // 2, 2, -1, 2).mean((3, 5))
    assert level == 3 and array.shape == (3, 2, 10, 12)
    for channel, values in zip(shown["omero"]["channels"], made[1][1], strict=True):
        limits = np.percentile(values, DISPLAY_PERCENTILES)
        assert [channel["window"][key] for key in ("start", "end")] == pytest.approx(limits)


def test_results_of_many_chunks_have_shards(
    made: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most, version in ((6, "0.4"), (5, "0.5")):
        monkeypatch.setattr(zarr_write, "MOST_FILES", most)
        write_ome_zarr(tmp_path / version, made[0])
        attributes: Any = zarr.open_group(str(tmp_path / version), mode="r").attrs.asdict()
        found = attributes.get("ome") or attributes["multiscales"][0]
        assert found["version"] == version
