"""Images -> OME-TIFF: the same image comes back, and a crash leaves no half file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray as xr

import denoisplit.images.write as write_module
from denoisplit.errors import InputError
from denoisplit.images import read_image, write_ome_tiff
from denoisplit.images.display import display_limits
from denoisplit.images.lengths import to_seconds

RNG = np.random.default_rng(0)
SIZES = {"t": 2, "c": 3, "z": 4, "y": 5, "x": 6}


def _image(dims: str, dtype: str = "float32") -> xr.DataArray:
    array = RNG.normal(100, 20, [SIZES[dim] for dim in dims]).astype(dtype)
    coords = {"c": ["ER", "MT", "Zellkerne µ"]} if "c" in dims else {}
    pixels = {"x": 0.065, "y": 0.07, **({"z": 0.3} if "z" in dims else {})}
    return xr.DataArray(array, dims=list(dims), coords=coords, attrs={"pixel_size_um": pixels})


@pytest.mark.parametrize("dims", ["yx", "cyx", "tyx", "zyx", "tcyx", "czyx", "tzyx", "tczyx"])
@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
def test_what_is_written_is_read_back(tmp_path: Path, dims: str, dtype: str) -> None:
    image = _image(dims, dtype)
    write_ome_tiff(tmp_path / "a.ome.tif", image)
    back = read_image(tmp_path / "a.ome.tif")
    assert back.dims == tuple(dims)
    assert back.dtype == image.dtype
    xr.testing.assert_equal(back, image)
    assert back.attrs["pixel_size_um"] == image.attrs["pixel_size_um"]
    assert os.listdir(tmp_path) == ["a.ome.tif"]


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_other_readers_see_what_a_viewer_shows(tmp_path: Path, compression: Any) -> None:
    """Time, names and colours in OME-XML, and in the description and tags of ImageJ."""
    colours, path = ("#ff3df2", "#3dff5a", "#000080"), tmp_path / "a.ome.tif"
    image = _image("tczyx").assign_attrs(time_increment_s=2.5, colours=colours)
    image.attrs["pixel_size_um"] = {"x": 0.1, "y": 0.2, "z": 0.3}
    write_ome_tiff(path, image, compression=compression)
    back = read_image(path)
    xr.testing.assert_equal(back, image)
    assert back.attrs["time_increment_s"] == 2.5 and back.attrs["colours"] == colours
    with tifffile.TiffFile(path) as tif:
        assert tif.series[0].axes == "TZCYX"  # in which ImageJ counts planes
        shown = tif.imagej_metadata
        assert tif.pages.first.compression == (1 if compression == "none" else 8)
    assert shown is not None
    assert [shown[key] for key in ("channels", "slices", "frames", "mode")] == [
        3, 4, 2, "composite"
    ]  # fmt: skip
    assert (shown["unit"], shown["finterval"]) == ("cm", 2.5)
    assert shown["spacing"] == pytest.approx(0.3e-4)
    assert shown["Labels"] == [str(name) for name in image["c"].values] * 8
    assert [tuple(lut[:, 255]) for lut in shown["LUTs"]] == [
        (255, 61, 242), (61, 255, 90), (0, 0, 128)
    ]  # fmt: skip
    middle = image.isel(t=1, z=2)
    ranges = [display_limits(middle.isel(c=c).values) for c in range(3)]
    np.testing.assert_allclose(np.reshape(shown["Ranges"], (3, 2)), ranges)


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("millisecond", 1e-3), ("sec", 1), ("min", 60),
     ("minutes", 60), ("hour", 3600), ("h", 3600), ("day", 86400), ("frame", None), (None, None)],
)  # fmt: skip
def test_times_in_seconds(unit: str | None, seconds: float | None) -> None:
    assert to_seconds(2, unit) == (seconds and pytest.approx(2 * seconds))
    assert to_seconds("0,5", unit) is None and to_seconds(0, unit) is None


def test_the_frame_interval_of_imagej_is_read(tmp_path: Path) -> None:
    stack = np.zeros((3, 8, 8), np.float32)
    metadata = {"axes": "TYX", "finterval": 500, "tunit": "ms"}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata=metadata)
    assert read_image(tmp_path / "a.tif").attrs["time_increment_s"] == 0.5


def test_a_single_channel_keeps_its_name_and_unknown_pixel_size_stays_unknown(
    tmp_path: Path,
) -> None:
    image = xr.DataArray(_image("yx").values, dims=["y", "x"], coords={"c": "ER"})
    write_ome_tiff(tmp_path / "a.tif", image)
    back = read_image(tmp_path / "a.tif")
    assert back["c"].item() == "ER"
    assert back.attrs["pixel_size_um"] == {}
    xr.testing.assert_equal(back, image)


def test_dims_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    image = _image("tcyx")
    write_ome_tiff(tmp_path / "a.tif", image.transpose("y", "c", "x", "t"))
    xr.testing.assert_equal(read_image(tmp_path / "a.tif"), image)


def test_other_software_sees_grey_planes_and_the_pixel_size(tmp_path: Path) -> None:
    """Three channels are three pages, never RGB; resolution tags serve readers without OME."""
    write_ome_tiff(tmp_path / "a.ome.tif", _image("cyx"))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert tif.is_ome
        assert not tif.is_bigtiff
        assert len(tif.pages) == 3
        page = tif.pages.first
        assert page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert page.samplesperpixel == 1
        assert page.compression == tifffile.COMPRESSION.NONE
        count, per = page.tags["XResolution"].value
        assert 1e4 * per / count == pytest.approx(0.065)


def test_large_images_become_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_module, "_BIG", 100)
    image = _image("cyx")
    write_ome_tiff(tmp_path / "a.tif", image)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
    xr.testing.assert_equal(read_image(tmp_path / "a.tif"), image)


def test_existing_file_is_kept_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    first, second = _image("yx"), _image("yx")
    path = tmp_path / "a.tif"
    write_ome_tiff(path, first)
    with pytest.raises(InputError, match="this file exists already"):
        write_ome_tiff(path, second)
    xr.testing.assert_equal(read_image(path), first)
    write_ome_tiff(path, second, overwrite=True)
    xr.testing.assert_equal(read_image(path), second)


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_interruption_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    path = tmp_path / "a.tif"
    old = _image("yx")
    write_ome_tiff(path, old)

    def half(*_: object) -> None:
        (temporary,) = (file for file in tmp_path.iterdir() if file != path)
        assert temporary.name.startswith(".")
        raise failure

    monkeypatch.setattr(write_module, "_write", half)
    with pytest.raises(failure):
        write_ome_tiff(path, _image("yx"), overwrite=True)
    assert os.listdir(tmp_path) == ["a.tif"]
    xr.testing.assert_equal(read_image(path), old)


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit on Windows")
def test_full_disk_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """In a process of its own whose files may not grow beyond 100 kB; the image needs 4 MB."""
    code = (
        "import resource, sys, numpy as np, xarray as xr\n"
        "from denoisplit.errors import InputError\n"
        "from denoisplit.images import write_ome_tiff\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "image = xr.DataArray(np.ones((1000, 1000), 'float32'), dims=['y', 'x'])\n"
        "try:\n"
        "    write_ome_tiff(sys.argv[1], image)\n"
        "except InputError as error:\n"
        "    sys.exit(str(error))\n"
    )
    target = str(tmp_path / "a.tif")
    command = [sys.executable, "-W", "error", "-c", code, target]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith(target)
    assert "cannot write this file of 4.0 MB" in run.stderr
    assert os.listdir(tmp_path) == []


def test_unfit_targets_are_refused(tmp_path: Path) -> None:
    image = _image("yx")
    with pytest.raises(InputError, match=r"\.png"):
        write_ome_tiff(tmp_path / "a.png", image)
    with pytest.raises(InputError, match="cannot write this file"):
        write_ome_tiff(tmp_path / "no folder" / "a.tif", image)
    with pytest.raises(InputError, match="int64"):
        write_ome_tiff(tmp_path / "a.tif", image.astype("int64"))
    with pytest.raises(ValueError, match="sample"):
        write_ome_tiff(tmp_path / "a.tif", image.expand_dims("sample"))
    assert os.listdir(tmp_path) == []
