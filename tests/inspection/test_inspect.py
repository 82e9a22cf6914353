"""What ``denoisplit inspect`` says of images, runs and packages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray as xr

import denoisplit
from denoisplit.errors import InputError
from denoisplit.images import write_ome_tiff
from denoisplit.images.formats.zarr_write import create_ome_zarr, writable_array
from denoisplit.inspection.images import size_text
from denoisplit.run import CALIBRATION

from ..packaging.conftest import ABOUT, SMALL

MAXIMUM = 4095


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose speed is known and need not be measured."""
    monkeypatch.setattr("denoisplit.inspection.suitability.seconds_per_pixel", lambda *_: 1e-6)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(200, shape).astype(np.uint16)


def ome(path: Path, *, channels: int = 2) -> Path:
    image = xr.DataArray(pixels(3, channels, 64, 80), dims=("t", "c", "y", "x"))
    image = image.assign_coords(c=["ER", "MT", "CCP"][:channels])
    image = image.assign_attrs(pixel_size_um={"y": 0.1, "x": 0.1}, time_increment_s=2.5)
    write_ome_tiff(path, image)
    return path


def test_an_image_with_channels(tmp_path: Path) -> None:
    record = denoisplit.inspect(ome(tmp_path / "a.ome.tif"))
    assert json.loads(json.dumps(record)) == record
    assert record["kind"] == "image" and record["format"] == "OME-TIFF"
    assert record["sizes"] == {"t": 3, "c": 2, "y": 64, "x": 80}
    assert record["pixel_size_um"] == pytest.approx({"x": 0.1, "y": 0.1})
    assert [channel["name"] for channel in record["channels"]] == ["ER", "MT"]
    whole = tifffile.imread(tmp_path / "a.ome.tif")
    for number, channel in enumerate(record["channels"]):
        part = whole[:, number]
        assert (channel["low"], channel["high"]) == (part.min(), part.max())
        assert channel["mean"] == pytest.approx(part.mean())
        assert channel["noise"]["std"] == pytest.approx(200**0.5, rel=0.1)
        assert channel["looked_at"] == 1 and channel["not_finite"] == 0
    text = str(record)
    assert "axes: t 3, c 2, y 64, x 80" in text and "channel 1 (MT)" in text
    assert record["time_increment_s"] == 2.5 and "time between frames: 2.5 s" in text


def test_saturation_is_seen_below_the_end_of_the_type(tmp_path: Path) -> None:
    image = np.minimum(pixels(96, 96) * 20, MAXIMUM).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image)
    (channel,) = denoisplit.inspect(tmp_path / "a.tif")["channels"]
    share = float((image == MAXIMUM).mean())
    assert channel["saturation"]["high"] == {"value": MAXIMUM, "share": pytest.approx(share)}


def test_pixels_that_no_command_takes_are_counted(tmp_path: Path) -> None:
    image = np.float32(pixels(40, 40))
    image[0, :3] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / "a.tif", image)
    record = denoisplit.inspect(str(tmp_path / "a.tif"))
    assert record["channels"][0]["not_finite"] == 3
    assert record["channels"][0]["mean"] == pytest.approx(image[np.isfinite(image)].mean())
    assert "3 pixels are NaN or infinite" in str(record) and "noise: not estimated" in str(record)


@pytest.mark.parametrize(
    "image",
    [np.full((40, 40), 7, np.uint16), np.full((2, 9), np.nan), 1e300 * pixels(40, 40)],
)
def test_an_image_without_noise(image: np.ndarray) -> None:
    record = denoisplit.inspect(image)
    assert record["format"] == "array in memory" and record["channels"][0]["noise"] is None
    json.dumps(record, allow_nan=False)


def test_formats(tmp_path: Path) -> None:
    create_ome_zarr(
        tmp_path / "a.ome.zarr", {"t": 1, "c": 1, "y": 40, "x": 50}, channels=("a",),
        chunk=(32, 32), pixel_size_um={},
    )  # fmt: skip
    writable_array(tmp_path / "a.ome.zarr")[:] = np.float32(pixels(1, 1, 40, 50))
    assert denoisplit.inspect(tmp_path / "a.ome.zarr")["format"].startswith("OME-Zarr 0.")
    plain = pixels(40, 50)
    for name, options, expected in (
        ("i.tif", {"imagej": True}, "ImageJ TIFF"),
        ("b.tif", {"bigtiff": True}, "TIFF, BigTIFF"),
        ("z.tif", {"compression": "zlib"}, "TIFF, ADOBE_DEFLATE compression"),
    ):
        tifffile.imwrite(tmp_path / name, plain, **options)
        assert denoisplit.inspect(tmp_path / name)["format"] == expected


def test_large_images_are_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("denoisplit.inspection.images.MOST_PIXELS", 64 * 64)
    tifffile.imwrite(tmp_path / "a.tif", pixels(10, 64, 80), photometric="minisblack")
    record = denoisplit.inspect(tmp_path / "a.tif")
    assert record["channels"][0]["looked_at"] == pytest.approx(64 * 64 / (10 * 64 * 80))
    assert "of 8 % of the pixels" in str(record)


def test_a_folder(tmp_path: Path) -> None:
    for number in (10, 2):
        tifffile.imwrite(tmp_path / f"a{number}.tif", pixels(40, 50))
    record = denoisplit.inspect(tmp_path)
    assert record["kind"] == "images"
    assert [Path(image["file"]).name for image in record["images"]] == ["a2.tif", "a10.tif"]
    assert str(record).count("axes: y 40, x 50") == 2


def test_what_an_image_lacks_for_a_run(run_folder: Path, tmp_path: Path) -> None:
    def problems(image: Any) -> str:
        return "; ".join(denoisplit.inspect(image, run=run)["suitability"]["problems"])

    run = denoisplit.load(run_folder)
    usual = np.random.default_rng(0).normal(200, 25, (64, 64)).astype(np.float32)
    sized = xr.DataArray(usual, dims=("y", "x"), attrs={"pixel_size_um": {"y": 0.1, "x": 0.1}})
    assert problems(sized) == ""
    assert "0.2 um along x" in problems(sized.assign_attrs(pixel_size_um={"x": 0.2}))
    assert "its mean is 798" in problems(4 * usual)
    assert "std 2.5" in problems(usual.mean() + (usual - usual.mean()) / 10)
    assert "narrower than" in problems(usual[:, : run.model.stride - 1])
    assert "2 channels" in problems(ome(tmp_path / "a.ome.tif"))
    assert "of one value" in problems(np.ones((64, 64)))


def test_the_cost_of_a_prediction(run_folder: Path) -> None:
    small, large = (
        denoisplit.inspect(pixels(side, side), run=run_folder)["suitability"]["prediction"]
        for side in (64, 640)
    )
    assert small["bytes_per_result"] == 2 * 4 * 64**2
    # planes of 64 px are wider by the halo of 32 px on each side
    assert small["seconds"] == pytest.approx(50 * 1e-6 * (64 + 64) ** 2, rel=0.05)
    assert large["seconds"] > 30 * small["seconds"]
    assert "with 50 samples" in str(denoisplit.inspect(pixels(64, 64), run=run_folder))


def test_a_run(mapped_folder: Path) -> None:
    record = denoisplit.inspect(mapped_folder)
    assert record == denoisplit.inspect(denoisplit.load(mapped_folder))
    assert json.loads(json.dumps(record)) == record
    assert record["kind"] == "run" and record["structures"] == ["ER", "F-actin (60x)"]
    assert record["error_map"] and record["intervals"] == [0.5, 0.9]
    assert record["calibration"] == {"ER": 1.25, "F-actin (60x)": 0.75}
    text = str(record)
    assert "the sum of ER, F-actin (60x)" in text and "verdict: none" in text
    assert "intervals of 0.5, 0.9" in text and len(record.lines) <= 12


def test_a_run_that_is_not_finished(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / CALIBRATION).unlink()
    record = denoisplit.inspect(tmp_path / "run")
    assert not record["finished"]
    assert "denoisplit train --resume" in str(record)


def test_a_package(run_folder: Path, tmp_path: Path, light: None) -> None:
    path = denoisplit.export(run_folder, tmp_path / "p.zip", about=ABOUT, **SMALL)
    record = denoisplit.inspect(path)
    assert json.loads(json.dumps(record)) == record
    assert record["package_kind"] == "mmse" and record["structures"] == ["ER", "F-actin (60x)"]
    assert record["weights"] == ["pytorch_state_dict", "torchscript", "onnx"]
    assert record["authors"] == ["Ada L."] and record["license"] == "MIT"
    assert record["denoisplit"] == denoisplit.__version__ and not record["changed"]
    assert "weights: pytorch_state_dict, torchscript, onnx" in str(record)


def test_runs_are_not_compared_with_runs(run_folder: Path) -> None:
    with pytest.raises(InputError, match="only images"):
        denoisplit.inspect(run_folder, run=run_folder)


def test_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_bytes(b"no archive")
    (tmp_path / "text.txt").write_text("no image")
    for name in ("p.zip", "text.txt", "none.tif", "."):
        with pytest.raises(InputError):
            denoisplit.inspect(tmp_path / name / ("empty" if name == "." else ""))


def test_sizes_in_words() -> None:
    assert [size_text(n) for n in (12, 1500, 3.3e6, 4.25e12)] == [
        "12 bytes", "1.5 kB", "3.3 MB", "4.25e+03 GB"
    ]  # fmt: skip
