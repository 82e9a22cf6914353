"""HDN(+)muSplit: C + 1 denoisers, then a splitter; one run folder that works as any other."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from denoisplit_zoo.exporting.example_image import held_out_example_image

import denoisplit
from denoisplit.config.settings import Settings, settings_from
from denoisplit.data.chain_parts import parts_of
from denoisplit.data.patches import GridPatches
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.data.statistics import pooled_std
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import held_out_frames
from denoisplit.images import read_frames, read_image
from denoisplit.images.formats.zarr_write import create_ome_zarr, writable_array
from denoisplit.network.context import ContextVSE
from denoisplit.network.denoised import DenoisedVSE
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import denoise_frame, predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.progress import Stages
from denoisplit.run import Run, load, load_weights
from denoisplit.training import chain as train_chain
from denoisplit.training.chain import splitter_data

NOISE = {"synthetic_poisson": 2.0, "synthetic_gaussian": 1.0}
SMALL = {"filters": 8, "latents": 4, "levels": 2, "patch": 32}
CHAIN: dict[str, Any] = {
    "system": "hdn_musplit",
    "network": {**SMALL, "planes": 3},
    "training": {"max_steps": 2, "batch": 2},
    "prediction": {"calibration_samples": 2, "error_map_steps": 2},
    "noise_model_fit": {"steps": 20, "components": 1},
    "denoiser": {
        "samples": 2,
        "network": {**SMALL, "blocks_per_level": 1, "final_blocks": 1},
        "training": {"batch": 2},
    },
    **NOISE,
}
NAMES = ("ER", "MT", "mixed")
Call = Callable[..., Any]


def files(bench: Any) -> dict[str, list[Path]]:
    return {name: [bench.image(name)] for name in ("ER", "MT")}


@pytest.fixture(scope="module")
def run(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return denoisplit.train(files(bench), tmp_path_factory.mktemp("chain") / "run", **CHAIN)


def material(bench: Any, **groups: Any) -> tuple[Settings, TrainingData]:
    names = [{"name": name, "files": [str(f) for f in fs]} for name, fs in files(bench).items()]
    values = {key: value for key, value in CHAIN.items() if key not in NOISE}
    settings = settings_from({"structures": names, **values, "data": NOISE, **groups})
    return settings, prepare([read_frames(s.files).images for s in settings.structures], settings)


def test_the_denoisers_are_runs_of_their_own(run: Run, bench: Any) -> None:
    settings, data = material(bench)
    assert settings.model_dump(exclude={"structures"}) == run.config.settings.model_dump(
        exclude={"structures"}
    )
    for part in parts_of(settings, data):
        own = load(run.path / "denoisers" / part.name)
        assert own.names == (part.name,) and own.config.settings.system == "hdn"
        assert own.config.settings.training.max_steps == 2  # that of every network
        assert own.noise_models()[0].about["source"] == "clean images and synthetic noise"
        assert {p.name for p in own.path.iterdir()} >= {"metrics.json", "report.html"}
    assert sorted(p.name for p in (run.path / "denoisers").iterdir()) == ["ER", "MT", "mixed"]
    assert list((run.path / "noise_models").iterdir()) == []


def test_a_chain_is_finished_with_the_best_epoch_of_its_splitter(run: Run, tmp_path: Path) -> None:
    """Its denoisers are complete then; before, the network that has no epoch is named."""
    part = Path(shutil.copytree(run.path, tmp_path / "part"))
    for name in ("model.safetensors", "calibration.json", "metrics.json", "report.html"):
        (part / name).unlink()
    with pytest.raises(InputError, match=f"^{part}: no epoch"):
        denoisplit.train(output=part, resume=True, finish=True)
    (part / "checkpoints/last.ckpt").rename(part / "checkpoints/best.ckpt")
    finished = denoisplit.train(output=part, resume=True, finish=True)
    for name, value in finished.model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name
    assert (part / "metrics.json").read_bytes() == (run.path / "metrics.json").read_bytes()
    (part / "denoisers/MT/model.safetensors").unlink()
    (part / "report.html").unlink()
    with pytest.raises(InputError, match=f"^{part / 'denoisers/MT'}: no epoch"):
        denoisplit.train(output=part, resume=True, finish=True)


def test_the_mixed_input_has_dependent_noise(bench: Any) -> None:
    """Its noise is what the structures have together, not a field of its own (method, noise)."""
    for kind, total in (("sum", math.sqrt(2)), ("mean", math.sqrt(0.5))):
        data_of = {"superposition": kind, "synthetic_gaussian": 1.0}
        settings, data = material(bench, data=data_of)
        *alone, mixed = parts_of(settings, data)
        assert [part.name for part in (*alone, mixed)] == list(NAMES)
        scale = 1.0 if kind == "sum" else 0.5
        for part in ("training", "validation", "test"):
            structures = [getattr(p.data, part)[0] for p in alone]
            together = [scale * (er + mt) for er, mt in zip(*structures, strict=True)]
            np.testing.assert_allclose(getattr(mixed.data, part)[0], together, rtol=1e-6)
        noise = np.concatenate([
            (noisy - clean).ravel()
            for noisy, clean in zip(
                mixed.data.training[0], mixed.data.clean.training[0], strict=True
            )
        ])  # fmt: skip
        assert noise.std() == pytest.approx(total * data.noise.gaussian_sigma, rel=0.03)
        assert mixed.data.noise.gaussian_sigma == pytest.approx(total * data.noise.gaussian_sigma)
        # the input's statistics are the pooled ones, whatever the mixture is
        pooled = data.statistics.pooled_mean * (2 if kind == "sum" else 1)
        assert mixed.data.statistics.means == pytest.approx((pooled,))


@pytest.mark.parametrize("name", NAMES)
def test_a_denoiser_is_judged_on_frames_of_its_own_kind(
    run: Run, bench: Any, tmp_path: Path, name: str
) -> None:
    """Held-out frames and the test image of a package: what that denoiser got as test frames."""
    settings, data = material(bench)
    (part,) = (part for part in parts_of(settings, data) if part.name == name)
    own = load(run.path / "denoisers" / name)
    held = held_out_frames(own)
    np.testing.assert_array_equal(held.inputs, part.data.test[0])
    side = 64
    image = held_out_example_image(own, side).image
    windows = [
        np.lib.stride_tricks.sliding_window_view(frame, (side, side)) for frame in held.inputs
    ]
    assert any((view == image).all(axis=(-1, -2)).any() for view in windows)


def test_a_mixed_denoiser_alone_knows_no_held_out_frames(run: Run, tmp_path: Path) -> None:
    alone = shutil.copytree(run.path / "denoisers" / "mixed", tmp_path / "alone")
    with pytest.raises(InputError, match=r"moved out of its HDN\(\+\)muSplit"):
        held_out_frames(load(alone))


def test_denoised_frames_are_float32_without_offset(run: Run, bench: Any) -> None:
    """What is stored is what the denoiser returns: no whole grey levels, nothing subtracted."""
    settings, data = material(bench)
    for part in parts_of(settings, data):
        own = load(run.path / "denoisers" / part.name)
        for label in ("training", "validation"):
            frame = getattr(part.data, label)[0][0]
            stored = np.load(run.path / "checkpoints/denoised" / part.name / f"{label}_0.npy")
            assert stored.dtype == np.float32 and not np.allclose(stored, np.round(stored))
            again = predict_frame(
                inference_form(own.model), frame, Sampling(2), halo=own.halo, tile=512
            )
            np.testing.assert_array_equal(stored, again.mean[0])


def test_the_splitter_gets_denoised_images(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its input is the denoised mixed image, not a superposition of its targets."""
    settings, data = material(bench)
    rng = np.random.default_rng(0)
    frames = {
        name: {
            part: tuple(np.float32(100 * k + rng.random(f.shape)) for f in getattr(data, part)[0])
            for part in ("training", "validation")
        }
        for k, name in enumerate(NAMES, start=1)
    }
    made = splitter_data(data, frames)
    assert not made.noise
    stacks = made.training_images
    assert len(stacks) == 3 and stacks[2][0] is frames["mixed"]["training"][0]
    assert made.validation_images[2][0] is frames["mixed"]["validation"][0]
    # pooled over all three stacks, the sum counted as a mean; targets each for itself
    halves = tuple(np.float32(frame / 2) for frame in stacks[2])
    assert made.statistics.pooled_std == pytest.approx(pooled_std((*stacks[:2], halves)), rel=1e-4)
    assert made.statistics.means == pytest.approx((100.5, 200.5), abs=0.05)

    from denoisplit.training import fit as training_fit

    given: dict[str, torch.Tensor] = {}

    def look(task: Any, *_: Any, **__: Any) -> None:
        batch = torch.stack([GridPatches(
            made.training_images, patch=32, planes=settings.network.planes
        )[0]])  # fmt: skip
        given["raw"], given["targets"] = task.pairs(batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(training_fit.L.Trainer, "fit", lambda self, task, *a, **k: look(task))
    from denoisplit.training.one_network import initial_network

    with pytest.raises(KeyboardInterrupt):
        training_fit.fit_weights(
            initial_network(settings, made), [], made, settings,
            checkpoints=Path(), history=Path("history.csv"),
        )  # fmt: skip
    assert given["raw"].shape == (1, 3, 32, 32) and given["targets"].shape == (1, 2, 32, 32)
    assert given["raw"].min() >= 300 and given["raw"].max() <= 301
    assert given["targets"][0, 0].min() >= 100 and given["targets"][0, 1].max() <= 201


def test_raw_mixed_images_are_denoised_and_split(run: Run, bench: Any) -> None:
    """The whole is the denoiser's mean, given to the splitter; one seed is one result."""
    assert isinstance(run.model, DenoisedVSE) and run.model.denoiser is not None
    frame = tifffile.imread(bench.folder / "mixed.tif")[0]
    sampling = Sampling(2, seed=3, keep=2)
    whole = predict_frame(run.model, frame, sampling)
    between = denoise_frame(run.model, frame, sampling)
    own = load(run.path / "denoisers" / "mixed")
    np.testing.assert_array_equal(
        between, predict_frame(own.model, frame, Sampling(2, 3), halo=own.halo, tile=512).mean[0]
    )
    settings = run.config.settings
    alone = ContextVSE(2, log_variance=True, **settings.network.arguments).eval()
    load_weights(alone, run.path / "model.safetensors")
    parted = predict_frame(alone, between, sampling)
    np.testing.assert_allclose(whole.mean, parted.mean, rtol=1e-5, atol=1e-4)
    # a sample does not depend on how many are drawn, and another seed gives another
    longer = predict_frame(run.model, frame, Sampling(4, seed=3, keep=2))
    np.testing.assert_array_equal(whole.samples, longer.samples)
    assert not np.array_equal(whole.mean, predict_frame(run.model, frame, Sampling(2, 4)).mean)
    preview = predict_frame(run.model, frame, Sampling(0))
    assert preview.spread is None and np.isfinite(preview.mean).all()
    shares: list[float] = []
    predict_frame(run.model, frame, Sampling(2), on_progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    with pytest.raises(ValueError, match="the splitter has no denoiser"):
        predict_frame(DenoisedVSE(2, **settings.network.arguments), frame, sampling)


def test_the_commands_take_it(run: Run, works: Call, bench: Any) -> None:
    works("predict", run.path, bench.folder / "mixed.tif", "-o", "out", "--samples", "2")
    split = tifffile.imread("out/mixed_split.ome.tif")
    frames = tifffile.imread(bench.folder / "mixed.tif")
    alone = predict_frame(run.model, frames[1], Sampling(2, antithetic=True)).mean
    assert split.shape == (4, 2, 64, 64)
    np.testing.assert_allclose(split[1], alone, rtol=1e-4, atol=1e-2)  # one plane, one piece
    create_ome_zarr(Path("mixed.ome.zarr"), {"t": 4, "c": 1, "y": 64, "x": 64}, channels="m",
                    chunk=(32, 32), pixel_size_um={})  # fmt: skip
    writable_array(Path("mixed.ome.zarr"))[:] = frames[:, None]
    works("predict", run.path, "mixed.ome.zarr", "-o", "zarr", "--samples", "2")
    np.testing.assert_array_equal(read_image("zarr/mixed_split.ome.zarr"), split)
    answer = works("evaluate", run.path, *bench.structures("ER", "MT"), "--samples", "2", "--json")
    assert set(json.loads(answer.out)["structures"]) == {"ER", "MT"}
    report = (run.path / "report.html").read_text()
    assert "HDN(+)muSplit" in report and "one denoised image" in report


def test_refusals(run: Run, refused: Call, bench: Any, tmp_path: Path) -> None:
    mixed = bench.folder / "mixed.tif"
    refused("predict", run.path, mixed, "-o", "out", "--tile", "64", says=("context",))
    refused("export", run.path, "-o", "out.zip", says=("context", "consumers"))
    unfinished = tmp_path / "run"
    denoiser = unfinished / "denoisers" / "ER"
    denoiser.mkdir(parents=True)
    for folder, source in ((unfinished, run.path), (denoiser, run.path / "denoisers/ER")):
        (folder / "config.yaml").write_text((source / "config.yaml").read_text())
    refused("train", "--resume", "-o", denoiser, says=("part of HDN(+)muSplit", unfinished))
    (tmp_path / "lost").mkdir()
    for name in ("config.yaml", "model.safetensors", "calibration.json"):
        (tmp_path / "lost" / name).write_bytes((run.path / name).read_bytes())
    refused("predict", tmp_path / "lost", mixed, "-o", "out", says=("denoisers", "no such folder"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": ("ER", "Mixed")}, "no structure may be named 'mixed' with system hdn_musplit"),
        ({"data": {"pairing": "unrelated"}}, "data.pairing must be in-order or co-registered"),
        ({"network": {"planes": 1}}, "network.planes must be 2 or more for system hdn_musplit"),
        ({"system": "denoisplit", "network": {}, "denoiser": {}}, "denoiser settings belong to"),
    ],
)
def test_settings_that_no_chain_has(change: dict[str, Any], says: str) -> None:
    names = change.pop("names", ("ER", "MT"))
    structures = [{"name": name, "files": ["a.tif"]} for name in names]
    with pytest.raises(InputError, match=says):
        settings_from({"structures": structures, "system": "hdn_musplit", **change})


def test_the_settings_are_those_of_the_paper() -> None:
    structures = [{"name": name, "files": ["a.tif"]} for name in ("ER", "MT")]
    s = settings_from({"structures": structures, "system": "hdn_musplit", "preset": "paper"})
    assert (s.network.planes, s.network.patch, s.network.context) == (5, 64, "regular")
    assert (s.objective.kl_form, s.objective.monitor, s.objective.free_bits) == ("eq3", "psnr", 0)
    assert s.denoiser is not None
    assert (s.denoiser.samples, s.denoiser.network.levels, s.denoiser.network.patch) == (50, 6, 128)
    assert s.denoiser.objective.monitor == "data" and s.denoiser.objective.beta == 1
    for training in (s.training, s.denoiser.training):
        assert (training.max_epochs, training.plateau_patience) == (200, 15)
    small = settings_from({"structures": structures, "system": "hdn_musplit", "preset": "small"})
    assert small.denoiser is not None and small.denoiser.samples == 8
    assert small.denoiser.network.patch == small.network.patch == 64


@pytest.mark.slow
def test_it_resumes_at_any_stage(
    run: Run, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed again and again, it ends with the files of the uninterrupted one."""
    again = tmp_path / "again"
    begin, write = Stages.stage, train_chain._write_frame
    written: list[Path] = []

    def killed_at(stage: str) -> None:
        def stand_in(self: Stages, description: str, *args: Any, **options: Any) -> None:
            if description == stage:
                raise KeyboardInterrupt
            begin(self, description, *args, **options)

        monkeypatch.setattr(Stages, "stage", stand_in)

    def killed_in_frames(path: Path, frame: Any) -> None:
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        write(path, frame)

    for number, stage in enumerate(("ER: denoiser", "frames", "mixed: noise model", "splitter",
                                    "evaluation")):  # fmt: skip
        killed_at(stage)
        stand_in = killed_in_frames if stage == "frames" else write
        monkeypatch.setattr(train_chain, "_write_frame", stand_in)
        with pytest.raises(KeyboardInterrupt):
            denoisplit.train(files(bench), again, resume=number > 0, **CHAIN)
        with pytest.raises(InputError, match="--resume"):
            load(again)
    assert len(written) == 2
    monkeypatch.setattr(Stages, "stage", begin)
    denoisplit.train(output=again, resume=True)
    for name in (
        "model.safetensors", "calibration.json", "metrics.json",
        *(f"denoisers/{part}/model.safetensors" for part in NAMES),
    ):  # fmt: skip
        assert (again / name).read_bytes() == (run.path / name).read_bytes(), name
    before = (again / "model.safetensors").stat().st_mtime_ns
    denoisplit.train(output=again, resume=True)
    assert (again / "model.safetensors").stat().st_mtime_ns == before


def test_parts_and_splitter_are_different_networks(run: Run) -> None:
    assert isinstance(run.model, DenoisedVSE) and run.model.denoiser is not None
    denoiser = run.model.denoiser.network
    assert type(denoiser) is VSE and run.model.structures == 2 and denoiser.structures == 1
    assert next(denoiser.parameters()).device == run.model.input_mean.device
    assert not denoiser.training
