"""Bad files end in one line that names them, silently otherwise, and never in wrong pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile

from denoisplit.errors import InputError
from denoisplit.images import read_image

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 6000, (5, 40, 48)).astype("uint16")
WRITERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "TYX"}},
    "zlib": {"compression": "zlib"},
    "strips": {"compression": "zlib", "rowsperstrip": 16, "metadata": None},
    "tiles": {"tile": (32, 32)},
    "bigtiff": {"bigtiff": True},
}


def _refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as refusal:
        read_image(path)
    line = str(refusal.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return refusal.value


@pytest.mark.parametrize("kind", WRITERS)
def test_cut_tiff_is_refused_or_complete(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(whole, STACK, photometric="minisblack", **WRITERS[kind])
    np.testing.assert_array_equal(read_image(whole).values, STACK)
    data = whole.read_bytes()
    cut = tmp_path / "cut.tif"
    refused = 0
    lengths = [*range(0, len(data), len(data) // 40), len(data) - 2, len(data) - 1]
    for length in lengths:
        cut.write_bytes(data[:length])
        try:
            image = read_image(cut)
        except InputError:
            refused += 1
        else:
            np.testing.assert_array_equal(image.values, STACK)
    assert refused > 35
    assert capfd.readouterr() == ("", "")


def test_messages_of_libraries_are_shown_without_objects_of_python(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        place = tif.pages.first.tags["XResolution"].offset + 8
    data = bytearray(path.read_bytes())
    data[place : place + 4] = b"\xff" * 4  # of its value, beyond the end of the file
    path.write_bytes(data)
    line = str(_refusal(path))
    assert "invalid value offset" in line and not re.search(r"<|Error|raised|\(:", line)


def test_cut_mrc_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with mrcfile.new(tmp_path / "whole.mrc") as mrc:
        mrc.set_data(STACK)
    data = (tmp_path / "whole.mrc").read_bytes()
    cut = tmp_path / "cut.mrc"
    for length in (0, 100, 1024, 2000, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:length])
        _refusal(cut)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["noise.tif", "noise.mrc"])
def test_bytes_that_are_no_image(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for content in (b"", b"hello", b"II*\0" + RNG.bytes(4000), RNG.bytes(4000)):
        (tmp_path / name).write_bytes(content)
        _refusal(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_ome_set_without_its_other_files(tmp_path: Path) -> None:
    """tifffile would fill the planes of the missing file with zeros."""
    path = tmp_path / "first.ome.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata={"axes": "TYX"})
    xml = tifffile.tiffcomment(path)
    assert isinstance(xml, str)
    own, other = '<TiffData IFD="0" PlaneCount="5"/>', "urn:uuid:0"
    assert own in xml
    parts = "".join(
        f'<TiffData IFD="0" FirstT="{t}" PlaneCount="1">'
        f'<UUID FileName="second.ome.tif">{other}</UUID></TiffData>'
        for t in (3, 4)
    )
    xml = xml.replace(own, '<TiffData IFD="0" PlaneCount="3"/>' + parts)
    tifffile.tiffcomment(path, xml.encode())
    assert "in other files, or missing" in _refusal(path).problem


def test_missing_file_folder_and_unsupported_type(tmp_path: Path) -> None:
    assert "cannot read this file" in _refusal(tmp_path / "gone.tif").problem
    (tmp_path / "folder.tif").mkdir()
    assert "cannot read this file" in _refusal(tmp_path / "folder.tif").problem
    (tmp_path / "a.bmp").write_bytes(b"BM")
    assert ".png" in _refusal(tmp_path / "a.bmp").problem
    assert "without a type" in _refusal(tmp_path / "image").problem


def test_colours_are_refused_but_grey_samples_are_channels(tmp_path: Path) -> None:
    samples = STACK[:3].transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "rgb.tif", samples.astype("uint8"), photometric="rgb")
    assert "RGB" in _refusal(tmp_path / "rgb.tif").problem
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "grey.tif", samples, **options)
    image = read_image(tmp_path / "grey.tif")
    assert image.dims == ("c", "y", "x")
    np.testing.assert_array_equal(image.values, STACK[:3])


def test_several_images_in_one_file_are_counted(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as tif:
        tif.write(STACK[0], photometric="minisblack")
        tif.write(STACK[0, :20], photometric="minisblack")
    refusal = _refusal(tmp_path / "two.tif")
    assert "2 images" in refusal.problem
    assert "(20, 48)" in refusal.problem


def test_complex_and_not_finite_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "complex.tif", STACK[0].astype("complex64"))
    assert "complex" in _refusal(tmp_path / "complex.tif").problem
    holes = STACK[0].astype("float32")
    holes[0, :3] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / "holes.tif", holes)
    assert _refusal(tmp_path / "holes.tif").problem.startswith(
        "3 of 1920 pixels are NaN or infinite"
    )


def test_no_pixels(tmp_path: Path) -> None:
    header = np.zeros(256, dtype="<i4")
    header[:4] = 7, 0, 1, 6
    (tmp_path / "empty.mrc").write_bytes(header.tobytes())
    assert "no pixels" in _refusal(tmp_path / "empty.mrc").problem
