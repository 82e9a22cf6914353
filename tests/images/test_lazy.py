"""Images on disk, looked at plane by plane: as if they were read whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from denoisplit.errors import InputError
from denoisplit.images import open_image, read_image, write_ome_tiff
from denoisplit.images.formats.tiff import description_of
from denoisplit.images.lazy import Mapped, Pages

STACK = np.random.default_rng(0).integers(0, 999, (3, 2, 20, 30)).astype(np.uint16)
GREY = {"photometric": "minisblack"}


def pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as tif:
        for plane in STACK[:, 0]:
            tif.write(plane, contiguous=False, metadata=None)


def one_after_another(path: Path) -> None:
    with tifffile.TiffWriter(path) as tif:
        for plane in STACK[:, 0]:
            tif.write(plane, compression="zlib", **GREY)


# how it is written, and whether its pixels are read from a map (M) or by pages (P)
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "imagej": (lambda p: tifffile.imwrite(p, STACK, imagej=True, metadata={"axes": "TZYX"}), "M"),
    "plain": (lambda p: tifffile.imwrite(p, STACK[0], **GREY), "M"),
    "big endian": (lambda p: tifffile.imwrite(p, STACK[0], byteorder=">", **GREY), "M"),
    "compressed": (
        lambda p: tifffile.imwrite(
            p, STACK, ome=True, metadata={"axes": "TZYX"}, compression="zlib", **GREY
        ),
        "P",
    ),
    "one plane": (lambda p: tifffile.imwrite(p, STACK[0, 0], compression="zlib"), "P"),
    "tiles": (lambda p: tifffile.imwrite(p, STACK[:, 0], tile=(16, 16), **GREY), "P"),
    "one row": (lambda p: tifffile.imwrite(p, STACK[0, 0, :1], **GREY), "M"),
    "pages": (pages, "P"),
    "one after another": (one_after_another, "P"),
    "two unknown axes": (lambda p: tifffile.imwrite(p, STACK, **GREY), "M"),
    "black and white": (lambda p: tifffile.imwrite(p, STACK[0, 0] > 500, **GREY), "P"),
}


@pytest.mark.parametrize("kind", FILES)
def test_planes_are_those_of_the_image(kind: str, tmp_path: Path) -> None:
    write, way = FILES[kind]
    write(tmp_path / "a.tif")
    lazy, whole = open_image(tmp_path / "a.tif"), read_image(tmp_path / "a.tif")
    assert {Mapped: "M", Pages: "P"}[type(lazy.array.stored)] == way
    assert lazy.dims == whole.dims and lazy.sizes == dict(whole.sizes)
    found = np.stack([plane[:, :] for plane in lazy.planes()]).reshape(whole.shape)
    np.testing.assert_array_equal(found, whole.values)
    assert found.dtype.isnative and lazy.nbytes == whole.nbytes
    part = list(lazy.planes())[-1][0:1, 7:19]
    np.testing.assert_array_equal(part, found.reshape(-1, *found.shape[-2:])[-1][0:1, 7:19])


@pytest.mark.parametrize("shape", [(1, 4, 20, 30), (3, 2, 20, 30), (3, 20, 30), (20, 30)])
@pytest.mark.parametrize("dtype", ["int8", "uint16", "float32"])
def test_planes_of_mrc_are_those_of_the_image(
    shape: tuple[int, ...], dtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.resize(np.arange(97), shape).astype(dtype))
        mrc.set_extended_header(np.frombuffer(b"\xff" * 2048, dtype="V1"))
        mrc.voxel_size = (650.0, 650.0, 2000.0)
    lazy, whole = open_image(path), read_image(path)
    assert isinstance(lazy.array.stored, Mapped)
    assert lazy.dims == whole.dims and lazy.sizes == dict(whole.sizes)
    assert lazy.pixel_size_um == whole.attrs["pixel_size_um"] and lazy.source == path
    found = np.stack([plane[:, :] for plane in lazy.planes()]).reshape(whole.shape)
    np.testing.assert_array_equal(found, whole.values)
    assert found.dtype == whole.dtype


def test_planes_of_mrc_in_the_other_byte_order(tmp_path: Path) -> None:
    header = np.zeros(256, dtype=">i4")
    header[:4] = 30, 20, 3, 6
    path = tmp_path / "bare.mrc"
    path.write_bytes(header.tobytes() + STACK[:, 0].astype(">u2").tobytes())
    lazy = open_image(path)
    assert isinstance(lazy.array.stored, Mapped)
    found = np.stack([plane[:, :] for plane in lazy.planes()])
    np.testing.assert_array_equal(found, STACK[:, 0])
    assert found.dtype.isnative
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="bare.mrc"):
        open_image(path)


@pytest.mark.parametrize("kind", ["imagej", "compressed", "one plane"])
def test_a_copy_is_written_plane_by_plane(kind: str, tmp_path: Path) -> None:
    FILES[kind][0](tmp_path / "a.tif")
    write_ome_tiff(tmp_path / "b.tif", open_image(tmp_path / "a.tif"), about='{"seed": "<0>"}')
    a, b = (read_image(tmp_path / f"{name}.tif") for name in "ab")
    assert a.dims == b.dims and a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
    assert description_of(tmp_path / "b.tif") == '{"seed": "<0>"}'
    assert description_of(tmp_path / "a.tif") == ""


def test_a_damaged_plane_is_reported_when_it_is_read(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "z.tif") as tif:
        for plane in STACK[:, 0]:
            tif.write(plane, contiguous=False, metadata=None, compression="zlib")
    with tifffile.TiffFile(tmp_path / "z.tif") as tif:
        where = tif.pages[1].dataoffsets[0]
    content = bytearray((tmp_path / "z.tif").read_bytes())
    content[where : where + 40] = bytes(40)
    (tmp_path / "z.tif").write_bytes(content)
    planes = list(open_image(tmp_path / "z.tif").planes())
    np.testing.assert_array_equal(planes[0][:, :], STACK[0, 0])
    with pytest.raises(InputError, match="z.tif"):
        planes[1][:, :]
