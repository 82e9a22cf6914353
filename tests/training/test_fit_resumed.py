"""Trainings that are killed, interrupted or cannot write: what is left, and how they resume."""

from __future__ import annotations

import csv
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
import yaml

from denoisplit.cli.main import main
from denoisplit.data.simulation import simulate
from denoisplit.files.atomic import draft_of
from denoisplit.images import write_ome_tiff
from denoisplit.run import load

from ..forked import Process

FRAMES = {
    "ER": simulate("mesh", frames=4, size=64, seed=1),
    "MT": simulate("filaments", frames=4, size=64, seed=1),
}
TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 8, "batch": 2},
    "noise_model_fit": {"steps": 20, "components": 1},
    "prediction": {"calibration_samples": 2, "error_map": False},
    "data": {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0},
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    for name, pixels in FRAMES.items():
        write_ome_tiff(folder / f"{name}.tif", xr.DataArray(pixels, dims=["t", "y", "x"]))
    schedules: dict[str, dict[str, Any]] = {
        "plateau": {"plateau_patience": 1, "learning_rate": 0.1, "max_epochs": 16,
                    "max_steps": None},
        "cosine": {"schedule": "cosine", "max_steps": 48, "weight_averaging": 0.9,
                   "optimiser": "muon"},
    }  # fmt: skip
    monitored = {"plateau": "risk", "cosine": "loss"}
    for name, values in schedules.items():
        tiny_ = TINY | {"training": TINY["training"] | values}
        tiny_ |= {"objective": {"monitor": monitored[name]}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tiny_))
    return folder


def arguments(bench: Path, kind: str, run: Path) -> list[str]:
    words = ["train", "-q", "--config", bench / f"{kind}.yaml", "-o", run]
    for name in FRAMES:
        words += ["--structure", name, bench / f"{name}.tif"]
    return [str(word) for word in words]


def until(process: Process, history: Path, epochs: int) -> None:
    """Wait for some finished epochs of a running training."""
    process.wait_for(lambda: history.exists() and len(rows(history)) >= epochs)


Killed = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def killed(bench: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """By schedule an uninterrupted run, and one that was killed between two epochs or in one."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def made(kind: str) -> tuple[Path, Path]:
        whole, part = folder / f"{kind}-whole", folder / f"{kind}-part"
        first, second = (Process(programs, *arguments(bench, kind, run)) for run in (whole, part))
        until(second, part / "history.csv", 3)
        second.send(signal.SIGKILL)
        assert second.end().code == -signal.SIGKILL
        assert first.end().code == 0
        assert not (part / "model.safetensors").exists()
        return whole, part

    return made


def same_result(a: Path, b: Path) -> Iterator[str]:
    """Names of files that differ between two runs, bit for bit."""
    for name in ("model.safetensors", "calibration.json", "metrics.json"):
        if (a / name).read_bytes() != (b / name).read_bytes():
            yield name
    errors = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows(run / "history.csv")]
        for run in (a, b)
    ]
    if errors[0] != errors[1]:
        yield "history.csv"


def test_a_killed_training_is_resumed_to_the_same_weights(killed: Killed, programs: Path) -> None:
    """With the plateau schedule of the estimated risk; the rate is lowered on the way."""
    whole, part = killed("plateau")
    run = shutil.copytree(part, part.with_name("resumed"))
    draft_of(run / "checkpoints/best.ckpt").write_bytes(b"half")  # as a kill on writing leaves it
    assert Process(programs, "train", "-q", "-o", run, "--resume").end().code == 0
    assert list(same_result(whole, run)) == []
    history = rows(run / "history.csv")
    assert [int(row["epoch"]) for row in history] == list(range(1, 17))
    assert float(history[-1]["learning_rate"]) < float(history[0]["learning_rate"])
    assert len({row["val_risk"] for row in history}) > 1
    seconds = [float(row["seconds"]) for row in history]
    assert seconds == sorted(seconds)
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.ckpt"}


@pytest.mark.slow
def test_a_killed_training_is_resumed_elsewhere(
    killed: Killed, bench: Path, programs: Path, tmp_path: Path
) -> None:
    """With the cosine schedule and a mean of the weights; run and images were moved in between."""
    whole, part = killed("cosine")
    run, images = shutil.copytree(part, tmp_path / "run"), shutil.copytree(bench, tmp_path / "in")
    done = Process(programs, *arguments(images, "cosine", run), "--resume").end()
    assert (done.code, done.err) == (0, "")
    assert list(same_result(whole, run)) == []
    assert [int(row["epoch"]) for row in rows(run / "history.csv")] == list(range(1, 13))


@pytest.mark.parametrize("kind", ["plateau", pytest.param("cosine", marks=pytest.mark.slow)])
def test_a_killed_training_is_finished_with_its_best_epoch(
    killed: Killed, tmp_path: Path, kind: str, capsys: Any
) -> None:
    """All parameters are those of the best epoch; nothing is trained any more."""
    _, part = killed(kind)
    run = shutil.copytree(part, tmp_path / "run")
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    history = (run / "history.csv").read_bytes()
    assert main(["train", "-q", "-o", str(run), "--resume", "--finish"]) == 0
    assert (run / "history.csv").read_bytes() == history
    model = load(run, device="cpu").model
    for name, value in model.named_parameters():
        assert torch.equal(value, best[f"model.{name}"]), name
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.ckpt"}
    assert main(["train", "-o", str(run), "--resume"]) == 0
    assert "already complete" in capsys.readouterr().err


def test_a_training_without_an_epoch_cannot_be_finished(
    killed: Killed, tmp_path: Path, capsys: Any
) -> None:
    run = shutil.copytree(killed("plateau")[1], tmp_path / "run")
    (run / "checkpoints/best.ckpt").unlink()
    assert main(["train", "-q", "-o", str(run), "--resume", "--finish"]) == 2
    line = capsys.readouterr().err
    assert f"{run}: no epoch of this training is complete yet" in line and line.count("\n") == 1
    assert main(["train", "-q", "-o", str(run), "--structure", "A", "a.tif", "--finish"]) == 2
    assert "add --resume" in capsys.readouterr().err


def test_a_full_disk_leaves_the_last_good_checkpoint(
    killed: Killed, programs: Path, tmp_path: Path
) -> None:
    _, part = killed("plateau")
    run = shutil.copytree(part, tmp_path / "run")
    # the kill may have hit the writing of one more, which is removed on resuming
    before = {p.name: p.read_bytes() for p in (run / "checkpoints").glob("*.ckpt")}
    limit = 100_000  # bytes per file: less than a checkpoint, more than the rest
    code, _, errors = Process(programs, "train", "-q", "-o", run, "--resume", largest=limit).end()
    assert code == 2
    assert errors.count("\n") == 1 and str(run) in errors, errors
    assert "cannot write this file (File too large); check disk space" in errors
    assert {p.name: p.read_bytes() for p in (run / "checkpoints").iterdir()} == before


def test_control_c_ends_in_one_line(bench: Path, programs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = Process(programs, *arguments(bench, "cosine", run))
    until(process, run / "history.csv", 2)
    process.send(signal.SIGINT)
    code, _, errors = process.end()
    assert code == 130
    assert errors == "denoisplit train: interrupted; continue with --resume\n"
    assert (run / "checkpoints/last.ckpt").exists()


def test_a_diverging_training_ends_in_one_line(
    bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load((bench / "cosine.yaml").read_text())
    values["training"] |= {"learning_rate": 1e30}
    (tmp_path / "wild.yaml").write_text(yaml.safe_dump(values))
    words = arguments(bench, "cosine", tmp_path / "run")
    words[words.index("--config") + 1] = str(tmp_path / "wild.yaml")
    assert main(words) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "training.learning_rate" in errors, errors
