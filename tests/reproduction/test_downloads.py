"""Downloaded files: unnamed axes, folders of frames, inconsistent headers."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile

from denoisplit.cli import main as cli
from denoisplit.errors import InputError
from denoisplit.images import read_frames
from denoisplit.reproduction.downloads import Header, header_of, read_channel
from denoisplit.reproduction.tasks import TASKS, availability, images_of

ATN = "OptiMEM100x014.tif"
STACK = (
    np.random.default_rng(0).integers(100, 9000, (30, 40, 36, 4)).astype(np.uint16)
)  # T, Y, X, C
PLANES = np.ascontiguousarray(STACK.transpose(0, 3, 1, 2))  # T, C, Y, X
GREY = {"photometric": "minisblack"}
# array and writer options of every layout in which the stack may be published
WAYS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "channels last": (STACK, {}),
    "channels last, compressed": (STACK, {"compression": "zlib"}),
    "channels last, five": (np.concatenate([STACK, STACK[..., :1]], axis=-1), {}),
    "channels last, three": (STACK[..., [0, 2, 3]], {}),
    "channels last, grey": (STACK, GREY),
    "channels last, named": (STACK, {**GREY, "metadata": {"axes": "TYXC"}}),
    "channels first": (PLANES, {}),
    "channels first, grey": (PLANES, GREY),
    "channels first, compressed": (PLANES, {**GREY, "compression": "zlib"}),
    "channels as slices": (PLANES, {"imagej": True, "metadata": {"axes": "TZYX"}}),
    "hyperstack": (PLANES, {"imagej": True, "metadata": {"axes": "TCYX"}}),
    "OME": (PLANES, {"ome": True, "metadata": {"axes": "TCYX"}}),
}


def write(path: Path, way: str) -> np.ndarray:
    """Write the stack in a layout, and return it as T, C, Y, X."""
    array, how = WAYS[way]
    with warnings.catch_warnings():  # tifffile announces that its defaults will change
        warnings.simplefilter("ignore", DeprecationWarning)
        tifffile.imwrite(path, array, **how)
    return array if array.shape[1] < array.shape[-1] else array.transpose(0, 3, 1, 2)


def ready(folder: Path) -> list[str]:
    """Return the tasks whose files are all in a folder."""
    return [line[:2] for line in availability(folder).splitlines() if line.endswith(" ready")]


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize(
    "way", ["channels first, grey", "channels first, compressed", "hyperstack", "channels last"]
)
def test_a_truncated_download_is_reported_in_one_line(
    way: str, share: float, tmp_path: Path, capfd: Any
) -> None:
    path = tmp_path / ATN
    write(path, way)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert cli.main(["data", "check", str(tmp_path)]) in (0, None)
    captured = capfd.readouterr()
    lines = [line for line in captured.out.splitlines() if line.startswith("T7")]
    assert captured.err == "" and len(lines) == 1
    assert lines[0].count("wrong: ") == 1 and "this TIFF is damaged or incomplete" in lines[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_channel_is_read_from_every_layout(way: str, tmp_path: Path) -> None:
    expected = write(tmp_path / ATN, way)
    frames, channels, height, width = expected.shape
    header = header_of(tmp_path / ATN, several=True)
    assert header == Header(frames, channels, height, width) and height == 40
    for channel in range(channels):
        image = read_channel(tmp_path / ATN, channel)
        assert image.dims == ("t", "y", "x") and image.dtype == np.uint16
        np.testing.assert_array_equal(image.values, expected[:, channel])
    with pytest.raises(InputError, match=f"{channels} channels, expected {channels + 1} or more"):
        read_channel(tmp_path / ATN, channels)
    if channels > 3:
        assert ready(tmp_path) == ["T7"]
        files = images_of(TASKS["T7"], tmp_path, tmp_path / "cache")
        for name, channel in (("actin", 2), ("tubulin", 3)):
            np.testing.assert_array_equal(tifffile.imread(files[name]), expected[:, channel])
    else:
        assert f"{ATN}: found 3 channels, expected 4 or more" in availability(tmp_path)


def biosr(folder: Path, name: str, data: np.ndarray) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    with mrcfile.new(folder / name / "GT_all.mrc") as mrc:
        mrc.set_data(data)
    return folder / name / "GT_all.mrc"


def test_a_folder_of_frames_serves_as_a_stack(tmp_path: Path) -> None:
    biosr(tmp_path, "CCPs", STACK[:12, ..., 1])
    (tmp_path / "ER").mkdir()
    for j in range(12):
        tifffile.imwrite(tmp_path / "ER" / f"frame {j}.tif", STACK[j, ..., 0], **GREY)
    assert ready(tmp_path) == ["T1"]
    files = images_of(TASKS["T1"], tmp_path, tmp_path / "cache")
    assert files == {"ER": tmp_path / "ER", "CCPs": tmp_path / "CCPs" / "GT_all.mrc"}
    np.testing.assert_array_equal(np.stack(read_frames([files["ER"]]).images), STACK[:12, ..., 0])
    # a stack takes precedence
    stack = biosr(tmp_path, "ER", STACK[:12, ..., 2])
    assert images_of(TASKS["T1"], tmp_path, tmp_path)["ER"] == stack
    stack.rename(stack.with_name("other.mrc"))
    assert "other.mrc: found a stack of 12 frames, expected one frame in each file of a folder" in (
        availability(tmp_path)
    )


def test_no_pixel_is_read_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ER", "CCPs"):
        biosr(tmp_path, name, STACK[..., 0])
    write(tmp_path / ATN, "channels last")

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", refused)
    monkeypatch.setattr(mrcfile, "open", refused)
    assert ready(tmp_path) == ["T1", "T7"]


def test_each_problem_is_reported_in_one_line(tmp_path: Path, capsys: Any) -> None:
    stack = STACK[..., 0]
    biosr(tmp_path, "ER", stack[:9])
    cut = biosr(tmp_path, "CCPs", stack)
    cut.write_bytes(cut.read_bytes()[:-1])
    biosr(tmp_path, "Microtubules", stack.astype(np.complex64))
    (tmp_path / "F-actin").mkdir()
    (tmp_path / "F-actin" / "GT_all_a.mrc").write_bytes(b"<html>not found</html>")
    write(tmp_path / ATN, "channels first, grey")
    with (tmp_path / ATN).open("r+b") as stream:
        stream.truncate((tmp_path / ATN).stat().st_size // 2)
    for name, snr, data in (
        ("actin", "high", stack), ("mito", "high", stack[:, :, :-2]), ("actin", "low", stack),
        ("mito", "low", stack),
    ):  # fmt: skip
        tifffile.imwrite(tmp_path / f"{name}-60x-noise2-{snr}snr.tif", data, **GREY)
    assert cli.main(["data", "check", str(tmp_path)]) in (0, None)
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines()[:9])
    for name, message in (
        ("T1", "ER/GT_all.mrc: found 9 frames of 40 x 36 px, expected at least 10 frames"),
        ("T1", "CCPs/GT_all.mrc: this file is damaged or incomplete ("),
        ("T2", "Microtubules/GT_all.mrc: found complex64 pixels"),
        ("T4", "F-actin/GT_all_a.mrc: this file is damaged or incomplete (22 bytes"),
        ("T7", f"{ATN}: this TIFF is damaged or incomplete"),
        ("T9", "highsnr.tif: found 30 frames of 40 x 34 px, expected 30 frames of 40 x 36 px as"),
    ):
        assert "wrong: " in lines[name] and message in lines[name], lines[name]
        with pytest.raises(InputError):
            images_of(TASKS[name], tmp_path, tmp_path / "cache")
    assert lines["T8"].endswith("ready")
    # colours are not structures, nor is a second image in the file
    path = tmp_path / "mito-60x-noise2-highsnr.tif"
    tifffile.imwrite(path, np.uint8(STACK[..., :3] // 256), photometric="rgb")
    assert f"{path}: found 3 channels, expected 1" in availability(tmp_path)
    with tifffile.TiffWriter(path) as writer:
        for part in (stack, stack[:, 1:]):
            writer.write(part, **GREY)
    assert f"{path}: found 2 images, expected one stack" in availability(tmp_path)


def test_either_byte_order_of_an_mrc_stack(tmp_path: Path) -> None:
    """Also without a byte order mark, and with an extended header."""
    path = biosr(tmp_path, "ER", STACK[:12, ..., 0].astype(np.int16))
    little = path.read_bytes()
    with mrcfile.open(path) as mrc:
        header = np.array(mrc.header)
        swapped = header.astype(header.dtype.newbyteorder()), mrc.data.byteswap()
    for stamp in (True, False):
        raw = bytearray(swapped[0].tobytes() + swapped[1].tobytes())
        raw[212:216] = b"\x11\x11\0\0" if stamp else bytes(4)
        path.write_bytes(raw)
        assert header_of(path) == Header(12, 1, 40, 36)
    longer = bytearray(little)
    longer[92:96] = (200).to_bytes(4, "little")
    path.write_bytes(longer)
    with pytest.raises(InputError, match="but its header declares"):
        header_of(path)
    path.write_bytes(longer[:1024] + bytes(200) + longer[1024:])
    assert header_of(path) == Header(12, 1, 40, 36)
    shutil.rmtree(path.parent)
