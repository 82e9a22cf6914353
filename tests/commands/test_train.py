"""``denoisplit train``: what comes out, for every kind of input that it takes."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import torch
import yaml
from safetensors.torch import load_file

import denoisplit
from denoisplit.noise_models import fit as fit_mixture
from denoisplit.run import Run, load

from .conftest import TINY

NOISE = {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0}
Call = Callable[..., Any]


def train(works: Call, bench: Any, tmp_path: Path, *names: str, **settings: Any) -> Run:
    """A tiny training by the command line."""
    config = bench.yaml(tmp_path, **settings)
    works("train", "-q", "--config", config, "-o", "run", *bench.structures(*names))
    return load("run")


def test_the_run_folder(run_folder: Path) -> None:
    files = {str(p.relative_to(run_folder)) for p in run_folder.rglob("*") if p.is_file()}
    assert files - {"report.html"} == {
        "config.yaml", "model.safetensors", "calibration.json", "metrics.json", "history.csv",
        "checkpoints/last.ckpt", "error_map.safetensors", "alarm.json",
        *(f"noise_models/{name}"
          for name in ("ER.npz", "ER.json", "pairs/ER.npz", "MT.npz", "MT.json", "pairs/MT.npz")),
    }  # fmt: skip


def test_a_run_stores_what_it_was_trained_on(run_folder: Path, bench: Any) -> None:
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    settings, facts = config["settings"], config["facts"]
    assert config["format_version"] == 2
    assert settings["data"]["superposition"] == "sum"
    assert settings["network"]["filters"] == 8
    assert facts["pixel_size_um"] == {"x": 0.0625, "y": 0.125}
    assert facts["libraries"]["torch"] == version("torch")
    for name in ("ER", "MT"):
        content = bench.image(name).read_bytes()
        assert facts["fingerprints"][name] == [{
            "name": f"{name}.tif",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }]  # fmt: skip


def test_the_absolute_noise_is_that_of_the_training_frames(trained: Run, bench: Any) -> None:
    """Of four frames the first is test, the second validation."""
    frames = [tifffile.imread(bench.image(name))[2:] for name in trained.names]
    assert trained.config.facts.gaussian_sigma == pytest.approx(np.std(frames), rel=1e-6)
    assert trained.config.facts.frames == {"training": 2, "validation": 1, "test": 1}


def test_the_usual_brightness_is_that_of_the_training_inputs(trained: Run, bench: Any) -> None:
    """What `predict` compares an image with: mean and spread over frames, not over one of them."""
    inputs = sum(tifffile.imread(bench.image(name))[2:] for name in trained.names)
    means = inputs.mean(axis=(1, 2))
    found = trained.config.facts.input_frame_mean
    assert found == pytest.approx((means.mean(), means.std()), abs=0.5)
    assert found[1] > 1
    assert trained.config.facts.frame_sizes == [inputs.shape[1:]]
    low, high = trained.config.facts.input_range
    assert low < inputs.min() < inputs.max() < high  # noise is added


def test_the_weights_hold_the_normalisation(trained: Run, run_folder: Path, bench: Any) -> None:
    state = load_file(run_folder / "model.safetensors")
    means = [tifffile.imread(bench.image(name))[2:].mean() for name in trained.names]
    # Poisson noise shifts the mean of 8 192 pixels by about its error
    np.testing.assert_allclose(state["target_mean"], means, rtol=0.02)
    assert state["input_mean"].item() == pytest.approx(2 * state["target_mean"].mean().item())


def test_metrics_and_history_belong_together(run_folder: Path) -> None:
    metrics = json.loads((run_folder / "metrics.json").read_text())
    calibration = json.loads((run_folder / "calibration.json").read_text())
    with (run_folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert metrics["frames"] == 1
    assert metrics["samples"] == calibration["samples"] == 4
    assert metrics["reference"] == calibration["reference"] == "noise-free"
    assert min(calibration["halo_errors"].values()) < 2e-5
    assert set(calibration["scalars"]) == set(metrics["structures"]) == {"ER", "MT"}
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "4")]
    # fewer than ten samples: the form that bears them
    assert calibration["scalars"] == calibration["ratio"]


def test_the_last_checkpoint_is_data(run_folder: Path) -> None:
    state = torch.load(run_folder / "checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 4


def test_the_python_call_is_the_command(
    bench: Any, run_folder: Path, tmp_path: Path, works: Call
) -> None:
    """The same settings and seed: the same weights, noise models and scalars, bit for bit."""
    again = tmp_path / "again"
    files = {name: [bench.image(name)] for name in ("ER", "MT")}
    run = denoisplit.train(files, again, **NOISE, **TINY)
    for name in ("model.safetensors", "noise_models/MT.npz", "calibration.json", "metrics.json"):
        assert (again / name).read_bytes() == (run_folder / name).read_bytes()
    assert isinstance(run, Run)


def test_a_run_is_repeated_from_its_config(
    bench: Any, run_folder: Path, tmp_path: Path, works: Call
) -> None:
    """Its config.yaml is a YAML file of options, and the command line goes first."""
    works("train", "-q", "--config", run_folder / "config.yaml", "-o", "again",
          *bench.structures("ER", "MT"), "--seed", "1")  # fmt: skip
    again, first = load("again").config.settings, load(run_folder).config.settings
    assert again.seed == 1
    assert again.model_dump(exclude={"seed", "structures"}) == first.model_dump(
        exclude={"seed", "structures"}
    )
    weights = [load_file(Path(p) / "model.safetensors") for p in ("again", run_folder)]
    assert not torch.equal(*(w["output.weight"] for w in weights))


@pytest.mark.parametrize("names", [("MT",), ("CCP", "ER", "MT")], ids=["one", "three"])
def test_other_numbers_of_structures(
    names: tuple[str, ...], works: Call, bench: Any, tmp_path: Path, read: Call
) -> None:
    run = train(works, bench, tmp_path, *names, **TINY, **NOISE)
    assert run.names == names
    assert list(run.calibration) == list(names)
    works("predict", "run", bench.image("ER"), "-o", "out", "--samples", "2")
    shape = read(Path("out/ER_split.ome.tif")).shape
    assert shape == ((4, 64, 64) if len(names) == 1 else (4, len(names), 64, 64))
    works("evaluate", "run", *bench.structures(*reversed(names)), "--samples", "2", "--json")


def test_altered_musplit_needs_no_noise_models(works: Call, bench: Any, tmp_path: Path) -> None:
    """Nor any noise: its likelihood has a variance of its own. Only an error map needs some."""
    run = train(works, bench, tmp_path, "ER", "MT", system="altered_musplit")
    assert list((run.path / "noise_models").iterdir()) == []
    assert load_file(run.path / "model.safetensors")["output.weight"].shape[0] == 4
    calibration = json.loads((run.path / "calibration.json").read_text())
    assert calibration["scalars"] == {"ER": 1.0, "MT": 1.0}
    assert calibration["reference"].startswith("none")
    works("predict", run.path, bench.image("ER"), "-o", "out", "--samples", "2")


def test_hdn_denoises_one_structure(works: Call, bench: Any, tmp_path: Path) -> None:
    small = {**TINY["network"], "blocks_per_level": 2}
    run = train(
        works, bench, tmp_path, "ER", system="hdn", network=small,
        data={"synthetic_gaussian": 1.0}, prediction=TINY["prediction"],
    )  # fmt: skip
    assert (run.path / "noise_models" / "ER.npz").exists()
    assert "HDN" in (run.path / "report.html").read_text()
    works("predict", run.path, bench.image("ER"), "-o", "out", "--samples", "2")


def test_the_original_hdn_trains_and_comes_back(works: Call, bench: Any, tmp_path: Path) -> None:
    small = {**TINY["network"], "blocks_per_level": 2}
    config = bench.yaml(
        tmp_path, network=small, data={"synthetic_gaussian": 1.0},
        training={"batch": 4, "virtual_batch": 2, "max_steps": 4, "steps_per_epoch": 2},
    )  # fmt: skip
    given = ["train", "-q", "--config", config, "-o", "run", *bench.structures("ER")]
    works(*given, "--system", "hdn", "--preset", "original")
    run = load("run")
    settings = run.config.settings
    assert (settings.preset, settings.training.learning_rate) == ("original", 3e-4)
    assert settings.training.gradient_clip is None
    weights = load_file(run.path / "model.safetensors")["encoder.first.0.weight"]
    assert weights.shape == (8, 1, 5, 5)
    assert torch.equal(weights, run.model.state_dict()["encoder.first.0.weight"])
    rows = (run.path / "history.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows] == ["step", "2", "4"]
    assert "original preset" in (run.path / "report.html").read_text()
    works("predict", run.path, bench.image("ER"), "-o", "out", "--samples", "2")
    works(*given, "--system", "hdn", "--preset", "original", "--resume")  # the same settings


def test_the_original_of_another_system_is_refused(refused: Call, bench: Any) -> None:
    refused(
        "train", "-o", "run", *bench.structures("ER", "MT"), "--preset", "original",
        says=("preset original is for system hdn only, not for denoisplit",),
    )  # fmt: skip


def test_a_validation_part_without_any_signal(works: Call, bench: Any, tmp_path: Path) -> None:
    """One clean frame that is cut in three, of which the middle part is empty."""
    flags: list[object] = []
    for name in ("ER", "MT"):
        frame = tifffile.imread(bench.image(name))[:2].reshape(-1, 64)
        frame = np.tile(frame, (3, 1))[:320]
        frame[200:260] = 0
        tifffile.imwrite(tmp_path / f"{name}.tif", frame)
        flags += ["--structure", name, tmp_path / f"{name}.tif"]
    four = {"filters": 8, "latents": 4, "levels": 4, "patch": 32}
    config = bench.yaml(
        tmp_path, synthetic_poisson=2.0, network=four, prediction=TINY["prediction"]
    )
    works("train", "-q", "--config", config, "-o", "run", *flags)
    halo = load("run").halo
    assert halo >= 48 and halo % 16 == 0


def test_sum_and_mean_show_the_network_the_same(
    works: Call, bench: Any, tmp_path: Path, trained: Run
) -> None:
    """The mean of two structures is half of their sum; so are the constants that normalise it."""
    run = train(works, bench, tmp_path, "ER", "MT", superposition="mean", **NOISE)
    assert run.config.settings.data.superposition == "mean"
    for name in ("input_mean", "input_std"):
        total, mean = (getattr(r.model, name).item() for r in (trained, run))
        assert total == pytest.approx(2 * mean, rel=1e-6)
    assert run.config.facts.input_frame_mean[0] == pytest.approx(
        trained.config.facts.input_frame_mean[0] / 2, rel=1e-6
    )
    weights = [r.model.state_dict()["output.weight"] for r in (trained, run)]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)


def test_offsets_are_counted_once(works: Call, bench: Any, tmp_path: Path, trained: Run) -> None:
    settings = bench.yaml(tmp_path, **NOISE)
    works("train", "-q", "--config", settings, "-o", "run", *bench.structures("ER", "MT"),
          "--offset", "ER", "10", "--offset", "MT", "6")  # fmt: skip
    run = load("run")
    # 16 in the plain sum, their mean 8 in what a camera records
    assert run.model.input_mean.item() == pytest.approx(trained.model.input_mean.item() - 8)
    assert run.model.input_std.item() == pytest.approx(trained.model.input_std.item())


def test_unrelated_cells_may_differ_in_number_and_size(
    works: Call, refused: Call, bench: Any, tmp_path: Path
) -> None:
    pixels = tifffile.imread(bench.image("MT"))
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, pixels[:3, :, :48], photometric="minisblack")
    arguments = ["train", "-q", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
                 *bench.structures("ER"), "--structure", "MT", other]  # fmt: skip
    refused(*arguments, says=("structure MT", "3 frames", "4 as in structure ER", "unrelated"))
    works(*arguments, "--pairing", "unrelated")
    assert load("run").config.settings.data.pairing == "unrelated"


@pytest.mark.parametrize("shape", [(48, 288), (288, 48)])
def test_one_frame_is_cut_along_its_longer_side(
    shape: tuple[int, int], works: Call, bench: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    # brighter and brighter along the longer side: the parts are told apart by their means
    ramp = np.broadcast_to(np.linspace(1, 2, 288), (48, 288)).reshape(48, 288)
    frame = (ramp if shape[0] == 48 else ramp.T) * rng.gamma(9.0, 10.0, shape)
    tifffile.imwrite(tmp_path / "frame.tif", frame.astype(np.float32))
    works("train", "-q", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
          "--structure", "A", tmp_path / "frame.tif")  # fmt: skip
    facts = load("run").config.facts
    assert facts.frames == {"training": 1, "validation": 1, "test": 1}
    # 70 % of what two gaps of 32 px leave: the first 157 of 288 px
    part = frame[:, :157] if shape[0] == 48 else frame[:157]
    assert facts.pooled_std == pytest.approx(part.astype(np.float32).std(), rel=1e-5)


def test_a_folder_of_frames_is_a_stack(
    works: Call, bench: Any, tmp_path: Path, trained: Run
) -> None:
    """Frames in the order of their numbers: the weights are those of the stack."""
    for name in ("ER", "MT"):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(tifffile.imread(bench.image(name))):
            tifffile.imwrite(tmp_path / name / f"frame{8 + number}.tif", frame)
    works("train", "-q", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run",
          "--structure", "ER", tmp_path / "ER", "--structure", "MT", tmp_path / "MT")  # fmt: skip
    run = load("run")
    assert [print_["name"] for print_ in run.config.facts.fingerprints["ER"]] == [
        "frame8.tif", "frame9.tif", "frame10.tif", "frame11.tif"
    ]  # fmt: skip
    for key, value in trained.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[key], value), key


def test_mrc_stacks_are_taken(works: Call, bench: Any, tmp_path: Path, trained: Run) -> None:
    arguments: list[object] = []
    for name in ("ER", "MT"):
        path = tmp_path / f"{name}.mrc"
        with mrcfile.new(path) as stack:
            stack.set_data(tifffile.imread(bench.image(name)))
        arguments += ["--structure", name, path]
    works("train", "-q", "--config", bench.yaml(tmp_path, **NOISE), "-o", "run", *arguments)
    assert load("run").config.facts.pooled_std == trained.config.facts.pooled_std


def test_given_noise_models_and_recorded_noise(
    works: Call, bench: Any, tmp_path: Path, run_folder: Path
) -> None:
    """With a model of each structure no synthetic noise is needed; references are noisy then."""
    rng = np.random.default_rng(0)
    arguments: list[object] = []
    for name in ("ER", "MT"):
        clean = tifffile.imread(bench.image(name))
        noisy = clean + rng.normal(0, 5, clean.shape).astype(np.float32)
        tifffile.imwrite(tmp_path / f"{name}.tif", noisy, photometric="minisblack")
        model = fit_mixture(signal=clean, observed=noisy, steps=50, components=1)
        (tmp_path / f"{name}.npz").write_bytes(model.to_bytes())
        arguments += ["--structure", name, tmp_path / f"{name}.tif"]
        arguments += ["--noise-model", name, tmp_path / f"{name}.npz"]
    works("train", "-q", "--config", bench.yaml(tmp_path), "-o", "run", *arguments)
    run = load("run")
    for name in ("ER", "MT"):
        stored = run.path / "noise_models" / f"{name}.npz"
        with np.load(stored) as kept, np.load(tmp_path / f"{name}.npz") as given:
            assert all(np.array_equal(kept[key], given[key]) for key in given.files)
    assert run.config.facts.gaussian_sigma == 0
    assert json.loads((run.path / "metrics.json").read_text())["reference"] != "noise-free"
    assert "noisy" in json.loads((run.path / "calibration.json").read_text())["reference"]


def test_a_noise_model_of_a_run_serves_another_run(
    works: Call, bench: Any, tmp_path: Path, run_folder: Path
) -> None:
    """One is given, the other fitted; the given one is not fitted again."""
    given = run_folder / "noise_models/ER.npz"
    config = bench.yaml(tmp_path, **NOISE, noise_model_fit={"steps": 10, "components": 2})
    works("train", "-q", "--config", config, "-o", "run",
          *bench.structures("ER", "MT"), "--noise-model", "ER", given)  # fmt: skip
    kept, fitted = (Path("run/noise_models") / f"{name}.npz" for name in ("ER", "MT"))
    with np.load(kept) as a, np.load(given) as b:
        assert np.array_equal(a["trained_weight"], b["trained_weight"])
    with np.load(fitted) as a, np.load(run_folder / "noise_models/MT.npz") as b:
        assert not np.array_equal(a["trained_weight"], b["trained_weight"])


def test_resuming_a_finished_run_changes_nothing(
    works: Call, bench: Any, tmp_path: Path, run_folder: Path
) -> None:
    """Its images may have been moved: they are known by their content."""
    run = shutil.copytree(run_folder, "run")
    before = {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()}
    config = bench.yaml(tmp_path, **TINY, **NOISE)
    answer = works("train", "--config", config, "-o", "run", "--resume",
                   *bench.structures("ER", "MT"))  # fmt: skip
    assert "already complete" in answer.err
    assert {path: path.read_bytes() for path in Path(run).rglob("*") if path.is_file()} == before


def test_a_metrics_table_is_printed_and_nothing_lies_beside_the_run(
    works: Call, bench: Any, tmp_path: Path
) -> None:
    config = bench.yaml(tmp_path, **TINY, **NOISE)
    answer = works("train", "-q", "--config", config, "-o", "run", *bench.structures("CCP"))
    assert answer.err == ""
    assert "PSNR (dB)" in answer.out and answer.out.endswith("run: run\n")
    assert [path.name for path in Path().iterdir()] == ["run"]
