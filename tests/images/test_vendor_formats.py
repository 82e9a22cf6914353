"""ND2, CZI and LIF files: series, what is refused, damage, and libraries that are not there."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisplit.errors import InputError
from denoisplit.images import list_files, open_image, read_image, write_ome_tiff
from denoisplit.images.formats.czi import open_czi
from denoisplit.images.formats.libraries import readable
from denoisplit.images.formats.lif import open_lif
from denoisplit.images.formats.nd2 import open_nd2

from . import vendor_files

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 60000, (2, 3, 20, 30)).astype(np.uint16)  # T, C, Y, X
LINE = r"\A[^\n]+: [^\n]+; [^\n]+\Z"


def write(path: Path, array: Any = IMAGE, dims: str = "tcyx") -> Path:
    if path.suffix == ".lif":
        vendor_files.lif(path, {"one": (array, dims)})
    else:
        getattr(vendor_files, path.suffix[1:])(path, array, dims)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError, match=LINE) as error:
        read_image(path)
    return str(error.value)


def message(path: Path) -> str:
    """The line with which a file is refused, if it is."""
    try:
        read_image(path)
    except InputError as error:
        return str(error)
    return ""


def test_one_of_several_images_is_chosen_by_its_number(tmp_path: Path) -> None:
    several = np.stack([IMAGE, IMAGE[::-1]])
    vendor_files.nd2(tmp_path / "a.nd2", several, "ptcyx")
    vendor_files.nd2(tmp_path / "b.nd2", np.moveaxis(several, 0, 1), "tpcyx")
    vendor_files.czi(tmp_path / "a.czi", several, "stcyx")
    vendor_files.lif(tmp_path / "a.lif", {"one": (IMAGE, "tcyx"), "two": (IMAGE[::-1], "tcyx")})
    openers = {"a.nd2": open_nd2, "b.nd2": open_nd2, "a.czi": open_czi, "a.lif": open_lif}
    for name, opener in openers.items():
        path = tmp_path / name
        for number, image in enumerate(several):
            np.testing.assert_array_equal(opener(path, number).load().values, image)
        for choice in (None, 2, -1):
            with pytest.raises(InputError, match=rf"2 images.*{name}:series=1"):
                opener(path, choice)


@pytest.mark.parametrize("kind", ["nd2", "czi", "lif"])
def test_the_time_between_frames_is_read(kind: str, tmp_path: Path) -> None:
    image = read_image(write(tmp_path / f"a.{kind}"))
    assert image.attrs["time_increment_s"] == pytest.approx(vendor_files.SECONDS)
    one = read_image(write(tmp_path / f"b.{kind}", IMAGE[:1]))
    assert "time_increment_s" not in one.attrs


def test_names_of_channels_are_kept(tmp_path: Path) -> None:
    names = ("ER", "MT", "DNA")
    vendor_files.nd2(tmp_path / "a.nd2", IMAGE, "tcyx", names=names)
    vendor_files.czi(tmp_path / "a.czi", IMAGE, "tcyx", names=names)
    vendor_files.lif(tmp_path / "a.lif", {"one": (IMAGE, "tcyx")}, luts=names)
    for file in list_files(tmp_path):
        assert open_image(file).channels == names, file


def test_colours_of_channels_are_kept(tmp_path: Path) -> None:
    names, colours = ("ER", "MT", "DNA"), ("#ff00ff", "#00ff00", "#0a64ff")
    luts = ("Magenta", "Green", "Gradient (10,100,255)")
    vendor_files.nd2(tmp_path / "a.nd2", IMAGE, "tcyx", shown=colours)
    vendor_files.lif(tmp_path / "a.lif", {"one": (IMAGE, "tcyx")}, luts=luts)
    vendor_files.czi(tmp_path / "a.czi", IMAGE, "tcyx", names=names, shown=colours)
    vendor_files.czi(
        tmp_path / "b.czi", IMAGE, "tcyx", names=names, shown=colours[::-1], displayed=colours
    )
    for file in list_files(tmp_path):
        image = read_image(file)
        assert image.attrs["colours"] == colours, file
        assert image.attrs["time_increment_s"] == pytest.approx(vendor_files.SECONDS)
        write_ome_tiff(tmp_path / "kept.tif", image, overwrite=True)
        assert open_image(tmp_path / "kept.tif").colours == colours


def test_colours_that_are_not_named_are_unknown(tmp_path: Path) -> None:
    vendor_files.nd2(tmp_path / "a.nd2", IMAGE, "tcyx")
    vendor_files.lif(tmp_path / "a.lif", {"one": (IMAGE, "tcyx")}, luts=("Fire", "Green", "Red"))
    vendor_files.czi(tmp_path / "a.czi", IMAGE, "tcyx", names=("a", "b", "c"))
    for file in list_files(tmp_path):
        assert open_image(file).colours == (), file


def test_a_part_is_that_of_the_whole_image(tmp_path: Path) -> None:
    for name in ("a.nd2", "a.czi", "a.lif"):
        image = open_image(write(tmp_path / name))
        np.testing.assert_array_equal(image.pixels((slice(1, 2), slice(0, 2), 3, slice(4, 9))),
                                      IMAGE[1:2, 0:2, 3, 4:9])  # fmt: skip
        np.testing.assert_array_equal(
            image.plane({"t": 1, "c": 2})[2:5, 1:9], IMAGE[1, 2, 2:5, 1:9]
        )


@pytest.mark.parametrize("axis", "mhiv")
def test_unknown_axes_of_czi_are_refused(axis: str, tmp_path: Path) -> None:
    vendor_files.czi(tmp_path / "a.czi", IMAGE, f"t{axis}yx")
    assert f"{axis.upper()} (3)" in refusal(tmp_path / "a.czi")


@pytest.mark.parametrize("key", ["Min", "Max", "Origin", "Length", "ChannelTag"])
def test_damaged_values_of_lif_leave_the_pixels(key: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.lif")
    start, data = re.escape(f'{key}="'.encode("utf-16-le")), path.read_bytes()
    changed = re.sub(b"(?s)(" + start + b").", rb"\1x", data)
    assert changed != data
    path.write_bytes(changed)
    image = read_image(path)
    np.testing.assert_array_equal(image.values, IMAGE)
    assert bool(image.attrs["pixel_size_um"]) == (key != "Length")


def test_unknown_axes_of_lif_and_colours_are_refused(tmp_path: Path) -> None:
    vendor_files.lif(tmp_path / "a.lif", {"one": (IMAGE, "tmyx")})
    assert "M (3)" in refusal(tmp_path / "a.lif")
    vendor_files.nd2(tmp_path / "a.nd2", IMAGE, "tcyx", colours=3)
    assert "colour (3)" in refusal(tmp_path / "a.nd2")
    vendor_files.czi(tmp_path / "a.czi", IMAGE[0], "cyx", pixel_type=4)
    assert "colour (3)" in refusal(tmp_path / "a.czi")


@pytest.mark.parametrize("compression", [0, 2, 4, 5, 6])
def test_compressions_of_czi(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "a.czi"
    vendor_files.czi(path, IMAGE, "tcyx", compression=compression)
    np.testing.assert_array_equal(read_image(path).values, IMAGE)
    data = path.read_bytes()
    assert b"WMPHOTO\0\x11\0\xc0\2" in data or compression != 4
    for end in range(600, data.index(b"ZISRAWMETADATA"), 997):  # cut off
        path.write_bytes(data[:end])
        refusal(path)


def test_compression_with_loss_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor_files.czi(tmp_path / "a.czi", IMAGE, "tcyx", compression=1)
    assert "with loss (JPEG)" in refusal(tmp_path / "a.czi")
    exact = vendor_files.ENCODERS[4]
    monkeypatch.setitem(vendor_files.ENCODERS, 4, lambda plane: exact(plane, level=0.9))
    vendor_files.czi(tmp_path / "a.czi", IMAGE, "tcyx", compression=4)
    assert "with loss (JPEG XR)" in refusal(tmp_path / "a.czi")
    vendor_files.nd2(tmp_path / "a.nd2", IMAGE, "tcyx", compression=1)
    assert "with loss" in refusal(tmp_path / "a.nd2")


def test_warnings_of_the_library_are_hidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("liffile")
    with readable(tmp_path, "LIF"):
        log.warning("hidden")
    log.warning("shown")
    assert caplog.messages == ["shown"]


def test_missing_planes_are_refused(tmp_path: Path) -> None:
    vendor_files.czi(tmp_path / "a.czi", IMAGE, "tcyx", missing=[4])
    assert "1 of 6 planes" in refusal(tmp_path / "a.czi")
    vendor_files.nd2(tmp_path / "a.nd2", IMAGE, "tcyx", missing=[1])
    assert "frame 1 of this file is missing" in refusal(tmp_path / "a.nd2")
    vendor_files.nd2(tmp_path / "a.nd2", IMAGE, "tcyx", recorded=3)
    assert "3 of 2 frames" in refusal(tmp_path / "a.nd2")


@pytest.mark.parametrize("kind", ["nd2", "czi", "lif"])
def test_damage_is_one_line_or_pixels(kind: str, tmp_path: Path) -> None:
    data = write(tmp_path / f"a.{kind}").read_bytes()
    path, refused = tmp_path / f"b.{kind}", 0
    # where the structure is: not among the pixels
    marks = [n for n in range(0, len(data), 11) if data[n : n + 40].count(0) > 8][:60]
    for n, place in enumerate(marks):
        value = (b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f")[n % 3]
        path.write_bytes(data[:place] + value + data[place + len(value) :])
        line = message(path)
        refused += bool(line)
        assert "\n" not in line
    for size in (0, 3, 12, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        if kind != "czi" or size < len(data) - 1:  # whose last byte is that of the metadata
            refusal(path)
    assert refused


@pytest.mark.parametrize(
    ("kind", "library"), [("nd2", "nd2"), ("czi", "czifile"), ("lif", "liffile")]
)
def test_a_library_that_is_not_there_is_named(
    kind: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / f"a.{kind}")
    monkeypatch.setitem(sys.modules, library, None)
    line = refusal(path)
    assert library in line and f"pip install 'denoisplit[{kind}]'" in line
