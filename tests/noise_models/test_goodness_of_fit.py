"""The goodness of fit is right, for models that fit and for models that do not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.config.groups import NoiseModelSettings
from denoisplit.data.simulation import simulate
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality, assess, fit_pairs
from denoisplit.noise_models.pairs import Pairs, from_clean, from_repeats

Array = NDArray[np.float64]
GAIN, READ = 2.0, 9.0  # variance = 2 x signal + 9


def made(n: int = 100_000, *, step: float = 0.0, seed: int = 0, **facts: Any) -> Pairs:
    """Gaussian noise of a variance that rises with the signal, recorded on levels."""
    rng = np.random.default_rng(seed)
    signal = rng.uniform(10, 200, n)
    observed = signal + np.sqrt(GAIN * signal + READ) * rng.standard_normal(n)
    if step:
        observed = step * np.rint(observed / step)
    return Pairs(signal, observed, np.arange(n) // 32, step, "a made-up camera", **facts)


def camera(factor: float = 1.0) -> GaussianMixture:
    """The true model of `made`, its variance times a factor."""
    low, high = 10.0, 200.0
    b = np.log(factor * np.array([GAIN * low + READ, GAIN * (high - low)]))
    return GaussianMixture([[0, 0], b, [0, 0]], low, high, 0.01)


def judged(model: GaussianMixture, pairs: Pairs) -> Quality:
    fitted, held = pairs.split()
    return assess(model, fitted, held, seed=0)


# ---------------------------------------------------------------- numbers


def test_the_true_model_has_the_true_numbers() -> None:
    pairs = made()
    quality = judged(camera(), pairs)
    fitted, held = pairs.split()
    assert (quality.pairs, quality.held_out) == (len(fitted), len(held))
    n = len(held)
    assert quality.ks < 1.9 / math.sqrt(n)  # but once in a thousand seeds
    assert quality.pit.sum() == pytest.approx(1)
    np.testing.assert_allclose(quality.pit, 0.05, atol=5 * np.sqrt(0.05 / n))
    np.testing.assert_allclose(quality.bins.model, GAIN * quality.bins.signal + READ, rtol=1e-3)
    ratio = quality.bins.measured / quality.bins.model
    np.testing.assert_allclose(ratio, 1, atol=5 * np.sqrt(2 / quality.bins.count.min()))
    assert quality.bins.count.sum() == len(pairs)
    assert len(quality.bins.signal) == 20
    assert quality.gain == pytest.approx(GAIN, rel=0.03)
    assert quality.offset == pytest.approx(READ, abs=4)
    assert quality.signal_range == pytest.approx((10, 200), abs=0.1)
    entropy = 0.5 * np.log(2 * np.pi * np.e * (GAIN * held.signal + READ)).mean()
    assert quality.log_likelihood == pytest.approx(-entropy, abs=5 * math.sqrt(0.5 / n))
    variance = np.var(fitted.observed - fitted.signal)
    assert quality.gaussian == pytest.approx(
        -0.5 * math.log(2 * math.pi * math.e * variance), abs=5 * math.sqrt(1 / n)
    )
    assert quality.gaussian < quality.log_likelihood
    assert quality.log_likelihood < quality.gaussian + 0.2
    assert quality.source == "a made-up camera"


@pytest.mark.parametrize("step", [1.0, 5.0])
def test_levels_of_the_recording_are_no_misfit(step: float) -> None:
    """Observations are spread over their level: of 29 at the least, 25 / 12 is rounding."""
    quality = judged(camera(), made(step=step))
    assert quality.ks < 0.02
    # else a histogram whose cells hold now two, now three levels would have an advantage
    assert quality.histogram < quality.log_likelihood + 0.005


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_a_wrong_variance_is_reported(factor: float) -> None:
    pairs = made()
    quality, true = judged(camera(factor), pairs), judged(camera(), pairs)
    ratio = quality.bins.model / quality.bins.measured
    assert np.median(ratio) == pytest.approx(factor, rel=0.03)
    # bowl where the model is too narrow, hump where it is too wide
    assert (quality.pit[0] > 0.05) == (factor < 1)
    assert quality.ks > 2 * true.ks
    assert quality.log_likelihood < true.log_likelihood
    words = quality.verdict()[0]
    assert words.startswith("The model does not fit well: at signals near")
    assert ("% larger than that of" if factor > 1 else "% smaller than that of") in words


def test_a_bias_of_the_signal_is_seen_in_the_distribution() -> None:
    pairs = made()
    quality = judged(camera(), replace(pairs, observed=pairs.observed + 3))
    assert quality.ks > 0.05
    assert quality.pit[-1] > 0.06 > 0.04 > quality.pit[0]


def test_numbers_do_not_depend_on_the_scale() -> None:
    pairs = made(20_000)
    k = 1 / 1024
    small = replace(pairs, signal=pairs.signal * k, observed=pairs.observed * k)
    model = camera()
    weight = model.weight.numpy().copy()
    weight[1] += 2 * np.log(k)
    scaled = GaussianMixture(weight, 10 * k, 200 * k, 0.01 * k**2)
    one, other = judged(model, pairs), judged(scaled, small)
    assert other.gain == pytest.approx(one.gain * k, rel=1e-4)
    assert other.ks == pytest.approx(one.ks, abs=1e-5)
    for name in ("log_likelihood", "gaussian", "histogram"):
        # densities per raw unit
        assert getattr(other, name) == pytest.approx(getattr(one, name) - math.log(k), abs=1e-3)


def test_without_held_out_pairs_the_fitted_ones_are_judged() -> None:
    pairs = made(31)
    quality = judged(camera(), pairs)
    assert (quality.pairs, quality.held_out) == (31, 0)
    assert math.isfinite(quality.log_likelihood)
    assert quality.verdict()[0].startswith("There are too few pairs (31)")


# ---------------------------------------------------------------- words


def test_verdict_of_a_good_model() -> None:
    words = judged(camera(), made()).verdict()
    assert words[0].startswith(
        "The model fits well: its variance differs from that of the images by at"
    )
    assert "nat above that of a Gaussian of constant variance" in words[1]
    assert len(words) == 2


def test_exclusions_and_correlation_are_reported() -> None:
    facts: dict[str, Any] = dict(saturated=0.03, clipped=0.004, correlation=(0.31, 0.05))
    words = judged(camera(), made(**facts)).verdict()
    assert "3 % of the pixels are saturated and were excluded; use shorter exposures." in words
    assert "0.4 % of the pixels are clipped at the lower end and were excluded." in words
    assert words[-1].startswith("Neighbouring noise values correlate by 0.31 in x")
    assert all(sentence.endswith(".") for sentence in words)


def test_as_plain_values_and_back() -> None:
    quality = judged(camera(), made(5000, correlation=(0.1, 0.2)))
    text = json.dumps(quality.as_dict(), allow_nan=False)
    back = Quality.from_dict(json.loads(text))
    assert back.as_dict() == quality.as_dict()
    assert back.verdict() == quality.verdict()


# ---------------------------------------------------------------- fit and judge


QUICK = NoiseModelSettings(components=1, coefficients=3, steps=100)


def test_fit_pairs_fits_and_judges() -> None:
    model, quality = fit_pairs(made(), QUICK, seed=0, about={"gaussian_sigma": 3.0})
    assert model.about == {"source": "a made-up camera", "gaussian_sigma": 3.0}
    assert model.components == 1
    assert quality.verdict()[0].startswith("The model fits well")
    assert quality.pairs == pytest.approx(80_000, abs=100)
    same, _ = fit_pairs(made(), QUICK, seed=0)
    torch.testing.assert_close(same.weight, model.weight, rtol=0, atol=0)
    assert same.about == {"source": "a made-up camera"}


def test_shots_without_noise_are_refused() -> None:
    stack = np.repeat(np.arange(4096, dtype=np.uint16).reshape(1, 64, 64), 3, axis=0)
    with pytest.raises(InputError, match="all pixels have the same noise.*the right files"):
        fit_pairs(from_repeats(stacks=[stack]), QUICK, seed=0)


# clean images and noise by their scale: factor, offset, type
SCALES = {
    "0 to 1": (1 / 255, 0.0, np.float32),
    "8 bit": (1.0, 0.0, np.uint8),
    "16 bit with offset": (64.0, 32768.0, np.uint16),
}


@pytest.mark.parametrize("name", SCALES)
def test_simulated_noise_is_recovered_by_its_process(name: str) -> None:
    """Route B: mean and variance as functions of the signal, where 98 % of the signals are."""
    scale, offset, kind = SCALES[name]
    frames = simulate("mesh", frames=12, size=160, seed=1, peak=180.0, background=10.0)
    frames = (scale * frames + offset).astype(kind)
    # an offset of the camera has no shot noise; here it has, and the Gaussian part is less of it
    noise = SyntheticNoise(poisson_factor=2.0 * scale, gaussian_sigma=4.0 * scale)
    pairs = from_clean(frames=list(frames), noise=noise, seed=0)
    model, quality = fit_pairs(pairs, NoiseModelSettings(steps=400), seed=0)
    signal = np.linspace(*np.quantile(frames, [0.01, 0.99]), 50)
    expected = 2.0 * scale * signal + (4.0 * scale) ** 2
    at = torch.from_numpy(signal.astype(np.float32))
    np.testing.assert_allclose(model.variance(at).numpy(), expected, rtol=0.03)
    drawn = model.sample(at.expand(20_000, 50), torch.Generator().manual_seed(0)).double()
    error = drawn.mean(dim=0).numpy() - signal
    # of a mean of 20 000 draws; and 3 % of the signal's range
    assert np.abs(error).max() < 5 * np.sqrt(expected.max() / 20_000)
    assert np.abs(error).max() < 0.03 * np.ptp(signal)
    assert quality.ks < 0.02
    assert quality.verdict()[0].startswith("The model fits well")


def test_a_background_without_noise_is_not_judged() -> None:
    """Photon noise of an exactly dark background: there is no variance to be off from."""
    rng = np.random.default_rng(0)
    signal = np.concatenate((np.zeros(20_000), rng.uniform(20, 200, 80_000)))
    observed = 4.0 * rng.poisson(signal / 4)
    pairs = Pairs(signal, observed, np.arange(100_000) // 32, 4.0, "simulated")
    settings = NoiseModelSettings(components=1, coefficients=2, steps=200)
    _, quality = fit_pairs(pairs, settings, seed=0)
    assert quality.bins.measured[0] == 0
    assert all("inf" not in sentence and "nan" not in sentence for sentence in quality.verdict())
