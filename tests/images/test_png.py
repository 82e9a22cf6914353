"""PNG images of grey and single colours are read, others and JPEG are refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from denoisplit.images import list_files, open_image, read_image

from .test_vendor_formats import message, refusal

GREY = np.random.default_rng(0).integers(0, 60000, (20, 30)).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_is_read(dtype: str, tmp_path: Path) -> None:
    path, array = tmp_path / "a.PNG", GREY.astype(dtype)
    Image.fromarray(array).save(path, dpi=(254000, 127000))
    lazy, whole = open_image(path), read_image(path)
    assert lazy.dims == whole.dims == ("y", "x") and whole.dtype == dtype
    np.testing.assert_array_equal(whole.values, array)
    (plane,) = lazy.planes()
    np.testing.assert_array_equal(plane[3:9, 2:5], array[3:9, 2:5])
    assert lazy.pixel_size_um == pytest.approx({"x": 0.1, "y": 0.2}, rel=1e-3)
    assert [file.path for file in list_files(tmp_path)] == [path]


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_one_colour_is_chosen_as_of_a_tiff(dtype: str, tmp_path: Path) -> None:
    path, array = tmp_path / "a.png", np.arange(8 * 9 * 3, dtype=dtype).reshape(8, 9, 3)
    path.write_bytes(imagecodecs.png_encode(array))
    assert "a colour (RGB) image" in refusal(path) and "a.png:0" in refusal(path)
    for number, name in enumerate(("red", "green", "blue")):
        for chosen in (number, name):
            image = read_image(f"{path}:{chosen}")
            assert image.dims == ("y", "x") and str(image["c"].values) == name
            np.testing.assert_array_equal(image.values, array[..., number])


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
def test_other_pixels_are_refused(mode: str, tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint8)).convert(mode).save(tmp_path / "a.png")
    assert "expected grey or RGB of 8 or 16 bit" in refusal(tmp_path / "a.png")


def test_transparency_and_animation_are_refused(tmp_path: Path) -> None:
    frame = Image.fromarray(GREY.astype(np.uint8))
    frame.save(tmp_path / "a.png", transparency=0)
    assert "transparent" in refusal(tmp_path / "a.png")
    more = [frame.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    frame.save(tmp_path / "a.png", save_all=True, append_images=more)
    assert "animated" in refusal(tmp_path / "a.png")


def test_damage_and_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "x" * 99)
    Image.fromarray(GREY).save(path, pnginfo=info)
    data = path.read_bytes()
    for size in (0, 7, 20, 40, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:size])
        refusal(path)
    for place in range(0, len(data), 31):
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        assert "\n" not in message(path)
    head = b"IHDR" + struct.pack(">IIBBBBB", 2**15, 2**15, 8, 0, 0, 0, 0)
    bomb = data[:8] + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    path.write_bytes(bomb + data[33:])
    assert "save it as TIFF" in refusal(path)


def test_jpeg_is_refused_with_the_reason(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG"):
        Image.fromarray(GREY.astype(np.uint8)).save(tmp_path / name, "jpeg")
        assert "alters the noise" in refusal(tmp_path / name)
