"""``denoisplit predict`` on images that are unlike the training data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import denoisplit
from denoisplit.files.json_file import write_json
from denoisplit.jobs.alarm_file import ALARM
from denoisplit.training.calibration.alarm import fit_alarm

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def watched(run_folder: Path, bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an alarm for bright images with little noise."""
    path = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("watched") / "er-mt"))
    run = denoisplit.load(path)
    random = np.random.default_rng(0)
    frames = [np.float32(random.normal(100, 1, (2, 96, 96))) for _ in range(4)]
    alarm = fit_alarm(run.model, frames, run.superposition, [], tile=96, halo=16, seed=0)
    assert alarm is not None
    write_json(path / ALARM, alarm.as_dict())
    return path


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).normal(100, 30, (2, 80, 100)).astype(np.float32)
    tifffile.imwrite(tmp_path / "noise.tif", pixels, metadata={"axes": "ZYX"})
    return tmp_path / "noise.tif"


def test_a_line_and_a_record_say_what_is_unlike(works: Call, watched: Path, noise: Path) -> None:
    answer = works("predict", watched, noise, "-o", "out", "--samples", "2", "--json", "a.json")
    assert "noise.tif: input unlike the training data: noisier" in answer.err
    (record,) = json.loads(Path("a.json").read_text())
    assert record["file"] == str(noise)
    assert record["tiles"] == 2 * 2 * 2
    assert record["unlike"] == 1.0
    assert "noisier" in record["what"]
    # results that are complete are judged again
    works("predict", watched, noise, "-o", "out", "--samples", "2", "--resume", "--json", "b.json")
    assert json.loads(Path("b.json").read_text()) == [record]


def test_json_alone_is_printed_where_no_file_follows(
    works: Call, watched: Path, noise: Path
) -> None:
    for words in (["--json", noise], [noise, "--json"], [noise, "--json", "--quiet"]):
        answer = works("predict", watched, "-o", "out", "--samples", "0", "--resume", *words)
        printed = json.loads(answer.out)
        assert printed["files"] == ["out/noise_split.ome.tif", "out/noise_std.ome.tif"]
        (record,) = printed["images"]
        assert record["denoisplit"] == printed["denoisplit"] == denoisplit.__version__
        assert (record["run"], record["input"]) == ("er-mt", "noise.tif")
        assert record["alarm"] and "noisier" in record["what"]


def test_inspect_tells_what_predict_would(works: Call, watched: Path, noise: Path) -> None:
    printed = json.loads(works("inspect", noise, "--run", watched, "--json").out)
    assert printed["suitability"]["alarm"]["what"][0] == "noisier"
    assert any("unlike the training data: noisier" in p for p in printed["suitability"]["problems"])
    assert "unlike the training data" in works("inspect", noise, "--run", watched).out


def test_the_number_of_samples_does_not_matter(works: Call, watched: Path, noise: Path) -> None:
    records = []
    for samples in ("0", "1"):
        arguments = ("-o", f"out{samples}", "--samples", samples, "--json", f"{samples}.json")
        works("predict", watched, noise, *arguments)
        records += json.loads(Path(f"{samples}.json").read_text())
    assert records[0] == records[1]


def test_a_run_without_an_alarm_is_silent(works: Call, watched: Path, noise: Path) -> None:
    plain = Path(shutil.copytree(watched, "plain"))
    (plain / ALARM).unlink()
    answer = works("predict", plain, noise, "-o", "out", "--samples", "1")
    assert "unlike" not in answer.err


def test_a_record_needs_an_alarm(refused: Call, watched: Path, noise: Path) -> None:
    plain = Path(shutil.copytree(watched, "plain"))
    (plain / ALARM).unlink()
    refused("predict", plain, noise, "-o", "out", "--json", "a.json", says="denoisplit calibrate")
    assert not Path("out").exists()


def test_a_record_is_not_overwritten(refused: Call, watched: Path, noise: Path) -> None:
    Path("a.json").write_text("mine")
    refused("predict", watched, noise, "-o", "out", "--json", "a.json", says="a.json")
    assert Path("a.json").read_text() == "mine"
