"""Zarr and OME-Zarr: axes, names, pixel size, planes on disk, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from denoisplit.errors import InputError
from denoisplit.images import list_files, read_frames, read_image
from denoisplit.images.formats.zarr import is_zarr, open_zarr
from denoisplit.images.formats.zarr_write import chunk_file, create_ome_zarr, writable_array
from denoisplit.images.frames import fingerprint


def written(path: Path, **more: Any) -> np.ndarray:
    """An image of ours, filled: t c y x."""
    sizes = {"t": 2, "c": 3, "y": 50, "x": 70}
    create_ome_zarr(
        path, sizes, channels=("A", "B", "C"), chunk=(32, 48), pixel_size_um={"y": 0.1, "x": 0.2}
    )
    pixels = np.random.default_rng(0).random(tuple(sizes.values())).astype(np.float32)
    writable_array(path)[:] = pixels
    return pixels


def test_what_was_written_is_read(tmp_path: Path) -> None:
    pixels = written(tmp_path / "a.ome.zarr")
    image = read_image(tmp_path / "a.ome.zarr")
    assert image.dims == ("t", "c", "y", "x") and list(image["c"].values) == ["A", "B", "C"]
    assert image.attrs["pixel_size_um"] == {"y": 0.1, "x": 0.2}
    np.testing.assert_array_equal(image.values, pixels)
    plane = open_zarr(tmp_path / "a.ome.zarr").plane({"t": 1})
    assert plane.shape == (50, 70)
    np.testing.assert_array_equal(plane[3:9, 60:70], pixels[1, 0, 3:9, 60:70])


def test_a_chunk_that_is_set_is_a_file_even_if_it_is_all_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    create_ome_zarr(path, {"c": 1, "y": 20, "x": 30}, channels="A", chunk=(16, 16),
                    pixel_size_um={})  # fmt: skip
    assert not chunk_file(path, (0, 0, 1)).exists()
    writable_array(path)[:, :16, 16:30] = np.zeros((1, 16, 14), dtype=np.float32)
    assert chunk_file(path, (0, 0, 1)).is_file()
    assert not chunk_file(path, (0, 0, 0)).exists()


def test_the_metadata_is_ome_zarr(tmp_path: Path) -> None:
    """What the specification 0.4 asks for."""
    written(tmp_path / "a.ome.zarr")
    stored = json.loads((tmp_path / "a.ome.zarr" / ".zattrs").read_text())
    (scales,) = stored["multiscales"]
    assert scales["version"] == "0.4"
    assert [(a["name"], a["type"]) for a in scales["axes"]] == [
        ("t", "time"), ("c", "channel"), ("y", "space"), ("x", "space"),
    ]  # fmt: skip
    assert scales["axes"][3]["unit"] == "micrometer"
    (dataset,) = scales["datasets"]
    assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1, 1, 0.1, 0.2]}]
    for channel in stored["omero"]["channels"]:
        assert len(channel["color"]) == 6 and set(channel["window"]) == {
            "min",
            "max",
            "start",
            "end",
        }
    array = json.loads((tmp_path / "a.ome.zarr" / "0" / ".zarray").read_text())
    assert array["dimension_separator"] == "/" and array["dtype"] == "<f4"


@pytest.mark.parametrize("version", [2, 3])
def test_images_of_others(version: Any, tmp_path: Path) -> None:
    """OME-Zarr 0.4 and 0.5, several resolutions, z, nanometres; and plain arrays."""
    pixels = np.random.default_rng(0).integers(0, 99, (4, 30, 20), dtype=np.uint16)
    scales = [
        {
            "axes": [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"],
            "datasets": [
                {"path": p, "coordinateTransformations": [{"type": "scale", "scale": s}]}
                for p, s in (("s0", [300, 100, 100]), ("s1", [300, 200, 200]))
            ],
        }
    ]
    ome: dict[str, Any] = {"multiscales": scales}
    group = zarr.create_group(
        str(tmp_path / "b.zarr"), zarr_format=version,
        attributes=ome if version == 2 else {"ome": ome | {"version": "0.5"}},
    )  # fmt: skip
    group.create_array("s0", data=pixels, chunks=(1, 16, 16))
    group.create_array("s1", data=pixels[:, ::2, ::2])
    image = read_image(tmp_path / "b.zarr")
    assert image.dims == ("z", "y", "x")
    assert image.attrs["pixel_size_um"] == pytest.approx({"z": 0.3, "y": 0.1, "x": 0.1})
    np.testing.assert_array_equal(image.values, pixels)
    zarr.save_array(str(tmp_path / "plain.zarr"), pixels, zarr_format=version)
    plain = read_image(tmp_path / "plain.zarr")
    assert plain.dims == ("t", "y", "x") or plain.dims == ("z", "y", "x")
    np.testing.assert_array_equal(plain.values, pixels)


def test_folders_of_images_and_training_frames(tmp_path: Path) -> None:
    """A Zarr folder is one image, also inside a folder of images; its content is its mark."""
    written(tmp_path / "all" / "b.ome.zarr")
    for name, number in (("a.zarr", 1), ("c.zarr", 2)):
        zarr.save_array(str(tmp_path / "all" / name), number + np.eye(40, dtype=np.uint8))
    assert is_zarr(tmp_path / "all" / "a.zarr") and not is_zarr(tmp_path / "all")
    names = [path.name for path in list_files([tmp_path / "all"])]
    assert names == ["a.zarr", "b.ome.zarr", "c.zarr"]
    frames = read_frames([tmp_path / "all" / "a.zarr"])
    assert frames.images[0].shape == (40, 40)
    one, two = (fingerprint(tmp_path / "all" / name)[0] for name in ("a.zarr", "c.zarr"))
    assert one["bytes"] and one["sha256"] != two["sha256"]
    assert fingerprint(tmp_path / "all" / "a.zarr")[0] == one


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    zarr.create_group(str(tmp_path / "empty.zarr"))
    zarr.save_array(str(tmp_path / "complex.zarr"), np.zeros((4, 4), dtype=np.complex64))
    zarr.save_array(str(tmp_path / "line.zarr"), np.zeros(4, dtype=np.uint8))
    for name, problem in (
        ("broken", "this Zarr is unreadable"),
        ("empty", "this Zarr group is not an OME-Zarr image"),
        ("complex", "complex64"),
        ("line", "expected y and x"),
    ):
        with pytest.raises(InputError) as caught:
            read_image(tmp_path / f"{name}.zarr")
        assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_pixels_that_are_no_numbers_are_found_where_they_are_read(tmp_path: Path) -> None:
    pixels = np.ones((40, 40), dtype=np.float32)
    pixels[30, 35] = np.nan
    zarr.save_array(str(tmp_path / "a.zarr"), pixels)
    plane = open_zarr(tmp_path / "a.zarr").plane({})
    assert plane[:20, :20].sum() == 400
    with pytest.raises(InputError, match="1 of 192 pixels are NaN or infinite, .* y 30, x 35"):
        plane[16:40, 32:40]


@pytest.mark.parametrize(("count", "dims"), [(2, "yx"), (3, "zyx"), (4, "tzyx"), (5, "tczyx")])
def test_dims_without_names(count: int, dims: str, tmp_path: Path) -> None:
    """As in the other formats; messages name the position of an invalid pixel by them."""
    sizes = {"t": 2, "c": 1, "z": 3, "y": 20, "x": 30}
    pixels = np.ones([sizes[dim] for dim in dims], dtype=np.float32)
    pixels[..., 7, 9].flat[-1:] = np.nan
    zarr.save_array(str(tmp_path / "a.zarr"), pixels)
    image = open_zarr(tmp_path / "a.zarr")
    assert image.dims == tuple(dims.replace("c", "")) and len(dims) == count  # c has length 1
    with pytest.raises(InputError, match="y 7, x 9" if count < 3 else "z 2, y 7, x 9"):
        [plane[:, :] for plane in image.planes()]


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    written(path)
    chunk = chunk_file(path, (0, 0, 0, 0))
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(InputError, match="a part of this image cannot be read"):
        read_image(path)
    with pytest.raises(InputError, match="a part of this image cannot be read"):
        open_zarr(path).plane({"t": 0})[:9, :9]


def test_a_failed_read_leaves_no_trace(tmp_path: Path) -> None:
    """No pending task of Zarr is reported at exit, and no warning or logger is silenced for it."""
    path = str(tmp_path / "a.zarr")
    array = zarr.create_array(path, shape=(64, 64), chunks=(4, 4), dtype="uint16")
    array[:] = np.random.default_rng(0).integers(1, 999, (64, 64))
    for chunk in sorted(Path(path, "c").rglob("*"))[20:90]:
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:9])
    code = (
        "import logging, sys, warnings\n"
        "from denoisplit.errors import InputError\n"
        "from denoisplit.images import open_image\n"
        "image = open_image(sys.argv[1])\n"
        "before = list(warnings.filters), logging.getLogger('asyncio').level\n"
        "for _ in range(3):\n"
        "    try:\n"
        "        image.plane({})[:, :]\n"
        "    except InputError:\n"
        "        print('damaged')\n"
        "assert before == (list(warnings.filters), logging.getLogger('asyncio').level)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, path]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, ["damaged"] * 3, "")
