"""Outputs that cannot be written are refused before the work, by every command that writes."""

from __future__ import annotations

import math
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from denoisplit.config.commands import COMMANDS
from denoisplit.images import LazyImage

from .conftest import Bench, stack

Refused = Callable[..., str]
Usage = namedtuple("Usage", "total used free")
# commands that write nothing but what they print
READERS = ("evaluate", "inspect", "check", "data check")


def lines(bench: Bench, run: Path, package: Path) -> dict[str, tuple[list[object], str]]:
    """A call of every command that writes, without its output, and the ending of that."""
    both, mixed = bench.structures("ER", "MT"), bench.folder / "mixed.tif"
    return {
        "train": (["train", *both, "--max-steps", "2"], ""),
        "predict": (["predict", run, mixed], ""),
        "superpose": (["superpose", *both], ".tif"),
        "noise-model fit": (
            ["noise-model", "fit", "--clean", mixed, "--synthetic-poisson", 1],
            ".npz",
        ),
        "demo": (["demo", "--max-steps", "2"], ""),
        "export": (["export", run], ".zip"),
        "import": (["import", package], ""),
        "reproduce": (["reproduce", "S1", *both], ""),
        "compare": (["compare", *both, "--max-steps", "2"], ""),
        "figure": (["figure", "3", run, *both], ".png"),
    }


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """No package: the output is looked at first."""
    path = tmp_path / "package.zip"
    path.write_bytes(b"no package")
    return path


@pytest.fixture
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are not even read."""

    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    for place in ("commands.train", "commands.superpose", "commands.noise_model"):
        monkeypatch.setattr(f"denoisplit.{place}.read_frames", too_late)
    monkeypatch.setattr("denoisplit.commands.predict.plan_image", too_late)


WRITERS = [name for name in COMMANDS if name not in (*READERS, "calibrate")]


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize("command", WRITERS)
def test_places_that_cannot_be_written(
    command: str, refused: Refused, bench: Bench, run_folder: Path, package: Path, tmp_path: Path
) -> None:
    call, ending = lines(bench, run_folder, package)[command]
    (tmp_path / "plain").write_text("a file")
    refused(*call, "-o", tmp_path / f"plain/out{ending}", says=(tmp_path, "Not a directory"))
    long = tmp_path / f"{'x' * 256}{ending}"
    refused(*call, "-o", long, says=("File name too long", "choose a shorter name"))
    refused(*call, "-o", tmp_path / f"{'x' * 256}/out{ending}", says=("File name too long",))


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize("command", WRITERS)
def test_files_and_folders_are_not_mixed_up(
    command: str, refused: Refused, bench: Bench, run_folder: Path, package: Path, tmp_path: Path
) -> None:
    call, ending = lines(bench, run_folder, package)[command]
    other = tmp_path / f"other{ending}"
    if ending:
        other.mkdir()
    else:
        other.write_text("a file")
    refused(*call, "-o", other, says=(other,))


@pytest.mark.usefixtures("_no_work")
def test_derived_names_are_too_long(
    refused: Refused, bench: Bench, run_folder: Path, tmp_path: Path
) -> None:
    image = tmp_path / f"{'x' * 215}.tif"
    shutil.copy(bench.folder / "mixed.tif", image)
    refused("predict", run_folder, image, "-o", "out", says=("_split.ome.tif", "too long"))
    model = tmp_path / f"{'x' * 210}.npz"  # its checkpoint is too long
    refused("noise-model", "fit", "--noisy", image, "-o", model, says=(".n2v.ckpt", "too long"))


def test_a_run_that_cannot_be_written_is_not_calibrated(
    call: Callable[..., Any], run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", read_only)
    answer = call("calibrate", run_folder)
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert f"{run_folder}" in answer.err and "(Read-only file system); choose" in answer.err


@pytest.mark.parametrize("kind", ["tif", "ome.zarr"])
def test_results_that_do_not_fit_on_the_disk(
    kind: str, refused: Refused, works: Callable[..., Any], run_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Two images of two planes: split, std and spread of 2 channels, 3 samples of both."""
    from ..jobs.conftest import SHAPE, made

    images = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for image in images:
        made(image) if kind == "ome.zarr" else stack(image, SHAPE)
    kinds = 3 if (run_folder / "error_map.safetensors").exists() else 2
    plane = 4 * math.prod(SHAPE)
    total = 2 * (kinds * 2 + 3 * 2) * plane
    if kind == "ome.zarr":  # the levels of a pyramid take a third more, rounded per result
        total += 2 * (kinds * (2 * plane // 3) + 6 * plane // 3)
    beside = 3 * 2 * plane  # the largest is written once more
    call = ["predict", run_folder, *images, "-o", "out", "--samples", 3, "--keep-samples", 3]
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, total + beside - 1))
        refused(*call, says=("the results need", "GB left; free disk space"))
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, total + beside))
        works(*call)
    with monkeypatch.context() as patch:  # nothing is left to do
        patch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, 0))
        works(*call, "--resume")


def test_a_superposition_that_does_not_fit_on_the_disk(
    refused: Refused, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, 4 * 64 * 64 * 4 - 1))
    both = bench.structures("ER", "MT")
    refused("superpose", *both, "-o", "m.tif", says=("m.tif", "the results need"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**9, 0, 4 * 64 * 64 * 4))


def test_a_disk_that_fills_up_leaves_what_can_be_continued(
    call: Callable[..., Any], works: Callable[..., Any], run_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any],
) -> None:  # fmt: skip
    image = stack(tmp_path / "mixed.tif", (2, 75, 90))
    line = ["predict", run_folder, image, "--samples", 2, "-o"]
    works(*line, "whole")
    number = {"left": 1}

    def filling(self: LazyImage, key: Any) -> Any:
        number["left"] -= 1
        if number["left"] < 0:
            raise OSError(28, "No space left on device")
        return whole(self, key)

    whole = LazyImage.plane
    with monkeypatch.context() as patch:
        patch.setattr(LazyImage, "plane", filling)
        number["left"] = 3
        answer = call(*line, "out")
    assert answer.code == 2 and answer.err.strip().splitlines()[-1].count("No space left") == 1
    assert "Traceback" not in answer.err
    works(*line, "out", *(["--resume"] if Path("out").exists() else []))
    for name in ("mixed_split.ome.tif", "mixed_std.ome.tif"):
        assert (read(Path("out") / name) == read(Path("whole") / name)).all()
