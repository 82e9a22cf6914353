"""The command line as a process: what it prints where, and options from YAML files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray as xr
import yaml

import denoisplit
from denoisplit.cli.main import main
from denoisplit.cli.parser import parse
from denoisplit.data.simulation import simulate
from denoisplit.images import write_ome_tiff

from ..forked import Process

COMMAND = Path(sys.executable).with_name("denoisplit")
TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 4, "batch": 2},
    "prediction": {"calibration_samples": 4, "error_map": False},
    "noise_model_fit": {"steps": 50, "components": 1},
    "synthetic_poisson": 2,
}


def put(path: Path, **values: Any) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bench(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a run trained by one YAML file that holds every option."""
    folder = tmp_path_factory.mktemp("bench")
    for name, kind in {"ER": "mesh", "MT": "filaments"}.items():
        pixels = simulate(kind, frames=4, size=64, seed=1)
        write_ome_tiff(folder / f"{name}.tif", xr.DataArray(pixels, dims=["t", "y", "x"]))
    structures = {"ER": "ER.tif", "MT": ["MT.tif"]}
    put(folder / "train.yaml", **TINY, structures=structures, output="run", seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = Process(programs, "train", "--config", "train.yaml").end()
    assert done.code == 0, done.err
    assert done.out.endswith("run: run\n")
    assert "noise model of ER" in done.err and "left" in done.err
    return folder


@pytest.fixture(autouse=True)
def _beside_the_images(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench)


def test_help_is_quick() -> None:
    """The best of three in processor time, which is that of the clock unless others compute too."""
    times = []
    for _ in range(3):
        start = os.times()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=False)
        end = os.times()
        times.append(sum(end[2:4]) - sum(start[2:4]))
        assert done.returncode == 0 and "predict" in done.stdout
    assert min(times) < 0.3


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"denoisplit {denoisplit.__version__}\n"


def test_options_of_a_name_and_values_become_mappings() -> None:
    command, given = parse(
        ["train", "--structure", "ER", "a.tif", "b.tif", "--structure", "MT", "c.tif", "-o", "run",
         "--noise-model", "ER", "er.npz", "--noise-model", "MT", "mt.npz", "--offset", "MT", "1e2"]
    )  # fmt: skip
    assert command.name == "train"
    assert given == {
        "structures": {"ER": ["a.tif", "b.tif"], "MT": ["c.tif"]},
        "noise_models": {"ER": "er.npz", "MT": "mt.npz"},
        "offsets": {"MT": 100.0},
        "output": "run",
    }


def test_files_may_follow_options() -> None:
    _, given = parse(["predict", "run", "-q", "a.tif", "-o", "out", "b.tif"])
    assert given == {"run": "run", "files": ["a.tif", "b.tif"], "output": "out", "quiet": True}


def test_json_alone_goes_to_standard_output(programs: Path) -> None:
    structures = ["--structure", "ER", "ER.tif", "--structure", "MT", "MT.tif"]
    done = Process(programs, "evaluate", "run", *structures, "--samples", "2", "--json").end()
    assert done.code == 0
    assert json.loads(done.out)["samples"] == 2
    assert "was used to train this run" in done.err


def test_a_process_that_fails_says_so_in_one_line(bench: Path, programs: Path) -> None:
    for arguments in (
        ["predict", "run", "none.tif", "-o", "out"],
        ["predict", "run", "ER.tif", "-o", "out", "--seed", "x"],
        ["evaluate", "ER.tif", "--structure", "ER", "ER.tif", "--json"],
    ):
        done = Process(programs, *arguments).end()
        assert done.code == 2
        assert done.out == ""
        assert done.err.count("\n") == 1
        assert done.err.startswith(f"denoisplit {arguments[0]}: error: ")
    assert not (bench / "out").exists()


def test_train_from_yaml(bench: Path) -> None:
    config = yaml.safe_load((bench / "run/config.yaml").read_text())
    settings = config["settings"]
    assert settings["seed"] == 7
    assert settings["data"]["synthetic_poisson"] == 2
    assert {s["name"]: s["files"] for s in settings["structures"]} == {
        "ER": ["ER.tif"], "MT": ["MT.tif"]
    }  # fmt: skip


def test_predict_from_yaml(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = put(
        tmp_path / "o.yaml", run="run", files=["ER.tif"], output=str(out), samples=2, seed=3,
        keep_samples=1, noise_address="content", tile=32, halo=16,
        compile=False, precision=32,  # as YAML takes off and 32
    )  # fmt: skip
    assert main(["predict", "-q", "--config", str(options)]) == 0
    assert len(list(out.iterdir())) == 3
    same = ["--samples", "2", "--seed", "3", "--noise-address", "content", "--tile", "32"]
    assert main(["predict", "-q", "run", "ER.tif", "-o", str(tmp_path / "b"), *same,
                 "--halo", "16"]) == 0  # fmt: skip
    split = [tifffile.imread(folder / "ER_split.ome.tif") for folder in (out, tmp_path / "b")]
    np.testing.assert_array_equal(*split)


def test_the_command_line_goes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = put(tmp_path / "o.yaml", run="none", files="none.tif", samples=9, output="none",
                  keep_samples=2)  # fmt: skip
    out = tmp_path / "out"
    assert main(["predict", "-q", "--config", str(options), "run", "ER.tif", "-o", str(out),
                 "--samples", "3"]) == 0  # fmt: skip
    assert len(tifffile.imread(out / "ER_samples.ome.tif").reshape(-1, 64, 64)) == 4 * 2 * 2


def test_evaluate_from_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = put(
        tmp_path / "o.yaml", run="run", structures={"MT": "MT.tif", "ER": ["ER.tif"]}, samples=2,
        synthetic_gaussian=0.5, synthetic_poisson=0, seed=1, json=True,
    )  # fmt: skip
    assert main(["evaluate", "-q", "--config", str(options)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == denoisplit.evaluate(
        "run", {"ER": ["ER.tif"], "MT": ["MT.tif"]}, samples=2, synthetic_gaussian=0.5,
        synthetic_poisson=0, seed=1,
    )  # fmt: skip


def test_superpose_from_yaml(tmp_path: Path) -> None:
    out = tmp_path / "mixed.tif"
    options = put(
        tmp_path / "o.yaml", structures={"ER": ["ER.tif"], "MT": ["MT.tif"]}, output=str(out),
        superposition="mean", offsets={"ER": 4}, synthetic_gaussian=0.0,
    )  # fmt: skip
    assert main(["superpose", "--config", str(options)]) == 0
    expected = (tifffile.imread("ER.tif") + tifffile.imread("MT.tif")) / 2
    np.testing.assert_allclose(tifffile.imread(out), expected, rtol=1e-6)


def test_nested_settings_and_flat_options_join(tmp_path: Path) -> None:
    """max_steps of the command line over the group ``training`` of the file."""
    options = put(tmp_path / "o.yaml", **TINY, structures={"MT": "MT.tif"})
    run_ = tmp_path / "run"
    assert main(["train", "-q", "--config", str(options), "-o", str(run_), "--max-steps", "2"]) == 0
    settings = denoisplit.load(run_).config.settings
    assert settings.training.max_steps == 2 and settings.training.batch == 2
    assert settings.data.synthetic_poisson == 2
