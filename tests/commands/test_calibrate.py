"""``denoisplit calibrate`` and truths of a training: one path, whoever takes it and when."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

import denoisplit
import denoisplit.training.calibration.calibrate
from denoisplit.data.simulation import simulate
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import held_out_frames
from denoisplit.files.folder_lock import output_lock
from denoisplit.run import CALIBRATED, CALIBRATION, ERROR_MAP, METRICS, NOISE_MODELS, load

Call = Callable[..., Any]
Images = Mapping[str, list[Path]]

KINDS = {"ER": "mesh", "MT": "filaments"}
SIGMA = 10.0
TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 4, "batch": 2},
    "prediction": {"calibration_samples": 4, "error_map_steps": 2},
    "noise_model_fit": {"steps": 50, "components": 1},
}
# what a calibration writes
WRITTEN = {CALIBRATION, METRICS, ERROR_MAP, "report.html"}


@dataclass(frozen=True)
class Recorded:
    """Noisy images, long exposures in other units, repeats, and runs that were trained on them."""

    structures: Images
    truth: Images
    repeats: Images
    plain: Path
    with_truth: Path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(0)
    images: dict[str, dict[str, list[Path]]] = {"low": {}, "long": {}, "shots": {}}
    for name, kind in KINDS.items():
        clean = np.float32(simulate(kind, frames=4, size=64, seed=1))
        shots = np.repeat(clean[:1], 20, axis=0)
        for made, pixels in (
            ("low", clean + rng.normal(0, SIGMA, clean.shape)),
            ("long", 6 * clean + 500),
            ("shots", shots + rng.normal(0, SIGMA, shots.shape)),
        ):
            path = folder / f"{name}_{made}.tif"
            tifffile.imwrite(path, np.float32(pixels), photometric="minisblack")
            images[made][name] = [path]
    structures, truth, repeats = images["low"], images["long"], images["shots"]
    plain, with_truth = folder / "plain", folder / "with_truth"
    denoisplit.train(structures, plain, repeats=repeats, **TINY)
    denoisplit.train(structures, with_truth, repeats=repeats, truth=truth, **TINY)
    return Recorded(structures, truth, repeats, plain, with_truth)


def test_a_killed_calibration_is_completed_or_undone(recorded: Recorded, tmp_path: Path) -> None:
    """What a kill between two of the final renames leaves is completed when the run is loaded."""
    run, other = copy_of(recorded.plain, tmp_path), recorded.with_truth
    pending = run / CALIBRATED
    pending.mkdir()
    for name in (CALIBRATION, METRICS, ERROR_MAP):
        shutil.copy(other / name, pending / name)
    (pending / ERROR_MAP).replace(run / ERROR_MAP)  # the first of three
    loaded = load(run)
    assert not pending.exists()
    for name in (CALIBRATION, METRICS, ERROR_MAP):
        assert (run / name).read_bytes() == (other / name).read_bytes()
    assert loaded.calibration == load(other).calibration


def test_a_run_is_calibrated_by_one_process_at_a_time(recorded: Recorded, tmp_path: Path) -> None:
    run = copy_of(recorded.plain, tmp_path)
    with output_lock(run), pytest.raises(InputError, match=f"{run}: .* in use by process"):
        denoisplit.calibrate(run)
    with output_lock(run), pytest.raises(InputError, match=f"{run}: .* in use by process"):
        denoisplit.train(output=run, resume=True)


def copy_of(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def words(option: str, images: Images, *names: str) -> list[str]:
    return [w for n in names or images for w in (option, n, *map(str, images[n]))]


def read(run: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run / name).read_text())
    return values


def state(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()
    }


# ---------------------------------------------------------------- the same as in the training


def test_a_run_without_error_map_gets_that_of_its_training(
    recorded: Recorded, tmp_path: Path, works: Call
) -> None:
    run = copy_of(recorded.plain, tmp_path)
    (run / ERROR_MAP).unlink()
    assert load(run).mapping() is None
    random = torch.get_rng_state()
    answer = works("calibrate", run)
    assert torch.equal(torch.get_rng_state(), random)
    assert load(run).mapping(0.9) is not None
    before, after = state(recorded.plain), state(run)
    assert set(before) == set(after)
    assert {name for name in before if before[name] != after[name]} <= {"report.html"}
    # the verdict comes first
    verdicts = [verdict["sentence"] for verdict in read(run, METRICS)["verdicts"]]
    assert answer.out.splitlines()[: len(KINDS)] == verdicts
    assert answer.out.endswith(f"run: {run}\n")


def test_a_truth_in_the_training_is_that_of_a_later_calibration(
    recorded: Recorded, tmp_path: Path, works: Call
) -> None:
    """The truth changes neither the network nor its noise models."""
    run = copy_of(recorded.plain, tmp_path)
    works("calibrate", run, *words("--truth", recorded.truth))
    expected, found = state(recorded.with_truth), state(run)
    for name in (*WRITTEN - {"report.html"}, "model.safetensors"):
        assert found[name] == expected[name], name
    assert read(run, METRICS)["reference"] == read(run, CALIBRATION)["reference"]
    assert "separate images" in read(run, METRICS)["reference"]
    assert read(run, METRICS)["structures"]["ER"]["psnr"]["mean"] is not None
    # with its images, a run that was trained with a truth needs it to be named no more
    works("calibrate", "-q", found_again := shutil.copytree(recorded.with_truth, tmp_path / "two"))
    assert state(found_again)[METRICS] == expected[METRICS]


def test_held_out_frames_have_the_truth_of_the_training(recorded: Recorded) -> None:
    frames = held_out_frames(load(recorded.with_truth))
    noisy = held_out_frames(load(recorded.plain))
    assert frames.has_truth and not noisy.has_truth
    np.testing.assert_array_equal(frames.inputs, noisy.inputs)
    for truth, observed in zip(frames.truth, frames.observed, strict=True):
        # in the unit of the recorded images, without their noise
        assert np.std(observed - truth) == pytest.approx(SIGMA, rel=0.1)
        assert abs(np.mean(observed - truth)) < 2


def test_evaluation_of_recorded_images_is_an_estimate(recorded: Recorded, works: Call) -> None:
    scores = denoisplit.evaluate(recorded.plain, recorded.structures, samples=4)
    assert [verdict["structure"] for verdict in scores["verdicts"]] == list(KINDS)
    for name in KINDS:
        assert scores["structures"][name]["psnr"]["mean"] is None
        assert "psnr_estimated" in scores["structures"][name]
        assert scores["error_bars"][name]["estimated"]
    by_truth = denoisplit.evaluate(
        recorded.plain, recorded.structures, truth=recorded.truth, samples=4
    )
    for name in KINDS:
        assert by_truth["structures"][name]["psnr"]["mean"] is not None
        assert not by_truth["error_bars"][name]["estimated"]
        assert by_truth["error_bars"][name]["coverage"] is not None


def test_a_run_without_error_map_is_evaluated_without(recorded: Recorded, tmp_path: Path) -> None:
    run = copy_of(recorded.plain, tmp_path)
    (run / ERROR_MAP).unlink()
    scores = denoisplit.evaluate(run, recorded.structures, samples=4)
    assert len(scores["verdicts"]) == len(KINDS) and "error_bars" not in scores


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize("stage", ["error bars", "report", "disk"])
def test_a_calibration_that_fails_leaves_the_old_state(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    run = copy_of(recorded.plain, tmp_path)

    def fail(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    if stage == "error bars":
        monkeypatch.setattr(denoisplit.training.calibration.calibrate, "fit_error_bars", fail)
    elif stage == "report":
        monkeypatch.setattr(denoisplit.training.calibration.calibrate, "report", fail)
    else:
        monkeypatch.setattr(os, "fsync", fail)
    before = state(run)
    with pytest.raises(OSError if stage != "disk" else InputError):
        denoisplit.calibrate(run, truth=recorded.truth)
    assert state(run) == before


# ---------------------------------------------------------------- refused


def test_truths_that_do_not_belong_to_the_images_are_refused(
    recorded: Recorded, refused: Call, tmp_path: Path, bench: Any
) -> None:
    few = tmp_path / "few.tif"
    tifffile.imwrite(few, tifffile.imread(recorded.truth["ER"][0])[:3], photometric="minisblack")
    dark = tmp_path / "dark.tif"
    tifffile.imwrite(dark, -tifffile.imread(recorded.truth["ER"][0]), photometric="minisblack")
    mt = words("--truth", recorded.truth, "MT")
    train = ["train", "--config", bench.yaml(tmp_path), "-o", tmp_path / "new",
             *words("--structure", recorded.structures)]  # fmt: skip
    for command in (["calibrate", recorded.plain], train):
        refused(*command, *mt, says=("--truth", "ER, MT"))
        refused(*command, *mt, "--truth", "ER", few, says=("--truth ER", "3 frames", "4"))
        refused(*command, *mt, "--truth", "ER", dark, says=("--truth ER", "dark where"))
        same = ("--truth", "ER", recorded.truth["MT"][0])
        refused(*command, *mt, *same, says=("--truth MT", "also the truth of ER"))
    both = [*words("--truth", recorded.truth), "--synthetic-gaussian", "1"]
    refused(*train, *both, says=("--truth", "synthetic noise is added"))


def test_missing_and_changed_images_are_refused(
    recorded: Recorded, refused: Call, tmp_path: Path, run_folder: Path
) -> None:
    refused("calibrate", run_folder, says=("ER.tif", "missing", "restore it"))
    (image,) = recorded.truth["ER"]
    kept = image.read_bytes()
    tifffile.imwrite(image, 2 * tifffile.imread(image), photometric="minisblack")
    try:
        refused("calibrate", recorded.with_truth, says=(image, "is not the image of ER"))
        arguments = ("--resume", "-o", recorded.with_truth)
        refused("train", *arguments, says=("is not the image that this run was trained on",))
    finally:
        image.write_bytes(kept)


# ---------------------------------------------------------------- systems without noise models


def test_a_system_without_noise_models_is_judged_by_fitted_ones(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none can be had, there are no numbers, but a reason."""
    options = TINY | {"system": "altered_musplit"}
    run = denoisplit.train(
        recorded.structures, tmp_path / "run", repeats=recorded.repeats, **options
    )
    assert (run.path / NOISE_MODELS / "ER.npz").is_file()
    metrics = read(run.path, METRICS)
    assert len(metrics["verdicts"]) == 2 and "psnr_estimated" in metrics["structures"]["ER"]

    def fail(*args: Any) -> None:
        raise InputError("too few pixels", where="structure ER", remedy="provide more images")

    monkeypatch.setattr(
        denoisplit.training.calibration.calibrate, "fit_remaining_noise_models", fail
    )
    alone = denoisplit.train(recorded.structures, tmp_path / "alone", **options)
    metrics = read(alone.path, METRICS)
    assert metrics["verdicts"] == [] and "psnr_estimated" not in metrics["structures"]["ER"]
    reference = read(alone.path, CALIBRATION)["reference"]
    assert reference.startswith("none: ") and "too few pixels" in reference
    assert alone.calibration == {"ER": 1.0, "MT": 1.0} and alone.error_map is None
    before = state(alone.path)
    with pytest.raises(InputError, match="too few pixels"):
        denoisplit.calibrate(alone)
    assert state(alone.path) == before
