"""Squared errors without truth: unbiased for predictions whose true error is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, maximum_filter

from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.frames import LIMIT_RADIUS, EvaluationFrames
from denoisplit.evaluation.noise_level import NoiseLevel
from denoisplit.evaluation.risk import (
    Estimate,
    SquaredErrors,
    areas,
    correlated,
    estimate,
    estimated_psnr,
    noise_variance,
    probe_frames,
    squared_errors,
)
from denoisplit.network.vse import VSE
from denoisplit.prediction.sampling import Sampling

Array = np.ndarray[Any, Any]
Make = Callable[..., Any]

KERNEL = np.outer([1, 2, 1], [1, 2, 1]) / 16  # its centre is 1 / 4
CENTRE, SIDE = KERNEL[1, 1], KERNEL[1, 0]
SIGMA2 = 100.0


def linear(structures: int, scale: float) -> Callable[[Array], Array]:
    """Each structure has another share of the blurred input, about a mean of 60."""
    shares = np.arange(1, structures + 1) / (scale * structures)

    def predict(x: Array) -> Array:
        blurred = convolve(x.astype(np.float64), KERNEL, mode="wrap")
        return 60 + shares[:, None, None] * (blurred - 60 * scale * structures)

    return predict


def faint(shape: tuple[int, int], k: int, j: int) -> Array:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.float32(60 + 5 * k + 5 * np.sin(y / (5 + 2 * k) + j) * np.cos(x / (7 - k)))


def probed(recorded: Any, *, seed: int = 0, **options: Any) -> list[Any]:
    """Probes of the function that is used in place of the network."""
    options |= {"tile": 64, "halo": 0, "seed": seed}
    return probe_frames(None, recorded.frames, recorded.noise_models, Sampling(4), **options)


def mean_and_error(frames: list[Array], k: int) -> tuple[float, float]:
    """Mean over frames of structure k, and its standard error."""
    means = [frame[k].mean() for frame in frames]
    return float(np.mean(means)), float(np.std(means, ddof=1) / math.sqrt(len(means)))


# ---------------------------------------------------------------- unbiased


@pytest.mark.parametrize("kind", ["sum", "mean"])
@pytest.mark.parametrize("structures", [1, 2, 3])
def test_the_estimate_is_unbiased(
    recorded: Make, predicts: Make, structures: int, kind: str
) -> None:
    made = recorded(structures, kind=kind, variance=SIGMA2, clean=faint)
    scale = made.frames.superposition.scale
    predict = linear(structures, scale)
    predicts(predict)
    means = [predict(x) for x in made.frames.inputs]
    probes = probed(made)
    errors = squared_errors(made.frames, means, probes)
    true = made.true_errors(means)
    for k in range(structures):
        off, error = mean_and_error([e.values - t for e, t in zip(errors, true, strict=True)], k)
        assert abs(off) < 3 * error and error < 0.03 * SIGMA2
        # without the covariance, the error would be too small by twice that of noise and prediction
        covariance = CENTRE * (k + 1) / structures * SIGMA2
        found, error = mean_and_error([p.covariance for p in probes], k)
        assert found == pytest.approx(covariance, abs=3 * error)
        naive = [
            (m - y) ** 2 - SIGMA2 - t
            for m, y, t in zip(means, made.frames.observed, true, strict=True)
        ]
        off, error = mean_and_error(naive, k)
        assert off == pytest.approx(-2 * covariance, abs=3 * error)
        assert abs(off) > 8 * error


def test_noise_that_grows_with_the_signal(recorded: Make, predicts: Make) -> None:
    made = recorded(1, variance=20.0, slope=2.0)
    predict = linear(1, 1.0)
    predicts(predict)
    means = [predict(x) for x in made.frames.inputs]
    errors = squared_errors(made.frames, means, probed(made))
    bright = [t > 60 for t in made.truth]
    for chosen in (bright, [~b for b in bright]):
        off = [
            np.where(w, e.values - t, 0)
            for e, t, w in zip(errors, made.true_errors(means), chosen, strict=True)
        ]
        mean, error = mean_and_error(off, 0)
        assert abs(mean) < 3 * error


def test_a_prediction_that_is_not_linear(recorded: Make, predicts: Make) -> None:
    """A soft step: it copies noise where it is steep."""

    def predict(x: Array) -> Array:
        blurred = convolve(x.astype(np.float64), KERNEL, mode="wrap")
        return (60 + 40 * np.tanh((blurred - 60) / 20))[None]

    made = recorded(1, variance=SIGMA2)
    predicts(predict)
    means = [predict(x) for x in made.frames.inputs]
    probes = probed(made)
    errors = squared_errors(made.frames, means, probes)
    off = [e.values - t for e, t in zip(errors, made.true_errors(means), strict=True)]
    mean, error = mean_and_error(off, 0)
    assert abs(mean) < 3 * error
    steep = [np.abs(t - 60) < 10 for t in made.truth]
    copied = [p.covariance[s].mean() for p, s in zip(probes, steep, strict=True)]
    flat = [p.covariance[~s].mean() for p, s in zip(probes, steep, strict=True)]
    assert np.mean(copied) > 2 * np.mean(flat)


def test_noise_that_is_not_in_the_input_needs_no_covariance(recorded: Make, predicts: Make) -> None:
    made = recorded(1, variance=SIGMA2)
    predicts(lambda x: np.full((1, *x.shape), 60.0))
    assert all(not probe.covariance.any() for probe in probed(made))


# ---------------------------------------------------------------- correlated noise


@pytest.mark.parametrize("a", [0.5, -0.3])
def test_correlated_noise_needs_a_correlated_probe(
    recorded: Make, predicts: Make, a: float
) -> None:
    """Noise u(x) + a u(x - 1) has a correlation of a / (1 + a^2) along x, and none farther."""

    def coloured(unit: Array) -> Array:
        return (unit + a * np.roll(unit, 1, axis=1)) / math.sqrt(1 + a**2)

    made = recorded(1, variance=SIGMA2, white=coloured, frames=12)
    correlation = a / (1 + a**2)
    predict = linear(1, 1.0)
    predicts(predict)
    means = [predict(x) for x in made.frames.inputs]
    true = made.true_errors(means)

    def bias(**options: Any) -> tuple[float, float]:
        errors = squared_errors(made.frames, means, probed(made, **options))
        return mean_and_error([e.values - t for e, t in zip(errors, true, strict=True)], 0)

    mean, error = bias(correlations=[(correlation, 0.0)])
    assert abs(mean) < 3 * error
    mean, error = bias()
    expected = -2 * SIGMA2 * 2 * SIDE * correlation
    assert mean == pytest.approx(expected, abs=3 * error)
    assert abs(expected) > 5 * error


@pytest.mark.parametrize("along", [(0.0, 0.0), (0.3, 0.1), (-0.2, 0.45)])
def test_correlated_gives_neighbours_their_correlation(along: tuple[float, float]) -> None:
    unit = np.random.default_rng(0).standard_normal((512, 512), np.float32)
    made = correlated(unit, along)
    assert made.dtype == np.float32 and made.shape == unit.shape
    assert made.var() == pytest.approx(1, abs=0.01)
    assert (made[:, 1:] * made[:, :-1]).mean() == pytest.approx(along[0], abs=0.01)
    assert (made[1:] * made[:-1]).mean() == pytest.approx(along[1], abs=0.01)
    # the correlation is that of a process, not of the border
    assert made[:, :4].var() == pytest.approx(1, abs=0.1)


def test_a_correlation_that_neighbours_cannot_have_is_limited() -> None:
    unit = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    made = correlated(unit, (0.9, 0.0))
    assert np.isfinite(made).all() and made.var() == pytest.approx(1, abs=0.02)
    assert (made[:, 1:] * made[:, :-1]).mean() == pytest.approx(0.49, abs=0.02)


# ---------------------------------------------------------------- squared errors


def test_with_a_truth_errors_are_true_ones() -> None:
    rng = np.random.default_rng(0)
    truth = tuple(tuple(np.float32(rng.uniform(0, 9, (3, 16, 16)))) for _ in range(2))
    mix = Superposition("sum", (0.0, 0.0))
    made = EvaluationFrames(truth, SyntheticNoise(0.0, 5.0), mix, seed=0, part="evaluation")
    means = [t + np.float32(j) for j, t in enumerate(made.truth)]
    made.unsaturated[1][:4] = False
    errors = squared_errors(made, means)
    for j, (error, m) in enumerate(zip(errors, means, strict=True)):
        np.testing.assert_array_equal(error.values, (m - made.truth[j]) ** 2)
        np.testing.assert_array_equal(error.inside[1], made.unsaturated[j])
        assert error.noise is None and error.doubt is None


def test_without_truth_and_probes_nothing_is_known(recorded: Make) -> None:
    made = recorded(2, frames=2, side=32)
    with pytest.raises(ValueError, match="need probes"):
        squared_errors(made.frames, made.frames.observed)


def test_another_noise_level_is_used_and_doubted(recorded: Make, predicts: Make) -> None:
    """The noise model's variance stays in the range that is given."""
    made = recorded(1, frames=4)
    predict = linear(1, 1.0)
    predicts(predict)
    means = [predict(x) for x in made.frames.inputs]
    probes = probed(made)
    plain = squared_errors(made.frames, means, probes)
    ratio = 1.1
    other = squared_errors(made.frames, means, probes, [NoiseLevel(ratio)])
    for a, b, p in zip(plain, other, probes, strict=True):
        shared = (p.variance - 2 * p.covariance)[0]
        np.testing.assert_allclose(b.values[0], a.values[0] - (ratio - 1) * shared, atol=1e-2)
        np.testing.assert_allclose(b.values + b.doubt, a.values, atol=1e-2)
        np.testing.assert_allclose(b.noise, ratio * a.noise, rtol=1e-6)
    one, two = estimate(plain, 0), estimate(other, 0)
    assert two.value < one.value
    assert two.high == pytest.approx(one.value + 2 * two.standard_error, rel=1e-3)
    assert two.low == pytest.approx(two.value - 2 * two.standard_error, rel=1e-3)


# ---------------------------------------------------------------- means and their uncertainty


def errors_of(values: list[Array], inside: list[Array] | None = None) -> list[SquaredErrors]:
    """Errors of one structure, (Y, X) of each frame."""
    masks = inside or [np.ones(v.shape, dtype=bool) for v in values]
    return [SquaredErrors(np.float32(v)[None], m[None]) for v, m in zip(values, masks, strict=True)]


def test_the_bounds_contain_the_truth() -> None:
    rng = np.random.default_rng(0)
    contained = 0
    for _ in range(200):
        found = estimate(errors_of([rng.normal(2, 10, (16, 16)) for _ in range(10)]), 0)
        assert found.low < found.value < found.high
        assert found.high - found.low == pytest.approx(4 * found.standard_error)
        contained += found.low <= 2 <= found.high
    # two standard errors of ten frames: 92 % by Student's distribution
    assert 0.88 <= contained / 200 <= 0.97


def test_more_frames_are_more_certain() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.normal(2, 10, (32, 32)) for _ in range(100)]
    few, many = estimate(errors_of(frames[:25]), 0), estimate(errors_of(frames), 0)
    assert few.standard_error / many.standard_error == pytest.approx(2, rel=0.3)
    assert many.standard_error == pytest.approx(10 / 32 / 10, rel=0.2)


def test_the_mean_is_that_of_pixels_not_of_frames() -> None:
    frames = [np.full((8, 8), 1.0), *[np.full((8, 24), 2.0) for _ in range(3)]]
    assert estimate(errors_of(frames), 0).value == pytest.approx((1 + 9 * 2) / 10)


@pytest.mark.parametrize("shape", [(64, 64), (160, 300), (1, 50), (512, 512)])
@pytest.mark.parametrize("frames", [1, 3, 4, 9])
def test_areas_hold_every_pixel_once(shape: tuple[int, int], frames: int) -> None:
    count = np.zeros(shape, dtype=int)
    parts = areas(shape, frames)
    for area in parts:
        count[area] += 1
    assert (count == 1).all()
    # frames stand for themselves where there are enough of them
    assert (len(parts) == 1) == (frames >= 4)
    if shape == (512, 512) and frames < 4:
        assert {count[area].shape for area in parts} == {(128, 128)}


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_small_frames_have_an_uncertainty_too(frames: int) -> None:
    rng = np.random.default_rng(0)
    squared = [
        estimate(errors_of([rng.normal(2, 10, (64, 64)) for _ in range(frames)]), 0).standard_error
        ** 2
        for _ in range(50)
    ]
    assert min(squared) > 0
    assert np.mean(squared) == pytest.approx(10**2 / 64**2 / frames, rel=0.25)


def test_only_chosen_pixels_count() -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(2, 1, (16, 16)) for _ in range(5)]
    inside = [rng.random((16, 16)) < 0.7 for _ in values]
    where = [rng.random((16, 16)) < 0.5 for _ in values]
    chosen = np.concatenate([v[i & w] for v, i, w in zip(values, inside, where, strict=True)])
    found = estimate(errors_of(values, inside), 0, where)
    assert found.value == pytest.approx(chosen.mean(), rel=1e-6)
    changed = [np.where(i & w, v, np.nan) for v, i, w in zip(values, inside, where, strict=True)]
    assert estimate(errors_of(changed, inside), 0, where) == found
    with pytest.raises(ValueError, match="no pixel"):
        estimate(errors_of(values, inside), 0, [np.zeros((16, 16), dtype=bool)] * 5)


# ---------------------------------------------------------------- PSNR


def test_the_estimated_psnr_is_that_of_range_and_error() -> None:
    means = [np.linspace(0, 100, 100_001, dtype=np.float32).reshape(1, 1, -1) for _ in range(2)]
    found = estimated_psnr(Estimate(4.0, 0.5, 3.0, 5.0), means, 0)
    peak = 99.8  # between the quantiles 0.001 and 0.999
    for key, squared in (("value", 4), ("low", 5), ("high", 3)):
        expected = 20 * math.log10(peak) - 10 * math.log10(squared)
        assert found[key] == pytest.approx(expected, abs=1e-3)
    louder = estimated_psnr(Estimate(400.0, 50.0, 300.0, 500.0), [10 * m for m in means], 0)
    assert louder == pytest.approx(found)


@pytest.mark.parametrize(("value", "low", "high"), [(0.3, -0.2, 0.8), (-0.3, -0.8, 0.2)])
def test_an_error_near_zero_gives_a_lower_bound(value: float, low: float, high: float) -> None:
    means = [np.linspace(0, 100, 10_001, dtype=np.float32).reshape(1, 1, -1)]
    error = Estimate(value, 0.25, low, high)
    found = estimated_psnr(error, means, 0)
    assert error.is_bound and found["value"] is None and found["high"] is None
    expected = 20 * math.log10(99.8) - 10 * math.log10(high)
    assert found["low"] == pytest.approx(expected, abs=1e-3)


def test_a_constant_prediction_has_no_psnr() -> None:
    found = estimated_psnr(Estimate(4.0, 0.5, 3.0, 5.0), [np.ones((1, 4, 4), np.float32)], 0)
    assert found == {"value": None, "low": None, "high": None}
    negative = estimated_psnr(Estimate(-4.0, 0.5, -5.0, -3.0), [np.eye(4)[None]], 0)
    assert negative == {"value": None, "low": None, "high": None}


# ---------------------------------------------------------------- clipped and saturated pixels


def test_pixels_at_a_limit_and_near_it_do_not_count(recorded: Make, predicts: Make) -> None:
    """Spots far above the camera's range; elsewhere nothing is near it."""
    ceiling = 255

    def clean(shape: tuple[int, int], k: int, j: int) -> Array:
        y, x = np.mgrid[: shape[0], : shape[1]]
        spot = (y - 20 - 5 * j) ** 2 + (x - 40) ** 2 < 36
        return np.float32(100 + 20 * np.sin(x / 9) + 900 * spot)

    made = recorded(1, variance=SIGMA2, clean=clean)
    counts = [np.uint8(np.clip(np.rint(y[0]), 0, ceiling)) for y in made.frames.observed]
    frames = EvaluationFrames(
        (tuple(counts),), SyntheticNoise(), Superposition("sum", (0.0,)), seed=0, part="evaluation"
    )
    for image, inside in zip(counts, frames.within_limits, strict=True):
        near = maximum_filter(image == ceiling, size=2 * LIMIT_RADIUS + 1)
        np.testing.assert_array_equal(inside[0], ~near)
        assert near.any() and inside.mean() > 0.9
    predict = linear(1, 1.0)
    predicts(predict)
    means = [predict(x) for x in frames.inputs]
    probes = probe_frames(None, frames, made.noise_models, Sampling(4), tile=64, halo=0, seed=0)
    errors = squared_errors(frames, means, probes)
    off = [
        np.where(e.inside, e.values - t, 0)
        for e, t in zip(errors, made.true_errors(means), strict=True)
    ]
    mean, error = mean_and_error(off, 0)
    # rounding to integers adds 1 / 12 to the noise
    assert abs(mean) < 3 * error + 0.1
    whole = np.mean([(e.values - t).mean() for e, t in zip(errors, made.truth, strict=True)])
    assert abs(whole) > 100 * error
    spoilt = [
        SquaredErrors(np.where(e.inside, e.values, 1e9), e.inside, e.noise, e.doubt) for e in errors
    ]
    assert estimate(spoilt, 0) == estimate(errors, 0)


# ---------------------------------------------------------------- no trace


def test_a_seed_gives_one_probe(recorded: Make, predicts: Make) -> None:
    made = recorded(2, frames=3, side=32)
    predicts(linear(2, 1.0))
    one, again, other = (probed(made, seed=seed) for seed in (3, 3, 4))
    for j in range(3):
        np.testing.assert_array_equal(one[j].noise, again[j].noise)
        np.testing.assert_array_equal(one[j].response, again[j].response)
        assert np.abs(one[j].noise - other[j].noise).mean() > 5
    # frames and structures have probes of their own
    flat = np.stack([p.noise[k].ravel() for p in one for k in range(2)])
    between = np.corrcoef(flat) - np.eye(6)
    assert np.abs(between).max() < 5 / math.sqrt(flat.shape[1])


def test_probes_leave_model_and_random_state_alone(recorded: Make) -> None:
    made = recorded(2, frames=1, side=32)
    torch.manual_seed(5)
    model = VSE(2, filters=4, latents=2, levels=2, patch=16).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    (probe,) = probe_frames(
        model, made.frames, made.noise_models, Sampling(2), tile=32, halo=16, seed=0
    )
    assert probe.noise.shape == (2, 32, 32) and probe.response.shape == (2, 32, 32)
    assert np.abs(probe.response).max() > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert not model.training
    after = model.state_dict()
    assert set(after) == set(before) and all(torch.equal(after[n], before[n]) for n in before)


def test_the_noise_variance_is_that_of_the_model(recorded: Make) -> None:
    (model,) = recorded(1, variance=20.0, slope=2.0, frames=1, side=16).noise_models
    signal = np.array([[0.0, 50.0], [100.0, 150.0]])
    np.testing.assert_allclose(noise_variance(model, signal), 20 + 2 * signal, rtol=1e-5)
