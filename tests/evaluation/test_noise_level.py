"""Noise of recorded images against a claim that is a little wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import convolve, uniform_filter

from denoisplit.data.simulation import simulate
from denoisplit.evaluation.noise_level import FEWEST, NoiseLevel, noise_levels
from denoisplit.evaluation.risk import Probe, probe_frames
from denoisplit.prediction.sampling import Sampling

Array = np.ndarray[Any, Any]
Make = Callable[..., Any]

SIGMA2 = 100.0


def claims(recorded: Any, *, times: float = 1.0, trend: float = 0.0) -> list[Probe]:
    """Probes of predictions without noise; the claim is wrong by a factor, and by a line."""
    probes = []
    for t in recorded.truth:
        true = np.stack(
            [model.variance(_tensor(t[k])).numpy() for k, model in enumerate(recorded.noise_models)]
        )
        claimed = np.float32(true * times * (1 + trend * (true / true.mean() - 1)))
        nothing = np.zeros_like(claimed)
        probes.append(Probe(claimed, nothing, nothing))
    return probes


def _tensor(values: Array) -> Any:
    import torch

    return torch.from_numpy(np.float32(values))


@pytest.mark.parametrize(("structures", "times"), [(1, 1.03), (1, 0.97), (2, 1.03)])
def test_a_claim_wrong_by_three_per_cent(recorded: Make, structures: int, times: float) -> None:
    made = recorded(structures, variance=SIGMA2, frames=24, side=256)
    for level in noise_levels(made.frames, made.truth, claims(made, times=times)):
        assert float(level(times * SIGMA2)) == pytest.approx(1 / times, rel=0.01)


def test_structure_that_the_prediction_misses_does_not_count(recorded: Make) -> None:
    """Images of a mesh; the prediction is a blur of them."""
    mesh = np.tile(simulate("mesh", frames=3, size=128, seed=0), (8, 2, 2))
    made = recorded(1, variance=SIGMA2, frames=24, side=256, clean=lambda shape, k, j: mesh[j])
    missed = [np.float32(uniform_filter(t, (0, 3, 3))) for t in made.truth]
    assert np.mean([(m - t).var() for m, t in zip(missed, made.truth, strict=True)]) > 2
    (level,) = noise_levels(made.frames, missed, claims(made, times=1.03))
    assert float(level(1.03 * SIGMA2)) == pytest.approx(1 / 1.03, rel=0.01)


def test_a_claim_that_is_wrong_in_bright_pixels(recorded: Make) -> None:
    """The ratio is a line in the claimed variance, of a usual slope at most."""
    made = recorded(1, variance=20.0, slope=2.0, frames=12, side=160)
    probes = claims(made, trend=0.1)
    (level,) = noise_levels(made.frames, made.truth, probes)
    true = np.concatenate([20 + 2 * t[0].ravel() for t in made.truth])
    claimed = np.concatenate([p.variance[0].ravel() for p in probes])
    found = level(claimed) * claimed
    groups = np.array_split(np.argsort(true), 5)
    for g in groups:
        assert found[g].mean() == pytest.approx(true[g].mean(), rel=0.02)
    wrong = [claimed[g].mean() / true[g].mean() for g in groups]
    assert min(wrong) < 0.96 and max(wrong) > 1.03
    assert level.trend < 0


def test_the_line_ends_where_nothing_was_measured() -> None:
    level = NoiseLevel(1.0, 0.2, 100.0, 50.0, 150.0)
    np.testing.assert_allclose(level(np.array([0, 50, 100, 150, 1e6])), [0.9, 0.9, 1, 1.1, 1.1])
    assert level(np.ones((2, 3))).shape == (2, 3)


@pytest.mark.parametrize("a", [0.3, -0.2])
def test_correlated_noise_is_as_large_as_it_is(recorded: Make, a: float) -> None:
    """Second differences see too little of noise u(x) + a u(x - 1), or too much."""

    def coloured(unit: Array) -> Array:
        return (unit + a * np.roll(unit, 1, axis=1)) / math.sqrt(1 + a**2)

    made = recorded(1, variance=SIGMA2, frames=24, side=256, white=coloured)
    correlation = a / (1 + a**2)
    probes = claims(made, times=1.03)
    (level,) = noise_levels(made.frames, made.truth, probes, [(correlation, 0.0)])
    assert level.ratio == pytest.approx(1 / 1.03, rel=0.01)
    (ignored,) = noise_levels(made.frames, made.truth, probes)
    assert ignored.ratio == pytest.approx((1 - 4 / 3 * correlation) / 1.03, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "kernel"),
    [("sum", [[1 / 3]]), ("sum", np.outer([1, 2, 1], [1, 2, 1]) / 16), ("mean", [[1 / 3]])],
)
def test_noise_that_the_prediction_copies_is_not_missed(
    recorded: Make, predicts: Make, kind: str, kernel: Any
) -> None:
    """A third of the noise, pixel by pixel, or all of it after a blur."""
    made = recorded(2, variance=SIGMA2, frames=8, side=160, kind=kind)
    scale = made.frames.superposition.scale
    clean = [scale * t.sum(axis=0) for t in made.truth]

    def copied(noise: Array) -> Array:
        return np.stack([convolve(noise.astype(np.float64), kernel)] * 2) / scale

    means = [
        np.float32(t + copied(x - c))
        for t, x, c in zip(made.truth, made.frames.inputs, clean, strict=True)
    ]
    predicts(copied)  # linear: the same response, whatever the truth
    probes = [
        Probe(np.full_like(p.variance, SIGMA2), 10 * p.noise / np.sqrt(p.variance), p.response)
        for p in probe_frames(
            None, made.frames, made.noise_models, Sampling(4), tile=64, halo=0, seed=0
        )
    ]
    naive = [Probe(p.variance, p.noise, 0 * p.response) for p in probes]
    for level, wrong in zip(
        noise_levels(made.frames, means, probes),
        noise_levels(made.frames, means, naive),
        strict=True,
    ):
        assert level.ratio == pytest.approx(1, rel=0.015)
        assert abs(wrong.ratio - 1) > 0.03


def test_too_few_pixels_tell_nothing(recorded: Make) -> None:
    side = math.isqrt(FEWEST)  # without its border it has fewer
    made = recorded(2, frames=1, side=side)
    levels = noise_levels(made.frames, made.truth, claims(made, times=3.0))
    assert levels == [NoiseLevel(), NoiseLevel()]
    assert float(levels[0](5.0)) == 1


def test_pixels_at_a_limit_do_not_count(recorded: Make) -> None:
    made = recorded(1, frames=4, side=96)
    expected = noise_levels(made.frames, made.truth, claims(made))
    for j in range(4):
        made.frames.within_limits[j][:, 40:60] = False
    without = noise_levels(made.frames, made.truth, claims(made))
    for j in range(4):
        made.frames.observed[j][:, 41:59] += 1e4
    assert noise_levels(made.frames, made.truth, claims(made)) == without
    assert without[0].ratio == pytest.approx(expected[0].ratio, rel=0.03)
