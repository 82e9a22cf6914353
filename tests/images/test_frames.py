"""Files and folders of one structure -> frames."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from denoisplit.errors import InputError
from denoisplit.images import ImageFile, fingerprint, list_files, read_frames

RNG = np.random.default_rng(0)


def _write(path: Path, *shape: int, **options: Any) -> np.ndarray:
    array = RNG.integers(0, 999, shape).astype("uint16")
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return array


def test_folder_is_read_in_natural_order_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    for name in ("img10.tif", "img2.TIF", "img1.tiff", ".img3.tif"):
        _write(tmp_path / name, 5, 7)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sub.tif").mkdir()
    names = [file.name for file in list_files([tmp_path])]
    assert names == ["img1.tiff", "img2.TIF", "img10.tif"]
    assert list_files([tmp_path / "img*.tif"]) == [ImageFile(tmp_path / "img10.tif")]


def test_the_order_is_one_for_folders_patterns_and_lists(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    names = ["a1.tif", "a2.tif", "a10.tif", "b/1.tif", "b/02.tif", "b/3.tif", "c.tif"]
    files = [tmp_path / name for name in names]
    for file in files:
        _write(file, 5, 7)
    direct = [file for file in files if file.parent == tmp_path]
    for order in (files, files[::-1], sorted(files), [files[-1], tmp_path / "b", *files[:3]]):
        assert [file.path for file in list_files(order)] == files
        assert [file.path for file in list_files([str(file) for file in order])] == files
    assert list_files(tmp_path) == list_files(tmp_path / "*.tif") == list_files(direct)
    inner = list_files(f"{tmp_path}/?/*.tif:0")  # patterns of folders
    assert [file.path for file in inner] == [f.path for f in list_files([tmp_path / "b"])]
    assert [file.path for file in list_files(direct)] == direct
    kept = read_frames(files[::-1], keep_order=True)
    assert kept.files == tuple(ImageFile(file.resolve()) for file in files[::-1])


def test_files_of_different_pixel_sizes_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, size in (("a", 0.1), ("b", 0.1005), ("c", None), ("d", 0.2)):
        metadata = {} if size is None else {"PhysicalSizeX": size, "PhysicalSizeY": size}
        _write(tmp_path / f"{name}.ome.tif", 6, 7, metadata={"axes": "YX", **metadata})
    files = sorted(tmp_path.iterdir())
    with caplog.at_level(logging.WARNING, "denoisplit"):
        assert read_frames(files[:3]).pixel_size_um == {"x": 0.1, "y": 0.1}
        assert not caplog.records
        assert read_frames(files[2:]).pixel_size_um == {"x": 0.2, "y": 0.2}
        assert not caplog.records
        read_frames(files)
    (record,) = caplog.records
    text = record.getMessage()
    assert "d.ome.tif: its pixels are 0.2 um wide" in text and "a.ome.tif 0.1 um" in text


def test_every_time_and_depth_is_a_frame_and_sizes_may_differ(tmp_path: Path) -> None:
    stack = _write(
        tmp_path / "1.ome.tif",
        2,
        3,
        5,
        7,
        metadata={"axes": "TZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1},
    )
    single = _write(tmp_path / "2.tif", 6, 4)
    frames = read_frames([tmp_path])
    assert len(frames.images) == len(frames.origins) == 7
    np.testing.assert_array_equal(np.stack(frames.images[:6]), stack.reshape(6, 5, 7))
    np.testing.assert_array_equal(frames.images[6], single)
    files = tuple(ImageFile(tmp_path / name).resolve() for name in ("1.ome.tif", "2.tif"))
    assert frames.files == files
    assert frames.origins[4] == f"{files[0]}[4]"
    assert frames.origins[6] == str(files[1])
    assert frames.pixel_size_um == {"x": 0.1, "y": 0.1}


def _refusal(entries: list[Path]) -> InputError:
    with pytest.raises(InputError) as refusal:
        read_frames(entries)
    assert "\n" not in str(refusal.value)
    return refusal.value


def test_channels_are_refused_by_name(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["ER", "MT"]}}
    _write(tmp_path / "both.ome.tif", 2, 5, 7, metadata=metadata)
    refusal = _refusal([tmp_path / "both.ome.tif"])
    assert refusal.problem == "this image has 2 channels (ER, MT), expected one channel"
    assert "both.ome.tif:ER or both.ome.tif:0" in refusal.remedy
    assert "both.ome.tif" in refusal.where


def test_constant_frame_is_refused_with_its_place_and_value(tmp_path: Path) -> None:
    stack = RNG.integers(0, 999, (3, 5, 7)).astype("uint16")
    stack[1] = 42
    tifffile.imwrite(tmp_path / "er.tif", stack, photometric="minisblack")
    refusal = _refusal([tmp_path / "er.tif"])
    assert refusal.where.endswith("er.tif[1]")
    assert "42" in refusal.problem


def test_real_constant_image_is_refused(data_dir: Path) -> None:
    refusal = _refusal([data_dir / "formats" / "constant_zero_2000x2000.tif"])
    assert refusal.problem.endswith("value 0")


def test_real_stack_gives_its_tiles(data_dir: Path) -> None:
    frames = read_frames([data_dir / "nf1_cells" / "er.tif"])
    assert {image.shape for image in frames.images} == {(296, 304)}
    assert len(frames.images) == 36


def test_nothing_missing_foreign_and_doubled_entries_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _write(tmp_path / "a.tif", 5, 7)
    (tmp_path / "a.gif").write_bytes(b"x")
    assert "no image file was given" in _refusal([]).problem
    assert "this folder has no image files" in _refusal([tmp_path / "empty"]).problem
    assert "no such file" in _refusal([tmp_path / "gone.tif"]).problem
    assert "no such file" in _refusal([tmp_path / "gone*.tif"]).problem
    assert "'.gif'" in _refusal([tmp_path / "a.gif"]).problem
    assert "twice" in _refusal([tmp_path, tmp_path / "empty" / ".." / "a.tif"]).problem


def test_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    first, second = tmp_path / "a.tif", tmp_path / "copy" / "a.tif"
    for path in (first, second):
        path.write_bytes(b"pixels")
    digest = hashlib.sha256(b"pixels").hexdigest()
    assert fingerprint([first]) == [{"name": "a.tif", "bytes": 6, "sha256": digest}]
    assert fingerprint([first]) == fingerprint([second])
    second.write_bytes(b"pixelz")
    assert fingerprint([first]) != fingerprint([second])
    with pytest.raises(InputError, match=r"gone\.tif"):
        fingerprint([tmp_path / "gone.tif"])
