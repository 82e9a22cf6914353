"""``denoisplit train`` and noise: what happens without a word about it, and what interrupts it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from scipy.ndimage import gaussian_filter

from denoisplit.data.simulation import camera
from denoisplit.noise2void import n2v
from denoisplit.run import load

from ..forked import Process

Call = Callable[..., Any]
N2V = {"filters": 4, "batch": 2, "masked": 0.03, "learning_rate": 3e-3}
LEARNT = {**N2V, "filters": 8, "batch": 8, "max_steps": 50}
FIT = {"steps": 20, "components": 1}


def noisy(bench: Any, folder: Path, *names: str, blur: float = 0.0) -> list[str]:
    """``--structure NAME FILE`` of images with the noise of a camera."""
    words: list[str] = []
    for k, name in enumerate(names):
        frames = camera(
            tifffile.imread(bench.image(name)), gain=4.0, read_noise=3.0, offset=20.0, seed=k
        )
        if blur:
            frames = np.stack([gaussian_filter(f.astype(np.float32), blur) for f in frames])
        tifffile.imwrite(folder / f"{name}.tif", frames, photometric="minisblack")
        words += ["--structure", name, str(folder / f"{name}.tif")]
    return words


def test_without_a_word_about_noise_the_images_own_is_learnt(
    works: Call, bench: Any, tmp_path: Path
) -> None:
    config = bench.yaml(tmp_path, n2v={**N2V, "max_steps": 20})
    answer = works("train", "--config", config, "-o", "run", *noisy(bench, tmp_path, "ER", "MT"))
    for name in ("ER", "MT"):
        # the bar of the denoiser, that of the fit, and the verdict
        for words in (f"denoiser of {name}", f"noise model of {name} ", f"noise model of {name}: "):
            assert words in answer.err
    run = load("run")
    assert [model.about["source"] for model in run.noise_models()] == [
        "noisy images and their denoised form"
    ] * 2
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["last.ckpt"]
    quality = json.loads((run.path / "noise_models/ER.json").read_text())
    assert quality["pairs"] + quality["held_out"] == 2 * 64 * 64
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert report.count("Log-likelihood per held-out pair") == 2
    works("predict", "run", tmp_path / "ER.tif", "-o", "out", "--samples", "2")


def test_repeats_serve_one_structure_and_the_images_the_other(
    works: Call, bench: Any, tmp_path: Path
) -> None:
    scene = np.broadcast_to(np.linspace(0, 200, 48), (12, 48, 48))
    shots = camera(scene, gain=4.0, read_noise=3.0, offset=20.0, seed=5)
    for number, shot in enumerate(shots):
        tifffile.imwrite(tmp_path / f"shot{number:02}.tif", shot)
    config = bench.yaml(tmp_path, noise_model_fit=FIT, n2v={**N2V, "max_steps": 5})
    start = ["train", "-q", "-o", "run", *noisy(bench, tmp_path, "ER", "MT"),
             "--repeats", "MT", *sorted(tmp_path.glob("shot*.tif"))]  # fmt: skip
    works(*start, "--config", config)
    er, mt = load("run").noise_models()
    assert er.about["source"] == "noisy images and their denoised form"
    assert mt.about["source"] == "repeated shots of a static scene"
    # the run names them, and repeats with them
    stored = yaml.safe_load(Path("run/config.yaml").read_text())["settings"]["structures"]
    assert [len(s["repeats"]) for s in stored] == [0, 12]
    assert str(tmp_path) not in Path("run/report.html").read_text(encoding="utf-8")
    works("train", "-q", "--config", "run/config.yaml", "-o", "again")
    for name in ("ER", "MT"):
        model = Path("noise_models") / f"{name}.npz"
        assert ("again" / model).read_bytes() == ("run" / model).read_bytes()


def test_resuming_needs_the_shots_no_more_but_minds_others(
    works: Call, refused: Call, bench: Any, tmp_path: Path
) -> None:
    scene = np.broadcast_to(np.linspace(0, 200, 48), (6, 48, 48))
    for name in ("shots.tif", "others.tif"):
        shots = camera(scene, gain=4.0, read_noise=3.0, offset=20.0, seed=5)
        tifffile.imwrite(tmp_path / name, shots, photometric="minisblack")
    start = ["train", "-q", "-o", "run", *noisy(bench, tmp_path, "MT"),
             "--config", bench.yaml(tmp_path)]  # fmt: skip
    works(*start, "--repeats", "MT", tmp_path / "shots.tif")
    Path("run/report.html").unlink()
    refused(*start, "--resume", "--repeats", "MT", tmp_path / "others.tif",
            says=("run", "started with other settings: structures"))  # fmt: skip
    (tmp_path / "shots.tif").unlink()
    works(*start, "--resume", "--repeats", "MT", tmp_path / "elsewhere" / "shots.tif")
    assert Path("run/report.html").exists()


def test_correlated_noise_is_warned_of(works: Call, bench: Any, tmp_path: Path) -> None:
    config = bench.yaml(tmp_path, n2v=LEARNT)
    start = ["train", "-q", "--config", config]
    errors = works(*start, "-o", "a", *noisy(bench, tmp_path, "MT")).err
    assert errors == ""
    errors = works(*start, "-o", "b", *noisy(bench, tmp_path, "MT", blur=0.6)).err
    assert (
        errors.startswith("MT: neighbouring noise values correlate by 0.")
        and errors.count("\n") == 1
    )


def test_saturated_pixels_are_reported(works: Call, bench: Any, tmp_path: Path) -> None:
    noisy(bench, tmp_path, "MT")
    frames = tifffile.imread(tmp_path / "MT.tif")
    top = np.quantile(frames, 0.98)
    tifffile.imwrite(tmp_path / "MT.tif", np.minimum(frames, top.astype(frames.dtype)),
                     photometric="minisblack")  # fmt: skip
    config = bench.yaml(tmp_path, n2v=LEARNT)
    errors = works("train", "--config", config, "-o", "run", "--structure", "MT",
                 tmp_path / "MT.tif").err  # fmt: skip
    assert "% of the pixels are saturated" in errors and "they were excluded" in errors


# ---------------------------------------------------------------- interruptions


@pytest.fixture(scope="module")
def killed(
    bench: Any, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run that was not interrupted, and one that was killed in its second denoiser."""
    folder = tmp_path_factory.mktemp("killed")
    steps = 2 * n2v.CHECKPOINT_EVERY
    config = bench.yaml(folder, noise_model_fit=FIT, n2v={**N2V, "max_steps": steps})
    words = ["train", "-q", "--config", config, *noisy(bench, folder, "ER", "MT"), "-o"]
    whole, part = (Process(programs, *words, folder / name) for name in ("whole", "part"))
    part.wait_for((folder / "part/checkpoints/n2v MT.ckpt").exists)
    part.send(signal.SIGKILL)
    assert (whole.end().code, part.end().code) == (0, -signal.SIGKILL)
    return folder / "whole", folder / "part"


@pytest.mark.slow
def test_a_training_that_was_killed_in_its_denoiser_is_resumed_to_the_same_weights(
    killed: tuple[Path, Path], programs: Path, tmp_path: Path
) -> None:
    whole, part = killed
    run = shutil.copytree(part, tmp_path / "run")
    assert {path.name for path in (run / "noise_models").iterdir()} == {
        "ER.npz", "ER.json", "pairs"
    }  # fmt: skip
    before = (run / "noise_models/ER.npz").stat().st_mtime_ns
    done = Process(programs, "train", "-q", "-o", run, "--resume").end()
    assert (done.code, done.err) == (0, "")
    for name in ("noise_models/ER.npz", "noise_models/MT.npz", "noise_models/MT.json",
                 "model.safetensors", "calibration.json", "metrics.json"):  # fmt: skip
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert (run / "noise_models/ER.npz").stat().st_mtime_ns == before
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.slow
def test_a_run_without_noise_models_is_no_run_yet(
    killed: tuple[Path, Path], refused: Call, bench: Any, tmp_path: Path
) -> None:
    _, part = killed
    run = shutil.copytree(part, tmp_path / "run")
    refused("predict", run, bench.image("ER"), "-o", "out", says=(run, "--resume"))
    checkpoint = run / "checkpoints/n2v MT.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    says = ("n2v MT.ckpt", "this checkpoint is unreadable")
    refused("train", "-q", "-o", run, "--resume", says=says)
