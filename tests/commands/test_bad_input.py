"""Bad images and outputs: one line that names it and says what to do, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray as xr

from denoisplit.images import write_ome_tiff

from ..forked import Process
from .conftest import stack

Call = Callable[..., Any]
NOISE = {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0}
COMMANDS = ("train", "predict", "evaluate", "superpose")


FILES = {
    "missing.tif": ("no such file", "check the name"),
    "cut.tif": ("TIFF", "copy or save the file again"),
    "junk.tif": ("TIFF", "copy or save the file again"),
    "junk.mrc": ("this MRC file is unreadable", "copy the file again"),
    "text.txt": ("files of type '.txt' cannot be read", "save it as TIFF"),
    "empty": ("this folder has no image files", "check the folder"),
    "rgb.tif": ("a colour (RGB) image", "choose one of its colours, such as rgb.tif:0"),
    "complex.mrc": ("complex pixels", "save the intensities"),
    "nan.tif": (": 1 of ", "pixels are NaN or infinite", "crop or fill"),
    "infinite.tif": (": 1 of ", "pixels are NaN or infinite", "crop or fill"),
    "constant.tif": ("constant", "7"),
    "channels.tif": ("2 channels", "choose one by its name or number"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FILES)
def test_images_that_cannot_be_used(
    name: str, command: str, refused: Call, bad: Path, bench: Any, run_folder: Path, tmp_path: Path
) -> None:
    path, structures = bad / name, [*bench.structures("ER"), "--structure", "MT", bad / name]
    lines = {
        "train": ["--config", bench.yaml(tmp_path, **NOISE), *structures, "-o", "run"],
        "predict": [run_folder, bench.image("mixed"), path, "-o", "out"],
        "evaluate": [run_folder, *structures],
        "superpose": [*structures, "-o", "mixed.tif"],
    }
    says = FILES[name]
    if name == "constant.tif":
        says = (
            "constant" if command == "predict" else "all pixels of this frame have the value",
            "7",
        )
    refused(command, *lines[command], says=(name, *says))


@pytest.mark.parametrize("command", ["train", "evaluate", "superpose"])
def test_structures_that_do_not_belong_together(
    command: str, refused: Call, bench: Any, run_folder: Path, tmp_path: Path
) -> None:
    start = {
        "train": ["train", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run"],
        "evaluate": ["evaluate", run_folder],
        "superpose": ["superpose", "-o", "mixed.tif"],
    }[command]
    fewer = stack(tmp_path / "fewer.tif", (3, 64, 64))
    wider = stack(tmp_path / "wider.tif", (4, 64, 80))
    for path, says in (
        (fewer, ("3 frames", "4 as in structure ER")),
        (wider, ("frame 0", "64 x 80 px", "64 x 64 px as in structure ER")),
    ):
        refused(*start, *bench.structures("ER"), "--structure", "MT", path,
                says=("structure MT", *says, "the same fields of view"))  # fmt: skip
    twice = (*bench.structures("ER"), "--structure", "ER", bench.image("MT"))
    refused(*start, *twice, says=("--structure ER is given twice",))
    same = ("--structure", "ER", bench.image("ER"), bench.image("ER"))
    refused(*start, *same, *bench.structures("MT"), says=("ER.tif", "named twice"))
    refused(*start, "--structure", "ER", says=("--structure ER", "no files"))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((64, 64), ("64 x 64 px", "cut into training, validation and test")),
        ((40, 200), ("a part of", "for validation", "network.patch")),
        ((3, 24, 80), ("24 x 80 px for training", "at least 32 x 32")),
    ],
)
def test_frames_too_small_to_be_cut(
    shape: tuple[int, ...], says: tuple[str, ...], refused: Call, bench: Any, tmp_path: Path
) -> None:
    small = stack(tmp_path / "small.tif", shape)
    refused("train", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
            "--structure", "ER", small, says=("structure ER", *says))  # fmt: skip


def test_one_constant_frame_of_many_is_named(refused: Call, bench: Any, tmp_path: Path) -> None:
    pixels = tifffile.imread(bench.image("MT"))
    pixels[2] = 5
    write_ome_tiff(tmp_path / "mt.tif", xr.DataArray(pixels, dims=["t", "y", "x"]))
    refused("train", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
            *bench.structures("ER"), "--structure", "MT", tmp_path / "mt.tif",
            says=("mt.tif[2]", "the value 5", "leave this frame out"))  # fmt: skip


def test_poisson_noise_of_negative_values(refused: Call, bench: Any, tmp_path: Path) -> None:
    """Of a test frame too, and before the training."""
    path = stack(tmp_path / "low.tif", (4, 64, 64), first=-3)
    structures = ["--structure", "ER", path]
    for start in (["train", "--config", bench.yaml(tmp_path), "-o", "run"],
                  ["superpose", "-o", "mixed.tif"]):  # fmt: skip
        refused(*start, *structures, "--synthetic-poisson", "1",
                says=("structure 1, frame 0", "-3", "--synthetic-poisson"))  # fmt: skip


# ---------------------------------------------------------------- outputs


def test_outputs_that_exist(refused: Call, bench: Any, run_folder: Path, tmp_path: Path) -> None:
    image, both = bench.image("ER"), bench.structures("ER", "MT")
    for there, says in ((run_folder, ("this output exists already", "--resume")),
                        (image, ("expected a folder", "choose another output"))):  # fmt: skip
        refused("train", "--config", bench.yaml(tmp_path, **NOISE), *both, "-o", there,
                says=(there, *says))  # fmt: skip
    refused("predict", run_folder, image, "-o", run_folder, says=(run_folder, "--add"))
    refused("predict", run_folder, image, "-o", image, says=(image, "a folder"))
    refused("superpose", *both, "-o", image, says=(image, "this output exists already"))
    new = [f"{n}.tif" for n in range(3)]
    refused("superpose", *both, "-o", *new, image, says=(image, "this output exists already"))
    refused("superpose", *both, "-o", *new, new[0], says=("0.tif", "this file exists already"))


@pytest.mark.parametrize("command", ["train", "predict", "superpose"])
def test_outputs_where_nothing_can_be_written(
    command: str, refused: Call, bench: Any, run_folder: Path, tmp_path: Path
) -> None:
    inside = bench.image("ER") / "new.tif"
    both = bench.structures("ER", "MT")
    lines = {
        "train": ["--quiet", "--config", bench.yaml(tmp_path, **NOISE), *both],
        "predict": [run_folder, bench.image("mixed")],
        "superpose": both,
    }
    refused(command, *lines[command], "-o", inside, says=(inside, "cannot write this file"))


def test_outputs_of_other_kinds(refused: Call, bench: Any) -> None:
    refused("superpose", *bench.structures("ER", "MT"), "-o", "new/mixed.png",
            says=("mixed.png", "'.png'", "rename the output"))  # fmt: skip
    refused("superpose", *bench.structures("ER", "MT"), "-o", "a.tif", "b.tif",
            says=("2 files", "each of 4 frames"))  # fmt: skip


def test_inputs_of_one_name(refused: Call, bench: Any, run_folder: Path, tmp_path: Path) -> None:
    """Their results would be one file; endings do not count."""
    other = shutil.copy(bench.image("ER"), tmp_path / "ER.ome.tiff")
    refused("predict", run_folder, bench.image("ER"), other, "-o", "out",
            says=("ER.ome.tiff", "the same name as", "ER.tif", "rename"))  # fmt: skip


# ---------------------------------------------------------------- full disk


def files() -> list[str]:
    return [str(path) for path in Path().rglob("*") if path.is_file()]


def test_a_full_disk_leaves_no_file(
    bench: Any, run_folder: Path, programs: Path, tmp_path: Path
) -> None:
    both = bench.structures("ER", "MT")
    lines: dict[str, list[Any]] = {
        "train": ["--config", bench.yaml(tmp_path, **NOISE), *both, "-o", "run"],
        "predict": [run_folder, bench.image("mixed"), "-o", "out", "--samples", "2"],
        "superpose": [*both, "-o", "mixed.tif"],
    }
    for command, line in lines.items():
        done = Process(programs, command, "--quiet", *line, largest=500).end()
        assert done.code == 2, done.err
        assert done.err.count("\n") == 1, done.err
        assert f"{line[line.index('-o') + 1]}" in done.err
        assert "check disk space" in done.err
        assert files() == []


def test_what_is_done_is_kept_where_there_is_no_room(
    bench: Any, run_folder: Path, programs: Path, tmp_path: Path, works: Callable[..., Any]
) -> None:
    """The mean fits, the samples do not: no result has its name, and it goes on with room."""
    small = stack(tmp_path / "small.tif", (32, 32))
    wide = shutil.copy(bench.image("mixed"), tmp_path / "wide.tif")  # the second in their order
    images = [run_folder, small, wide]
    options = ["--samples", "8", "--keep-samples", "4"]  # fewer than 8 are warned of
    words = ["predict", "--quiet", *images, "-o", "out", *options]
    done = Process(programs, *words, largest=30_000).end()
    assert done.code == 2 and "small_samples.ome.tif" in done.err
    assert "--resume" in done.err and done.err.count("\n") == 1
    assert {Path(name).parts[1] for name in files()} == {
        "small_split.unfinished", "wide_split.unfinished"
    }  # fmt: skip
    works("predict", *images, "-o", "out", *options, "--resume")
    works("predict", *images, "-o", "whole", *options)
    names = sorted(os.listdir("whole"))
    assert sorted(os.listdir("out")) == names
    for name in names:
        np.testing.assert_array_equal(
            tifffile.imread(f"out/{name}"), tifffile.imread(f"whole/{name}")
        )


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="a small disk is mounted by root only"
)
def test_a_disk_that_is_really_full(bench: Any, run_folder: Path, call: Call) -> None:
    disk = Path("disk")
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        for command in (
            [
                "predict",
                "-q",
                run_folder,
                bench.image("mixed"),
                "-o",
                disk / "out",
                "--samples",
                "8",
            ],
            ["superpose", *bench.structures("ER", "MT"), "-o", disk / "mixed.tif"],
        ):
            answer = call(*command)
            assert answer.code == 2 and answer.err.count("\n") == 1
            assert "disk space" in answer.err
            # known beforehand, by the system, or by NumPy in its own words of a short write
            assert any(w in answer.err for w in ("GB left", "No space left", "requested and"))
            shutil.rmtree(disk / "out" / "mixed_split.unfinished", ignore_errors=True)
            assert [path for path in disk.rglob("*") if path.is_file()] == []
    finally:
        subprocess.run(["umount", disk], check=True)
