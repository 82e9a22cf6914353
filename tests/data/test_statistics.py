"""Statistics of the training split by the recipe of the paper; the noise of an image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from denoisplit.data.statistics import content_quantum, noise_std, pooled_std, statistics
from denoisplit.data.synthetic_noise import Address, SyntheticNoise

Array = NDArray[np.float32]
Group = tuple[tuple[Array, ...], ...]
SEED = 3


def clean() -> Group:
    """Two structures of unlike means, spreads, numbers and sizes of frames."""
    rng = np.random.default_rng(0)
    return (
        tuple(rng.gamma(2.0, 50.0, (40, 60)).astype(np.float32) for _ in range(3)),
        (rng.gamma(4.0, 500.0, (80, 50)).astype(np.float32),),
    )


def observed(group: Group, noise: SyntheticNoise) -> Group:
    return tuple(
        tuple(noise.observe(f, Address(SEED, "training", k, j)) for j, f in enumerate(structure))
        for k, structure in enumerate(group)
    )


def flat(frames: tuple[Array, ...]) -> NDArray[np.float64]:
    return np.concatenate([f.astype(np.float64).ravel() for f in frames])


def test_recorded_images_have_plain_statistics() -> None:
    group = clean()
    result = statistics(group, group, SyntheticNoise(), SEED)
    each = [flat(s) for s in group]
    every = np.concatenate(each)
    # sums in float64: relative 1e-12
    assert result.means == pytest.approx([v.mean() for v in each], rel=1e-9)
    assert result.stds == pytest.approx([v.std() for v in each], rel=1e-9)
    # pooled over pixels, so that large structures count more: not the mean of means
    assert result.pooled_mean == pytest.approx(every.mean(), rel=1e-9)
    assert result.pooled_std == pytest.approx(every.std(), rel=1e-9)
    assert pooled_std(group) == pytest.approx(every.std(), rel=1e-9)


@pytest.mark.parametrize("clip", [None, 900.0])
def test_means_leave_the_gaussian_noise_out_and_stds_take_it_in(clip: float | None) -> None:
    group, noise = clean(), SyntheticNoise(20.0, 700.0, clip)
    noisy = observed(group, noise)
    result = statistics(group, noisy, noise, SEED)
    shot = tuple(
        tuple(noise.shot(f, Address(SEED, "training", k, j)) for j, f in enumerate(s))
        for k, s in enumerate(group)
    )
    before, after = [flat(s) for s in shot], [flat(s) for s in noisy]
    assert result.means == pytest.approx([v.mean() for v in before], rel=1e-9)
    assert result.stds == pytest.approx([v.std() for v in after], rel=1e-9)
    assert result.pooled_mean == pytest.approx(np.concatenate(before).mean(), rel=1e-9)
    assert result.pooled_std == pytest.approx(np.concatenate(after).std(), rel=1e-9)
    # and the Gaussian noise is in it
    assert result.stds[0] > 700


def test_a_large_offset_does_not_drown_the_spread() -> None:
    rng = np.random.default_rng(1)
    image = (60_000 + rng.normal(0, 1, (400, 400))).astype(np.float32)
    group = ((image,),)
    # float64 sums of squares of 4e9: an error of 4e9 * 1e-15 in a variance of 1
    assert pooled_std(group) == pytest.approx(image.astype(np.float64).std(), rel=1e-4)


def test_integers_do_not_wrap_around() -> None:
    group = ((np.full((50, 50), 60_000, dtype=np.uint16), np.zeros((50, 50), dtype=np.uint16)),)
    result = statistics(group, group, SyntheticNoise(), SEED)
    assert (result.pooled_mean, result.pooled_std) == (30_000, 30_000)


@pytest.mark.parametrize("sigma", [0.02, 5.0, 3400.0])
def test_noise_of_a_smooth_image(sigma: float) -> None:
    y, x = np.mgrid[:300, :300]
    smooth = 100 * sigma * (1 + np.sin(x / 40) * np.cos(y / 50))
    noisy = smooth + sigma * np.random.default_rng(0).standard_normal(smooth.shape)
    # a mean of |second differences|, each correlated with 24 others: std below
    # 0.76 * sqrt(25) / 300 = 1.3 %; the sine adds 100 * (1/40)^2 (1/50)^2 = 2.5e-5 sigma
    assert noise_std(noisy) == pytest.approx(sigma, rel=5 * 0.013)
    assert noise_std(smooth) < 1e-3 * sigma


def test_noise_of_planes_and_ramps_is_none() -> None:
    y, x = np.mgrid[:40, :30]
    for image in (np.full((40, 30), 7.0), 3.0 * x + 2.0 * y, np.float64(y) ** 2):
        assert noise_std(image) == 0


def test_noise_of_unsigned_integers() -> None:
    counts = np.random.default_rng(0).poisson(100, (300, 300)).astype(np.uint16)
    assert noise_std(counts) == pytest.approx(10, rel=5 * 0.013)


@pytest.mark.parametrize("noise", [1e-6, 0.02, 1.0, 3.0, 8.0, 3400.0])
def test_quantum_is_a_power_of_two_well_below_the_noise(noise: float) -> None:
    quantum = content_quantum(noise)
    mantissa, _ = math.frexp(quantum)
    assert mantissa == 0.5
    assert noise / 16 < quantum <= noise / 8


def test_quantum_of_an_image_without_noise() -> None:
    assert content_quantum(0.0) == 1.0
