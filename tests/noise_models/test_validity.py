"""Data and models that violate the assumptions of the method are refused, or cause a warning."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.validity import (
    check_direction,
    check_range,
    correlation_warning,
    dark_warning,
    residual_correlation,
)

Array = NDArray[np.float64]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


# ---------------------------------------------------------------- correlated noise


def test_white_noise_is_not_correlated() -> None:
    x, y = residual_correlation([noise(200, 300), 5 * noise(100, 100, seed=1)])
    # 5 standard errors of 70 000 pairs
    assert max(abs(x), abs(y)) < 5 / np.sqrt(7e4)
    assert correlation_warning((x, y)) is None


def test_blurred_noise_is_recognised_by_its_correlation() -> None:
    """A Gaussian blur of std b correlates neighbours by exp(-1 / (4 b^2))."""
    blurred = gaussian_filter(noise(400, 400), 0.7)
    x, y = residual_correlation([blurred])
    assert x == pytest.approx(np.exp(-1 / (4 * 0.7**2)), abs=0.03)
    assert y == pytest.approx(x, abs=0.03)
    sentence = correlation_warning((x, y))
    assert sentence is not None
    assert sentence.startswith(
        f"neighbouring noise values correlate by {x:.2f} in x and {y:.2f} in y, but the method "
        "assumes pixel-wise noise (below 0.2)"
    )


def test_directions_are_distinguished() -> None:
    along_x = gaussian_filter(noise(300, 300), (0, 1))
    x, y = residual_correlation([along_x])
    assert x > 0.7
    assert abs(y) < 0.05
    assert correlation_warning((x, y)) is not None
    assert correlation_warning((y, x)) is not None


def test_a_mean_is_no_correlation_and_unknown_pixels_do_not_count() -> None:
    image = noise(300, 300) + 1000
    image[:, 100:200] = np.nan
    assert max(map(abs, residual_correlation([image]))) < 0.03
    assert residual_correlation([np.zeros((5, 5))]) == (0.0, 0.0)


# ---------------------------------------------------------------- direction


def exposures(n: int = 50_000) -> tuple[Array, Array]:
    """A clean signal of a few bright spots, and a noisy one."""
    rng = np.random.default_rng(0)
    clean = 10 + rng.exponential(20, n)
    return clean, clean + rng.normal(0, 4, n)


def test_the_noisier_one_is_the_observation() -> None:
    signal, observed = exposures()
    check_direction(signal=signal, observed=observed)
    with pytest.raises(InputError) as caught:
        check_direction(signal=observed, observed=signal, where="low.tif")
    assert str(caught.value) == (
        "low.tif: signal and observation appear to be swapped, because the signal is the noisier "
        "one; exchange them"
    )


def test_a_signal_with_noise_of_its_own_passes() -> None:
    """As long as it has less: a long exposure has some too."""
    rng = np.random.default_rng(1)
    clean, observed = exposures()
    signal = clean + rng.normal(0, 1.5, clean.size)
    check_direction(signal=signal, observed=observed)
    with pytest.raises(InputError, match="swapped"):
        check_direction(signal=observed, observed=signal)


@pytest.mark.parametrize("limit", [20, 40, 100])
def test_saturated_observations_are_not_taken_for_swapped(limit: float) -> None:
    """Although they vary less than their signals."""
    signal, observed = exposures()
    observed = np.minimum(observed, limit)
    if limit < 100:
        assert observed.var() < signal.var()
    check_direction(signal=signal, observed=observed)


def test_undecided_directions_pass() -> None:
    signal, observed = exposures(200)
    check_direction(signal=observed, observed=signal)  # too few
    check_direction(signal=np.ones(5000), observed=exposures(5000)[0])
    flat = np.linspace(0, 1e6, 5000)
    check_direction(signal=flat, observed=flat)


# ---------------------------------------------------------------- range


def model(low: float = 100, high: float = 1100, variance: float = 25.0) -> GaussianMixture:
    return GaussianMixture([[0.0], [np.log(variance)], [0.0]], low, high, 0.01)


@pytest.mark.parametrize(
    ("low", "high"),
    [(100, 1100), (75, 1125), (100, 400), (800, 1100), (20, 1200), (100, 130)],
)
def test_data_of_the_range_of_the_model_pass(low: float, high: float) -> None:
    """Six standard deviations (30) of noise and a tenth of the range (100) may be beyond it."""
    check_range(model(), low, high, "er.npz")


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (100, 2000),  # brighter
        (-200, 1000),  # an offset was taken off
        (0.0, 1.0),  # scaled to [0, 1]
        (0.1, 4.0),  # scaled down
        (25_000, 280_000),  # scaled up
        (1500, 1900),
        (500, 505),  # less than the noise alone would spread
    ],
)
def test_data_of_another_range_are_refused_with_both_ranges(low: float, high: float) -> None:
    with pytest.raises(InputError) as caught:
        check_range(model(), low, high, "er.npz")
    text = str(caught.value)
    assert text.startswith("er.npz: the noise model covers signals from 100 to 1100")
    assert f", but the data range from {low:.4g} to {high:.4g}; use the noise model" in text


def test_images_scaled_to_one_do_not_pass_for_dark_ones() -> None:
    """Of a model whose range begins at zero, with hardly any noise there."""
    weight = [[0.0, 0.0], [np.log(0.01), np.log(500.0)], [0.0, 0.0]]
    with pytest.raises(InputError, match="from 0 to 200.*from 0 to 1;"):
        check_range(GaussianMixture(weight, 0, 200, 0.01), 0.0, 1.0, "er.npz")


@pytest.mark.parametrize(
    ("signal", "share", "warned"),
    [
        (100, 1.0, False),  # all of the darkest signal that is known
        (95, 0.1, False),  # a few, hardly darker
        (95, 1.0, True),
        (80, 0.5, True),
        (80, 0.01, False),
    ],
)
def test_many_pixels_below_the_range_cause_a_warning(
    signal: float, share: float, warned: bool
) -> None:
    """The model begins at 100, with noise of std 5."""
    rng = np.random.default_rng(0)
    dark = rng.random(50_000) < share
    values = np.where(dark, signal, 500) + 5 * rng.standard_normal(dark.size)
    warning = dark_warning(model(), values)
    assert (warning is not None) == warned
    if warning:
        darker = f"{100 * np.mean(values < 90):.2g} % of the pixels are darker than the noise model"
        assert warning.startswith(f"{darker} covers (100 to 1100, with noise of std 5 at its dark")
        assert warning.count("\n") == 0 and warning.endswith("with the same camera offset")
