"""Training of the error map: it finds a known error level in frames that it was not fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.evaluation.risk import SquaredErrors
from denoisplit.network.error_map import ErrorMap
from denoisplit.network.vse import VSE
from denoisplit.training.calibration import error_map as error_map_fit
from denoisplit.training.calibration.error_map import fit_error_map

Array = np.ndarray[Any, Any]

SIDE = 64
NOISE = 12.0  # std of the reference, above the error
STEPS = 150  # of 600: of frames that are smaller and simpler than real ones
FEW = 4  # where any map will do


def network(structures: int = 1) -> VSE:
    with torch.random.fork_rng(devices=[]):
        model = VSE(structures, filters=4, latents=2, levels=2, patch=16).eval()
    model.input_mean.fill_(50.0)
    model.input_std.fill_(25.0)
    model.target_mean.fill_(50.0)
    model.target_std.fill_(25.0)
    return model


class Made:
    """Frames whose error has a std between 1 and 5, by the intensity that is predicted."""

    def __init__(self, seed: int, *, frames: int = 12, structures: int = 1) -> None:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:SIDE, :SIDE]
        self.means, self.std, self.signed = [], [], []
        for _ in range(frames):
            phases = rng.uniform(0, 6, (structures, 2, 1, 1))
            mean = 50 + 40 * np.sin(x / 9 + phases[:, 0]) * np.cos(y / 11 + phases[:, 1])
            std = 1 + 4 * ((mean - 10) / 80)
            self.means.append(np.float32(mean))
            self.std.append(np.float32(std))
            self.signed.append(np.float32(std * rng.standard_normal(std.shape)))
        self.inputs = [
            np.float32(m.sum(axis=0) + rng.normal(0, 5, (SIDE, SIDE))) for m in self.means
        ]
        inside = np.ones((structures, SIDE, SIDE), dtype=bool)
        self.true = [SquaredErrors(e**2, inside.copy()) for e in self.signed]
        noise = np.full(inside.shape, NOISE**2, np.float32)
        self.estimated = [
            SquaredErrors(
                np.float32((e - NOISE * rng.standard_normal(e.shape)) ** 2 - noise),
                inside.copy(),
                noise,
            )
            for e in self.signed
        ]

    def fitted(self, errors: list[SquaredErrors], *, seed: int = 0, **options: Any) -> ErrorMap:
        model = network(len(self.means[0]))
        return fit_error_map(
            model, self.inputs, self.means, errors, seed=seed, **({"steps": FEW} | options)
        )

    def claimed(self, error_map: ErrorMap) -> list[Array]:
        with torch.inference_mode():
            return [
                error_map(torch.from_numpy(x)[None, None], torch.from_numpy(m)[None])[0].numpy()
                for x, m in zip(self.inputs, self.means, strict=True)
            ]


def by_level(made: Made, claimed: list[Array], k: int = 0) -> Array:
    """Root mean square of the claim over that of the true std, in quintiles of the true std."""
    std, own = (np.concatenate([f[k].ravel() for f in v]) for v in (made.std, claimed))
    groups = np.array_split(np.argsort(std, kind="stable"), 5)
    return np.array([np.sqrt((own[g] ** 2).mean() / (std[g] ** 2).mean()) for g in groups])


@pytest.fixture(autouse=True)
def _small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_map_fit, "CROPS", 4)
    monkeypatch.setattr(error_map_fit, "SIDE", 48)


@pytest.fixture(scope="module")
def held_back() -> Made:
    return Made(99, frames=6)


def test_true_errors_give_the_level_of_new_frames(held_back: Made) -> None:
    made = Made(1)
    error_map = made.fitted(made.true, steps=STEPS)
    ratios = by_level(held_back, held_back.claimed(error_map))
    np.testing.assert_allclose(ratios, 1, atol=0.15)
    correlation = np.corrcoef(
        np.concatenate([c.ravel() for c in held_back.claimed(error_map)]),
        np.concatenate([s.ravel() for s in held_back.std]),
    )[0, 1]
    assert correlation > 0.95
    assert not any(p.requires_grad for p in error_map.parameters()) and not error_map.training


def test_noisy_estimates_give_it_too(held_back: Made) -> None:
    """Estimates that scatter by 200 about errors of 1 to 25."""
    made = Made(1, frames=100)
    assert np.mean([(e.values < 0).mean() for e in made.estimated]) > 0.5
    error_map = made.fitted(made.estimated, steps=STEPS)
    claimed = held_back.claimed(error_map)
    ratios = by_level(held_back, claimed)
    # in the first fifth the error is below 0.15 of the noise
    assert ratios[1:].min() > 0.7 and ratios[1:].max() < 1.4
    assert ratios[1:].mean() == pytest.approx(1, abs=0.15)
    correlation = np.corrcoef(
        np.concatenate([c.ravel() for c in claimed]),
        np.concatenate([s.ravel() for s in held_back.std]),
    )[0, 1]
    assert correlation > 0.8
    assert all(np.isfinite(c).all() and (c > 0).all() for c in claimed)


def test_the_unit_of_a_map_is_that_of_the_network() -> None:
    """Errors that are one hundred times as large, and as large in the unit of the network."""
    made = Made(1, frames=4)
    plain = made.fitted(made.true)
    model = network()
    for name in ("input_mean", "input_std", "target_mean", "target_std"):
        getattr(model, name).mul_(64)
    large = [SquaredErrors(e.values * 64**2, e.inside) for e in made.true]
    inputs, means = ([64 * v for v in values] for values in (made.inputs, made.means))
    scaled = fit_error_map(model, inputs, means, large, seed=0, steps=FEW)
    for name, value in plain.state_dict().items():
        if name.startswith(("layers", "level")):
            np.testing.assert_allclose(scaled.state_dict()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["true", "estimated"])
def test_the_fit_is_a_function_of_its_seed(kind: str) -> None:
    made = Made(1, frames=3, structures=2)
    errors = getattr(made, kind)
    torch.manual_seed(7)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = made.fitted(errors)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.manual_seed(8)  # whatever the random state is
    two, other = made.fitted(errors), made.fitted(errors, seed=1)
    for name, value in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], value), name
    assert not torch.equal(other.layers[0].weight, one.layers[0].weight)


@pytest.mark.parametrize("kind", ["true", "estimated"])
def test_pixels_that_do_not_count_have_no_influence(kind: str) -> None:
    made = Made(1, frames=3)
    errors = getattr(made, kind)
    for error in errors:
        error.inside[:, 10:20] = False
    plain = made.fitted(errors)
    for error in errors:
        error.values[:, 10:20] = 1e5
    spoilt = made.fitted(errors)
    for name, value in plain.state_dict().items():
        assert torch.equal(spoilt.state_dict()[name], value), name


def test_frames_below_the_usual_crop() -> None:
    made = Made(1, frames=3)
    made.inputs = [x[:20, :37] for x in made.inputs]
    made.means = [m[:, :20, :37] for m in made.means]
    errors = [SquaredErrors(e.values[:, :20, :37], e.inside[:, :20, :37]) for e in made.true]
    assert all(np.isfinite(c).all() for c in made.claimed(made.fitted(errors)))


def test_a_frame_of_which_no_pixel_counts() -> None:
    made = Made(1, frames=3)
    made.true[1].inside[:] = False
    assert all(np.isfinite(c).all() for c in made.claimed(made.fitted(made.true)))


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_errors_without_a_positive_mean_give_a_map(value: float) -> None:
    made = Made(1, frames=3)
    for error in made.estimated:
        error.values[:] = value
    claimed = made.claimed(made.fitted(made.estimated))
    assert all(np.isfinite(c).all() and (c > 0).all() and (c < 2).all() for c in claimed)
