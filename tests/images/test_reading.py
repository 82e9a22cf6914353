"""Files of the formats that microscopes and Fiji write -> Images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images import read_image


def _ramp(*shape: int, dtype: str = "uint16") -> NDArray[Any]:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def _tiff(path: Path, array: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return path


def test_reading_images_does_not_load_torch() -> None:
    code = "import sys, denoisplit.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_plain_tiff_keeps_values_and_dtype_in_native_order(
    tmp_path: Path, dtype: str, byteorder: str, bigtiff: bool
) -> None:
    array = _ramp(5, 7, dtype=dtype)
    path = _tiff(tmp_path / "plain.tif", array, byteorder=byteorder, bigtiff=bigtiff)
    image = read_image(path)
    assert image.dims == ("y", "x")
    assert image.dtype == np.dtype(dtype)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image.values, array)
    assert image.attrs == {"pixel_size_um": {}, "source": str(path)}
    assert "c" not in image.coords


def test_axes_of_unknown_meaning_become_one_time_axis_in_file_order(tmp_path: Path) -> None:
    array = _ramp(2, 3, 5, 7)
    image = read_image(_tiff(tmp_path / "unknown.tif", array))
    assert image.dims == ("t", "y", "x")
    np.testing.assert_array_equal(image.values, array.reshape(6, 5, 7))


def test_one_bit_image_becomes_uint8(tmp_path: Path) -> None:
    array = _ramp(8, 8) % 3 == 0
    image = read_image(_tiff(tmp_path / "mask.tif", array))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.values, array)


@pytest.mark.parametrize("unit", ["micron", "um", "µm", "\\u00B5m"])
def test_imagej_hyperstack_gives_axes_channels_and_pixel_size(tmp_path: Path, unit: str) -> None:
    array = _ramp(2, 3, 2, 5, 7)
    path = _tiff(
        tmp_path / "hyper.tif",
        array,
        imagej=True,
        resolution=(10.0, 5.0),
        metadata={
            "axes": "TZCYX",
            "unit": unit.encode("ascii", "backslashreplace").decode().replace("\\xb5", "\\u00B5"),
            "spacing": 0.3,
            "Labels": ["ER", "MT"] * 6,
        },
    )
    image = read_image(path)
    assert image.dims == ("t", "c", "z", "y", "x")
    np.testing.assert_array_equal(image.values, array.swapaxes(1, 2))
    assert list(image["c"].values) == ["ER", "MT"]
    assert image.attrs["pixel_size_um"] == pytest.approx({"x": 0.1, "y": 0.2, "z": 0.3})


@pytest.mark.parametrize(
    ("unit", "micrometres"),
    [("nm", 1e-3), ("mm", 1e3), ("cm", 1e4), ("inch", 25400.0), ("pixel", None), ("", None)],
)
def test_imagej_units(tmp_path: Path, unit: str, micrometres: float | None) -> None:
    path = _tiff(
        tmp_path / "unit.tif",
        _ramp(5, 7),
        imagej=True,
        resolution=(4.0, 4.0),
        metadata={"unit": unit},
    )
    sizes = read_image(path).attrs["pixel_size_um"]
    expected = {} if micrometres is None else {"x": micrometres / 4, "y": micrometres / 4}
    assert sizes == pytest.approx(expected)


def test_labels_that_name_planes_are_not_taken_for_channel_names(tmp_path: Path) -> None:
    labels = [f"plane {number}" for number in range(6)]
    path = _tiff(
        tmp_path / "planes.tif",
        _ramp(3, 2, 5, 7),
        imagej=True,
        metadata={"axes": "ZCYX", "Labels": labels},
    )
    assert list(read_image(path)["c"].values) == ["channel 1", "channel 2"]


def test_ome_gives_channel_names_and_physical_size_in_any_unit(tmp_path: Path) -> None:
    array = _ramp(2, 3, 5, 7)
    path = _tiff(
        tmp_path / "a.ome.tif",
        array,
        metadata={
            "axes": "CZYX",
            "Channel": {"Name": ["ER", "MT"]},
            "PhysicalSizeX": 65.0,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.07,
            "PhysicalSizeYUnit": "µm",
            "PhysicalSizeZ": 3000.0,
            "PhysicalSizeZUnit": "Å",
        },
    )
    image = read_image(path)
    assert image.dims == ("c", "z", "y", "x")
    assert list(image["c"].values) == ["ER", "MT"]
    assert image.attrs["pixel_size_um"] == pytest.approx({"x": 0.065, "y": 0.07, "z": 0.3})


def test_single_named_ome_channel_is_a_scalar_coordinate(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["ER"]}}
    image = read_image(_tiff(tmp_path / "a.ome.tif", _ramp(1, 5, 7), metadata=metadata))
    assert image.dims == ("y", "x")
    assert image["c"].item() == "ER"


def test_pyramid_levels_are_not_images_of_their_own(tmp_path: Path) -> None:
    array = _ramp(64, 64)
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif") as tif:
        tif.write(array, subifds=1, photometric="minisblack", tile=(16, 16))
        tif.write(array[::2, ::2], subfiletype=1, photometric="minisblack", tile=(16, 16))
    np.testing.assert_array_equal(read_image(tmp_path / "pyramid.ome.tif").values, array)


@pytest.mark.parametrize(
    ("unit", "pixels_per_unit", "expected"),
    [
        ("CENTIMETER", 1e5, 0.1),
        ("CENTIMETER", 28.3, None),
        ("INCH", 1e5, 0.254),
        ("INCH", 300, None),
    ],
)
def test_resolution_of_plain_tiff_counts_only_if_a_microscope_may_have_written_it(
    tmp_path: Path, unit: str, pixels_per_unit: float, expected: float | None
) -> None:
    resolution = (pixels_per_unit, pixels_per_unit)
    path = _tiff(tmp_path / "a.tif", _ramp(5, 7), resolution=resolution, resolutionunit=unit)
    sizes = read_image(path).attrs["pixel_size_um"]
    assert sizes == pytest.approx({} if expected is None else {"x": expected, "y": expected})


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "uint16"])
def test_mrc_extended_header_is_skipped_and_x_is_fastest(tmp_path: Path, dtype: str) -> None:
    array = _ramp(3, 5, 7, dtype=dtype)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(array)
        mrc.set_extended_header(np.frombuffer(b"\xff" * 2048, dtype="V1"))
        mrc.voxel_size = (650.0, 700.0, 3000.0)
    image = read_image(tmp_path / "a.mrc")
    assert image.dims == ("z", "y", "x")
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image.values, array)
    assert image.attrs["pixel_size_um"] == pytest.approx({"x": 0.065, "y": 0.07, "z": 0.3})


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_mrc_as_bare_header_words(tmp_path: Path, byteorder: str) -> None:
    """Three sizes and the mode, nothing else: no map mark, no byte order mark, no cell."""
    array = _ramp(2, 5, 7)
    header = np.zeros(256, dtype=f"{byteorder}i4")
    header[:4] = 7, 5, 2, 6
    path = tmp_path / "bare.mrc"
    path.write_bytes(header.tobytes() + array.astype(f"{byteorder}u2").tobytes())
    image = read_image(path)
    np.testing.assert_array_equal(image.values, array)
    assert image.dtype.isnative
    assert image.attrs["pixel_size_um"] == {}


@pytest.mark.parametrize(
    ("voxel", "expected"),
    [((0.0626, 0.0626, 0.16), {"x": 0.0626, "y": 0.0626, "z": 0.16}), ((1.0, 1.0, 1.0), {})],
)
def test_mrc_voxels_no_light_microscope_can_have_are_micrometres_or_unknown(
    tmp_path: Path, voxel: tuple[float, float, float], expected: dict[str, float]
) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(_ramp(3, 5, 7))
        mrc.voxel_size = voxel
    assert read_image(tmp_path / "a.mrc").attrs["pixel_size_um"] == pytest.approx(expected)


def test_real_imagej_stack(data_dir: Path) -> None:
    image = read_image(data_dir / "formats" / "imagej_ZCYX_bigendian_uint16.tif")
    assert dict(image.sizes) == {"c": 2, "z": 17, "y": 88, "x": 89}
    sizes = {"x": 1 / 10.623103, "y": 1 / 10.623103, "z": 0.4}
    assert image.attrs["pixel_size_um"] == pytest.approx(sizes)


@pytest.mark.parametrize(
    ("name", "dims", "dtype"),
    [
        ("float32_negative_values.tif", ("y", "x"), "float32"),
        ("ome_int8_TYX.ome.tif", ("t", "y", "x"), "int8"),
        ("packbits_uint8.tif", ("y", "x"), "uint8"),
        ("real_tirf_sim_microtubules_9x256x256_uint16.mrc", ("z", "y", "x"), "uint16"),
    ],
)
def test_real_odd_files(data_dir: Path, name: str, dims: tuple[str, ...], dtype: str) -> None:
    image = read_image(data_dir / "formats" / name)
    assert image.dims == dims
    assert image.dtype == np.dtype(dtype)
    assert image.values.min() < image.values.max()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("multi_series_two_sizes.ome.tif", "there are 3 images in one file"),
        ("otf_complex64_mode4.mrc", "complex pixels"),
        ("rgb24.tif", "this is a colour (RGB) image"),
    ],
)
def test_real_files_that_are_refused(data_dir: Path, name: str, problem: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_image(data_dir / "formats" / name)
    assert name in refusal.value.where
    assert problem in refusal.value.problem
