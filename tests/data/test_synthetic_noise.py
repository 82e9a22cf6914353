"""Synthetic noise obeys its law and is a function of its address alone."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SPLITS, Address, SyntheticNoise
from denoisplit.errors import InputError

HERE = Address(seed=0, split="training", structure=0, frame=0)
SIGMAS = 5.0  # exceeded by chance once in 2e6


def flat(value: float, side: int = 500) -> NDArray[np.float32]:
    return np.full((side, side), value, dtype=np.float32)


def moments(image: NDArray[np.generic]) -> tuple[float, float, float]:
    """Mean, variance and the standard error of the variance, float64."""
    x = image.astype(np.float64)
    centred = x - x.mean()
    variance = float((centred**2).mean())
    error = math.sqrt(((centred**4).mean() - variance**2) / x.size)
    return float(x.mean()), variance, error


# ---------------------------------------------------------------- the law


@pytest.mark.parametrize("clean", [0.0, 50.0, 4000.0, 60_000.0])
@pytest.mark.parametrize(
    ("factor", "sigma"), [(1.0, 3.0), (1000.0, 3400.0), (1000.0, 0.0), (0.0, 17_800.0), (0.5, 0.0)]
)
def test_variance_is_f_times_signal_plus_sigma_squared(
    clean: float, factor: float, sigma: float
) -> None:
    noisy = SyntheticNoise(factor, sigma).observe(flat(clean), HERE)
    assert noisy.dtype == np.float32
    mean, variance, error = moments(noisy)
    expected = factor * clean + sigma**2
    # float32 sums: values of up to 1e5 rounded to 4e-3, evenly about 0
    assert mean == pytest.approx(clean, abs=SIGMAS * math.sqrt(expected) / 500 + 1e-3)
    assert variance == pytest.approx(expected, abs=SIGMAS * error + 1e-4)


def test_variance_follows_the_signal_pixel_by_pixel() -> None:
    clean = np.repeat(np.array([[10.0], [100.0], [1000.0]], dtype=np.float32), 100_000, axis=1)
    noisy = SyntheticNoise(2.0, 5.0).observe(clean, HERE)
    for row, c in zip(noisy, (10.0, 100.0, 1000.0), strict=True):
        _, variance, error = moments(row)
        assert variance == pytest.approx(2 * c + 25, abs=SIGMAS * error)


def test_poisson_counts_are_multiplied_by_the_factor_again() -> None:
    noisy = SyntheticNoise(7.0).observe(flat(35.0), HERE)
    events = noisy / 7
    np.testing.assert_array_equal(events, np.rint(events))
    assert events.mean() == pytest.approx(5, abs=SIGMAS * math.sqrt(5) / 500)


def test_gaussian_noise_is_white_and_normal() -> None:
    field = SyntheticNoise(0, 2.0).observe(flat(0.0), HERE).astype(np.float64) / 2
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = math.sqrt(variance / field.size)
        assert (field**power).mean() == pytest.approx(expected, abs=SIGMAS * error)
    for a, b in ((field[1:], field[:-1]), (field[:, 1:], field[:, :-1])):
        assert abs((a * b).mean()) < SIGMAS / math.sqrt(a.size)


def test_without_noise_the_image_is_itself() -> None:
    clean = np.arange(12, dtype=np.uint16).reshape(3, 4)
    nothing = SyntheticNoise()
    assert not nothing
    np.testing.assert_array_equal(nothing.observe(clean, HERE), clean)
    for something in (SyntheticNoise(1.0), SyntheticNoise(0, 1.0)):
        assert something


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64])
def test_images_of_any_type_stay_as_they_are(dtype: Any) -> None:
    clean = np.full((40, 40), 200, dtype=dtype)
    noisy = SyntheticNoise(1.0, 100.0).observe(clean, HERE)
    assert (clean == 200).all()
    assert noisy.min() < 0  # unsigned values did not wrap around
    reference = SyntheticNoise(1.0, 100.0).observe(flat(200.0, 40), HERE)
    np.testing.assert_array_equal(noisy, reference)


# ---------------------------------------------------------------- clip


def test_clip_comes_after_poisson_and_before_gaussian() -> None:
    noise = SyntheticNoise(10.0, 4.0, clip=200.0)
    shot = noise.shot(flat(200.0), HERE)
    assert shot.max() == 200
    assert shot.min() < 150
    noisy = noise.observe(flat(200.0), HERE)
    assert noisy.max() > 205
    field = noisy - shot
    assert moments(field)[1] == pytest.approx(16, abs=SIGMAS * moments(field)[2] + 1e-3)


def test_clip_alone_cuts_the_image() -> None:
    clean = np.array([[1.0, 5.0, 9.0]], dtype=np.float32)
    cut = SyntheticNoise(clip=5.0).observe(clean, HERE)
    assert cut.tolist() == [[1, 5, 5]]


def test_observed_minus_shot_is_the_gaussian_field() -> None:
    """Statistics take the mean of one and the std of the other: of one and the same draw."""
    noise = SyntheticNoise(100.0, 3.0)
    clean = flat(5000.0, 100)
    field = noise.observe(clean, HERE) - noise.shot(clean, HERE)
    alone = SyntheticNoise(0, 3.0).observe(flat(0.0, 100), HERE)
    np.testing.assert_allclose(field, alone, rtol=0, atol=1e-3)  # rounding of values up to 8000


# ---------------------------------------------------------------- addresses


def test_same_address_same_noise() -> None:
    noise = SyntheticNoise(10.0, 5.0)
    one, same = (noise.observe(flat(100.0, 64), dataclasses.replace(HERE)) for _ in range(2))
    np.testing.assert_array_equal(one, same)


def test_global_generators_are_neither_used_nor_touched() -> None:
    noise = SyntheticNoise(10.0, 5.0)
    np.random.seed(1)  # noqa: NPY002
    one = noise.observe(flat(100.0, 16), HERE)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(noise.observe(flat(100.0, 16), HERE), one)
    np.random.seed(1)  # noqa: NPY002
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("noise", [SyntheticNoise(10.0), SyntheticNoise(0, 5.0)])
def test_structures_frames_splits_and_seeds_are_independent(noise: SyntheticNoise) -> None:
    addresses = [
        Address(seed, split, structure, frame)
        for seed, split, structure, frame in itertools.product(
            (0, 1), SPLITS[:3], range(2), range(3)
        )
    ]
    fields = np.stack([noise.observe(flat(100.0, 100), a).ravel() for a in addresses]) - 100
    z = np.corrcoef(fields.astype(np.float64)) * math.sqrt(fields.shape[1])
    off_diagonal = z[np.triu_indices(len(z), 1)]
    # each is standard normal; 630 of them
    assert np.abs(off_diagonal).max() < 6
    assert (off_diagonal**2).mean() == pytest.approx(1, abs=SIGMAS * math.sqrt(2 / z.size * 2))


def test_poisson_and_gaussian_draws_are_independent() -> None:
    clean = flat(100.0, 300)
    shot = SyntheticNoise(10.0).observe(clean, HERE).astype(np.float64) - 100
    gaussian = SyntheticNoise(0, 5.0).observe(clean, HERE).astype(np.float64) - 100
    assert abs(np.corrcoef(shot.ravel(), gaussian.ravel())[0, 1]) < SIGMAS / 300
    # not by luck of unequal consumption: they come from two streams
    assert not np.intersect1d(HERE.generator(0).random(1000), HERE.generator(1).random(1000)).size


def test_negative_values_have_no_poisson_noise() -> None:
    clean = np.array([[3.0, -2.5]], dtype=np.float32)
    with pytest.raises(InputError) as caught:
        SyntheticNoise(1.0).observe(clean, Address(0, "training", 1, 4))
    assert "structure 2, frame 4" in str(caught.value)
    assert "-2.5" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SyntheticNoise(0, 1.0).observe(clean, HERE).shape == (1, 2)  # Gaussian alone may be


# ---------------------------------------------------------------- the input


@pytest.mark.parametrize("structures", [1, 2, 3, 4])
def test_dependent_noise_of_the_input(structures: int) -> None:
    """The input is the mean of the noisy targets, so its noise has std sigma / sqrt(C)."""
    sigma = 40.0
    noise = SyntheticNoise(0, sigma)
    targets = [
        noise.observe(flat(100.0 * (k + 1)), Address(0, "training", k, 0))
        for k in range(structures)
    ]
    mixed = Superposition("mean", (0.0,) * structures)(targets)
    exact = np.mean([t.astype(np.float64) for t in targets], axis=0)
    if structures in (1, 2, 4):
        # division by a power of two: one rounding of each sum at most
        np.testing.assert_allclose(mixed, exact, rtol=2.0**-23 * (structures - 1), atol=0)
    np.testing.assert_allclose(mixed, exact, rtol=0, atol=1e-3)
    _, variance, error = moments(mixed)
    assert variance == pytest.approx(sigma**2 / structures, abs=SIGMAS * error)


def test_dependent_noise_of_an_input_with_poisson_noise() -> None:
    noise = SyntheticNoise(10.0, 20.0)
    targets = [
        noise.observe(flat(c), Address(0, "test", k, 0)) for k, c in enumerate((50.0, 300.0))
    ]
    _, variance, error = moments(Superposition("mean", (0.0, 0.0))(targets))
    assert variance == pytest.approx((10 * 350 + 2 * 400) / 4, abs=SIGMAS * error)
