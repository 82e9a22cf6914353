"""Where the noise models of a run come from, and what a run stores of them."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisplit.config.settings import Settings, settings_from
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.data.simulation import camera, simulate
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.build import (
    fit_available_noise_models,
    fit_remaining_noise_models,
    from_known_signals,
    needs_noise_models,
)
from denoisplit.noise_models.storage import FittedNoiseModel, is_written, read_fitted, write_fitted

CLEAN = {
    "ER": simulate("mesh", frames=4, size=64, seed=1),
    "MT": simulate("filaments", frames=4, size=64, seed=1),
}
NOISY = {
    name: camera(clean, gain=4.0, read_noise=3.0, offset=20.0, seed=k)
    for k, (name, clean) in enumerate(CLEAN.items())
}
TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "patch": 32},
    "noise_model_fit": {"steps": 50, "components": 1},
    "n2v": {"filters": 4, "batch": 4, "masked": 0.03, "learning_rate": 3e-3,
            "max_steps": 100},
}  # fmt: skip
SYNTHETIC = {"synthetic_poisson": 2.0, "synthetic_gaussian": 0.5}


def material(
    images: dict[str, np.ndarray], structures: dict[str, Any] | None = None, **groups: Any
) -> tuple[Settings, TrainingData]:
    given = structures or {}
    entries = [{"name": n, "files": ["unused"], **given.get(n, {})} for n in images]
    values = {key: {**value, **groups.pop(key, {})} for key, value in TINY.items()}
    settings = settings_from({"structures": entries, **values, **groups})
    return settings, prepare(list(images.values()), settings)


def sources(fits: dict[str, FittedNoiseModel]) -> dict[str, Any]:
    return {name: fit.model.about.get("source") for name, fit in fits.items()}


# ---------------------------------------------------------------- which route


def test_noisy_images_alone_need_a_denoiser(tmp_path: Path) -> None:
    settings, data = material(NOISY)
    assert fit_available_noise_models(settings, data, {}) == {}
    models = fit_remaining_noise_models(tmp_path, tmp_path, settings, data)
    assert [model.about["source"] for model in models] == [
        "noisy images and their denoised form"
    ] * 2


def test_synthetic_noise_is_that_of_clean_images() -> None:
    settings, data = material(CLEAN, data=SYNTHETIC)
    fits = fit_available_noise_models(settings, data, {})
    assert sources(fits) == dict.fromkeys(CLEAN, "clean images and synthetic noise")
    for name, fit in fits.items():
        signal = float(np.mean(CLEAN[name]))
        expected = 2.0 * signal + data.noise.gaussian_sigma**2
        assert fit.model.variance(_tensor(signal)).item() == pytest.approx(expected, rel=0.05)
        assert fit.model.about["gaussian_sigma"] == data.noise.gaussian_sigma


def test_repeats_serve_their_structure_alone() -> None:
    ramp = np.linspace(25, 140, 1600).reshape(1, 40, 40)
    shots = camera(np.repeat(ramp, 20, axis=0), gain=4.0, read_noise=3.0, offset=0.0, seed=9)
    settings, data = material(NOISY, {"MT": {"repeats": ["shots.tif"]}})
    fits = fit_available_noise_models(settings, data, {"MT": [shots]})
    assert sources(fits) == {"MT": "repeated shots of a static scene"}
    assert fits["MT"].model.variance(_tensor(80.0)).item() == pytest.approx(4 * 80 + 9, rel=0.1)


@pytest.mark.parametrize(
    ("route", "source"),
    [
        ("A", "simulated shots of known signals"),
        ("B", "clean images and synthetic noise"),
        ("C", "noisy images and their denoised form"),
    ],
)
def test_a_route_can_be_asked_for(route: str, source: str, tmp_path: Path) -> None:
    """All of them know the noise that was added, so that each model serves another run of it."""
    settings, data = material({"MT": CLEAN["MT"]}, data=SYNTHETIC, noise_model_fit={"route": route})
    fits = fit_available_noise_models(settings, data, {})
    assert bool(fits) == (route != "C")
    if fits:
        write_fitted(tmp_path, "MT", fits["MT"])
    (model,) = fit_remaining_noise_models(tmp_path, tmp_path, settings, data)
    assert model.about == {
        "source": source, "poisson_factor": 2.0, "gaussian_sigma": data.noise.gaussian_sigma
    }  # fmt: skip


@pytest.mark.parametrize("route", ["A", "B"])
def test_a_route_without_its_images_is_refused(route: str) -> None:
    settings, data = material(NOISY, noise_model_fit={"route": route})
    with pytest.raises(InputError, match=rf"structure ER: .*route {route} needs synthetic noise"):
        fit_available_noise_models(settings, data, {})


def test_known_signals_are_all_that_occur() -> None:
    noise = SyntheticNoise(2.0, 5.0)
    few = from_known_signals([np.array([[3, 9]]), np.array([[1, 4]])], noise, seed=0)
    assert np.array_equal(np.unique(few.signal, return_counts=True), ([*range(1, 10)], [100] * 9))
    many = from_known_signals([np.array([[0, 60_000]], dtype=np.uint16)], noise, seed=0)
    assert np.array_equal(np.unique(many.signal), np.linspace(0, 60_000, 4096))
    real = from_known_signals([np.array([[0.0, 1.0]])], SyntheticNoise(0.0, 0.1), seed=0)
    assert np.unique(real.signal).size == 4096


def test_altered_musplit_needs_them_only_to_estimate_errors(tmp_path: Path) -> None:
    """Not to be trained, so that they are fitted afterwards, unless there are shots or files."""
    options: dict[str, Any] = {"system": "altered_musplit"}
    for groups in ({"data": {"gaussian_sigma": 5.0}}, {"prediction": {"error_map": False}}):
        settings, data = material(NOISY, **options, **groups)
        assert not needs_noise_models(settings, data)
        assert fit_available_noise_models(settings, data, {}) == {}
        assert fit_remaining_noise_models(tmp_path, tmp_path, settings, data) == []
    assert list(tmp_path.iterdir()) == []
    settings, data = material(NOISY, **options)
    assert needs_noise_models(settings, data)
    assert fit_available_noise_models(settings, data, {}) == {}


# ---------------------------------------------------------------- stored models


def test_each_model_is_written_once_it_is_ready_and_not_fitted_again(tmp_path: Path) -> None:
    folder, checkpoints = tmp_path / "models", tmp_path / "checkpoints"
    folder.mkdir()
    checkpoints.mkdir()
    settings, data = material(NOISY)
    first = fit_remaining_noise_models(folder, checkpoints, settings, data)
    assert list(checkpoints.iterdir()) == []
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {str(path.relative_to(folder)) for path in before} == {
        "ER.npz", "ER.json", "pairs/ER.npz", "MT.npz", "MT.json", "pairs/MT.npz"
    }  # fmt: skip
    (folder / "MT.npz").unlink()
    again = fit_remaining_noise_models(folder, checkpoints, settings, data)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [m.to_bytes() for m in again] == [m.to_bytes() for m in first]


def test_a_fit_is_read_as_it_was_written(tmp_path: Path) -> None:
    settings, data = material({"MT": CLEAN["MT"]}, data=SYNTHETIC)
    fit = fit_available_noise_models(settings, data, {})["MT"]
    assert not is_written(tmp_path, "MT")
    write_fitted(tmp_path, "MT", fit)
    assert is_written(tmp_path, "MT")
    model, quality, pairs = read_fitted(tmp_path, "MT")
    assert fit.quality is not None and fit.pairs is not None
    assert quality is not None and quality.as_dict() == fit.quality.as_dict()
    assert quality.verdict() == fit.quality.verdict()
    assert pairs is not None and pairs.step == fit.pairs.step
    np.testing.assert_allclose(pairs.signal, fit.pairs.signal, rtol=1e-6)
    np.testing.assert_allclose(pairs.observed, fit.pairs.observed, rtol=1e-6)
    assert model.to_bytes() == fit.model.to_bytes()


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (3.0, ("poisson factor 3", "2 as in the data")),
        ("two", ("poisson factor 'two'", "a number")),
    ],
)
def test_a_file_for_other_noise_is_refused(
    stored: float | str, says: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "given.npz"
    model = GaussianMixture(np.zeros((3, 2)), 0, 1000, 1.0, {"poisson_factor": stored})
    file.write_bytes(model.to_bytes())
    settings, data = material(CLEAN, {"ER": {"noise_model": str(file)}}, data=SYNTHETIC)
    with pytest.raises(InputError) as caught:
        fit_available_noise_models(settings, data, {})
    text = str(caught.value)
    assert text.startswith(str(file)) and all(word in text for word in says)


@pytest.mark.parametrize("dark", [True, False])
def test_images_darker_than_a_given_model_are_named(
    dark: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = np.random.default_rng(0).normal(80.0 if dark else 100.0, 5.0, (4, 64, 64))
    images = {name: image.astype(np.float32) for name in CLEAN}
    file = tmp_path / "given.npz"
    weight = [[0.0], [math.log(25.0)], [0.0]]
    file.write_bytes(GaussianMixture(weight, 100.0, 300.0, 1.0).to_bytes())
    settings, data = material(images, {name: {"noise_model": str(file)} for name in CLEAN})
    with caplog.at_level(logging.WARNING, "denoisplit"):
        fit_available_noise_models(settings, data, {})
    named = [line.split(": ")[0] for line in caplog.messages]
    assert named == (list(CLEAN) if dark else [])
    assert all("darker than the noise model covers (100 to 300" in line for line in caplog.messages)


def test_of_a_given_file_only_the_model_is_stored(tmp_path: Path) -> None:
    write_fitted(tmp_path, "MT", FittedNoiseModel(GaussianMixture(np.zeros((3, 2)), 0.0, 1.0, 0.1)))
    assert [path.name for path in tmp_path.iterdir()] == ["MT.npz"]
    assert read_fitted(tmp_path, "MT")[1:] == (None, None)


@pytest.mark.parametrize("file", ["MT.json", "pairs/MT.npz", "MT.npz"])
def test_a_damaged_file_is_refused_in_one_line(file: str, tmp_path: Path) -> None:
    settings, data = material({"MT": CLEAN["MT"]}, data=SYNTHETIC)
    write_fitted(tmp_path, "MT", fit_available_noise_models(settings, data, {})["MT"])
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:50])
    with pytest.raises(InputError, match=file):
        read_fitted(tmp_path, "MT")


# ---------------------------------------------------------------- log


def test_a_verdict_is_logged_for_each_structure(caplog: pytest.LogCaptureFixture) -> None:
    settings, data = material(CLEAN, data=SYNTHETIC)
    with caplog.at_level(logging.INFO, "denoisplit"):
        fits = fit_available_noise_models(settings, data, {})
    for name, fit in fits.items():
        assert fit.quality is not None
        assert f"noise model of {name}: {fit.quality.verdict()[0]}" in caplog.messages
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def _tensor(value: float) -> Any:
    import torch

    return torch.tensor(value)
