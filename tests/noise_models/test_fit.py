"""The fit recovers a known noise law at every scale of intensities, and refuses what is no data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture, fit

Array = NDArray[np.float64]


def pairs(
    n: int, low: float, high: float, factor: float, sigma: float, offset: float = 0.0, seed: int = 0
) -> tuple[Array, Array]:
    """Signals over a range, evenly, and observations with Poisson and Gaussian noise."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(low, high, n)
    noisy = clean + sigma * rng.standard_normal(n)
    if factor > 0:
        noisy += factor * rng.poisson(clean / factor) - clean
    return clean + offset, noisy + offset


# low, high, factor, sigma, offset, scale of the result
CASES = {
    "8 bit": (2.0, 200.0, 1.0, 3.0, 0.0, 1.0),
    "16 bit with offset": (100.0, 60_000.0, 1000.0, 3400.0, 500.0, 1.0),
    "0 to 1": (2.0, 200.0, 1.0, 3.0, 0.0, 1 / 255),
}


# the published number of Gaussians once, fewer for the other scales
SIZES: dict[str, dict[str, int]] = {
    "8 bit": dict(components=6, steps=300),
    "16 bit with offset": dict(components=2, steps=300),
    "0 to 1": dict(components=2, steps=300),
}


@pytest.fixture(scope="module", params=CASES)
def fitted(request: pytest.FixtureRequest) -> tuple[GaussianMixture, str]:
    low, high, factor, sigma, offset, scale = CASES[request.param]
    # a cubic's variance at its ends is known to sqrt(2 * 16 / n): 0.6 % for a million pairs
    signal, observed = pairs(1_000_000, low, high, factor, sigma, offset)
    sizes = SIZES[request.param]
    return fit(signal=signal * scale, observed=observed * scale, **sizes), request.param


def test_fit_recovers_the_variance_of_poisson_and_gaussian_noise(
    fitted: tuple[GaussianMixture, str],
) -> None:
    m, case = fitted
    low, high, factor, sigma, offset, scale = CASES[case]
    clean = np.linspace(low, high, 25)
    variance = m.variance(torch.as_tensor((clean + offset) * scale)).numpy()
    # the acceptance check of the method: 5 % at every signal
    np.testing.assert_allclose(variance, (factor * clean + sigma**2) * scale**2, rtol=0.05)


def test_fitted_range_is_that_of_the_signal(fitted: tuple[GaussianMixture, str]) -> None:
    m, case = fitted
    low, high, _, _, offset, scale = CASES[case]
    span = (high - low) * scale
    # a million even draws: the extremes lie within 2e-5 of the ends but once in 5e8
    assert m.min_signal.item() == pytest.approx((low + offset) * scale, abs=2e-5 * span)
    assert m.max_signal.item() == pytest.approx((high + offset) * scale, abs=2e-5 * span)


def test_fit_is_as_likely_as_the_true_density(fitted: tuple[GaussianMixture, str]) -> None:
    """On pairs that the fit has not seen; the truth is Poisson and Gaussian, convolved."""
    m, case = fitted
    low, high, factor, sigma, offset, scale = CASES[case]
    signal, observed = pairs(4000, low, high, factor, sigma, offset, seed=1)
    log_p = m.log_prob(tensor(observed * scale), tensor(signal * scale)).double().numpy()
    clean, y = signal - offset, observed - offset
    top = (high + 10 * math.sqrt(high * factor)) / factor
    events = np.arange(int(top) + 10)
    factorial = torch.lgamma(torch.from_numpy(events + 1.0)).numpy()
    rate = (clean / factor)[:, None]
    log_poisson = events * np.log(rate) - rate - factorial
    log_normal = -0.5 * ((y[:, None] - factor * events) / sigma) ** 2 - math.log(
        sigma * math.sqrt(2 * math.pi)
    )
    truth = np.log(np.exp(log_poisson + log_normal).sum(axis=1)) - math.log(scale)
    gap = truth - log_p
    # an error of r in the std costs r^2 nat: 0.0025 for 5 %, beside the mean gap's sampling error
    assert gap.mean() < 0.0025 + 5 * gap.std() / math.sqrt(gap.size)


def tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


QUICK: dict[str, Any] = dict(components=2, coefficients=2, steps=80)


def test_fit_scales_with_the_intensities() -> None:
    """Scaled data gives the scaled model, weight by weight; only rounding differs."""
    signal, observed = pairs(5000, 10, 200, 1, 3)
    one = fit(signal=signal, observed=observed, **QUICK)
    k = 2.0**10  # exact in floating point: the same steps are taken
    other = fit(signal=signal * k, observed=observed * k, **QUICK)
    s = torch.linspace(10, 200, 9)
    torch.testing.assert_close(other.variance(s * k), one.variance(s) * k**2, rtol=1e-3, atol=0)
    assert other.min_variance.item() == pytest.approx(one.min_variance.item() * k**2, rel=1e-6)


def test_same_seed_same_fit() -> None:
    signal, observed = pairs(2000, 10, 200, 1, 3)
    one, same = (fit(signal=signal, observed=observed, seed=3, **QUICK) for _ in range(2))
    torch.testing.assert_close(one.weight, same.weight, rtol=0, atol=0)
    other = fit(signal=signal, observed=observed, seed=4, **QUICK)
    assert not torch.equal(one.weight, other.weight)


def test_fit_does_not_touch_the_global_generators() -> None:
    signal, observed = pairs(2000, 10, 200, 1, 3)
    np_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    fit(signal=signal, observed=observed, **QUICK)
    assert (np.random.get_state()[1] == np_state).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_floor_is_of_the_levels_of_a_recording() -> None:
    """0.125 steps squared, in whatever type and scale the levels are stored; else of the noise."""
    signal, observed = pairs(5000, 10, 200, 1, 3)
    counts = np.clip(np.rint(observed), 0, 255).astype(np.uint8)
    for values in (counts, counts.astype(np.float32)):
        assert (
            fit(signal=signal, observed=values, components=1, steps=2).min_variance.item() == 0.125
        )
    scaled = fit(
        signal=signal / 255, observed=counts.astype(np.float32) / 255, components=1, steps=2
    )
    assert scaled.min_variance.item() == pytest.approx(0.125 / 255**2, rel=1e-4)
    continuous = fit(signal=signal / 255, observed=observed / 255, components=1, steps=2)
    expected = 1e-4 * np.var((observed - signal) / 255)
    assert continuous.min_variance.item() == pytest.approx(expected, rel=1e-5)
    given = fit(signal=signal, observed=counts, step=2.0, components=1, steps=2)
    assert given.min_variance.item() == 0.5


def test_unsigned_integers_do_not_wrap_around() -> None:
    """Observations below their signal are negative residuals, not 65 535."""
    rng = np.random.default_rng(0)
    signal = rng.integers(100, 200, 5000, dtype=np.uint16)
    observed = np.rint(signal + 5 * rng.standard_normal(5000)).astype(np.uint16)
    m = fit(signal=signal, observed=observed, **QUICK)
    # 5 % of the variance is twice the sampling error of 5000 pairs; rounding adds 1/12
    assert m.variance(torch.tensor(150.0)).item() == pytest.approx(25 + 1 / 12, rel=0.1)


def test_swapped_arguments_cannot_happen_by_position() -> None:
    with pytest.raises(TypeError):
        fit(np.zeros(3), np.zeros(3))  # type: ignore[misc]


def test_swapped_arguments_are_refused_by_keyword() -> None:
    signal, observed = pairs(20_000, 10, 200, 1, 3)
    with pytest.raises(
        InputError, match="signal and observation appear to be swapped.*exchange them"
    ):
        fit(signal=observed, observed=signal, **QUICK)
    fit(signal=signal, observed=observed, **QUICK)


# ---------------------------------------------------------------- how many Gaussians


def test_gaussian_noise_gets_one_gaussian() -> None:
    rng = np.random.default_rng(0)
    signal = rng.uniform(0, 100, 20_000)
    observed = signal + 5 * rng.standard_normal(signal.size)
    assert fit(signal=signal, observed=observed, steps=100).components == 1


def test_noise_of_another_shape_gets_more() -> None:
    """Exponential noise is 0.42 nat less random than Gaussian noise of its variance."""
    rng = np.random.default_rng(0)
    signal = rng.uniform(0, 100, 20_000)
    observed = signal + 5 * (rng.exponential(1, signal.size) - 1)
    m = fit(signal=signal, observed=observed, steps=100)
    assert m.components > 1
    gaussian = -0.5 * math.log(2 * math.pi * math.e * 25)
    assert m.log_prob(tensor(observed), tensor(signal)).mean().item() > gaussian + 0.2


# ---------------------------------------------------------------- how it goes


def test_variance_is_right_where_few_of_the_signals_are() -> None:
    """19 of 20 signals are dark: the likelihood alone is indifferent to the other one."""
    rng = np.random.default_rng(0)
    n = 400_000
    clean = np.where(rng.random(n) < 0.95, 5 + rng.exponential(1, n), rng.uniform(5, 150, n))
    observed = 4.0 * rng.poisson(clean / 4)
    m = fit(signal=clean, observed=observed, components=3, steps=300)
    s = np.linspace(10, 140, 14)
    # 20 000 bright pairs: a cubic's variance at its ends is known to sqrt(2 * 16 / n) = 4 %
    np.testing.assert_allclose(m.variance(torch.as_tensor(s)).numpy(), 4 * s, rtol=0.1)
    assert np.abs(m.variance(torch.as_tensor(s)).numpy() / (4 * s) - 1).mean() < 0.03


@pytest.mark.parametrize("components", [None, 2])
def test_progress_ends_at_its_end(components: int | None) -> None:
    signal, observed = pairs(2000, 10, 200, 1, 3)
    reports: list[tuple[int, int]] = []
    fit(
        signal=signal, observed=observed, components=components, coefficients=2, steps=30,
        on_step=lambda done, total: reports.append((done, total)),
    )  # fmt: skip
    assert len({total for _, total in reports}) == 1
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert reports[-1][0] == reports[-1][1]
    assert len(reports) > 10


def test_fit_keeps_what_it_is_told_and_the_shape_asked_for() -> None:
    signal, observed = pairs(1000, 10, 200, 1, 3)
    m = fit(
        signal=signal.reshape(10, 100),
        observed=observed.reshape(10, 100),
        components=3,
        coefficients=2,
        steps=5,
        about={"source": "clean"},
    )
    assert m.weight.shape == (9, 2)
    assert m.about == {"source": "clean"}


@pytest.mark.parametrize("n", [2, 3, 10])
def test_few_pairs_give_a_model_without_nan(n: int) -> None:
    signal, observed = pairs(n, 10, 200, 1, 3)
    m = fit(signal=signal, observed=observed, **QUICK)
    assert torch.isfinite(m.log_prob(tensor(observed), tensor(signal))).all()


@pytest.mark.parametrize(
    ("signal", "observed", "message"),
    [
        (np.arange(4.0), np.arange(3.0), "4 values.* 3"),
        (np.zeros(0), np.zeros(0), "constant"),
        (np.full(9, 3.0), np.arange(9.0), "signal is constant"),
        (np.arange(9.0), np.arange(9.0), "no noise"),
        (np.arange(9.0), np.arange(9.0) + 5, "no noise"),
        (np.array([0, np.nan, 2.0]), np.arange(3.0), "finite"),
        (np.arange(3.0), np.array([0, np.inf, 2.0]), "finite"),
    ],
)
def test_what_is_no_data_is_refused(signal: Array, observed: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(signal=signal, observed=observed, steps=2)
