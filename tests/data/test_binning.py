"""Crops that are sums of 2 x 2 pixels: the law of their noise, and what keeps them within it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.data.binning import Binning, binning_of
from denoisplit.data.patches import RandomCrops
from denoisplit.noise_models import GaussianMixture

Array = NDArray[np.float32]

GAIN, ZERO = 2.5, 10.8  # variance = GAIN * (signal - ZERO)


def camera(
    gain: float = GAIN, zero: float = ZERO, low: float = 12, high: float = 300
) -> GaussianMixture:
    """One Gaussian whose variance is a straight line."""
    variance = np.log([gain * (low - zero), gain * (high - low)])
    return GaussianMixture(np.stack(([0, 0], variance, [0, 0])), low, high, 1e-3)


def test_sums_obey_the_noise_model() -> None:
    """Mean and variance of sums of noisy pixels are those that the model gives their signal."""
    model = camera()
    binning = binning_of([model], 0.5)
    assert binning is not None
    clean = torch.full((400, 400), 30.0)
    observed = model.sample(clean, torch.Generator().manual_seed(0)).numpy()
    (found,) = binning.sums([observed], [0]) or [np.empty(0)]
    signal = 4 * 30 - 3 * ZERO
    assert found.shape == (200, 200)
    assert found.mean() == pytest.approx(signal, rel=0.01)
    expected = model.variance(torch.tensor([signal])).item()
    assert found.var() == pytest.approx(expected, rel=0.02)
    assert expected > 3 * model.variance(torch.tensor([30.0])).item()


@pytest.mark.parametrize(("gain", "zero"), [(2.5, 10.8), (1.0, 0.0), (40.0, 11.0)])
def test_the_line_is_found(gain: float, zero: float) -> None:
    binning = binning_of([camera(gain, zero)], 0.3)
    assert binning is not None
    assert binning.zeros == pytest.approx([zero], abs=0.05)
    assert binning.share == 0.3


def test_without_a_line_there_is_none() -> None:
    """Read noise adds up with the pixels; and without noise models nothing is known."""
    assert binning_of([camera(4, -900)], 0.5) is None
    assert binning_of([camera(), camera(4, -900)], 0.5) is None
    flat = GaussianMixture(np.array([[0.0], [5.0], [0.0]]), 0, 100, 0.1)
    assert binning_of([flat], 0.5) is None
    assert binning_of([], 0.5) is None
    assert binning_of([camera()], 0.0) is None


def frames(count: int = 2, side: int = 64, brightest: float = 60) -> tuple[tuple[Array, ...], ...]:
    """Structures whose pixels lie between 20 and ``brightest``."""
    rng = np.random.default_rng(0)
    return tuple(
        (rng.uniform(20, brightest, (side, side)).astype(np.float32),) for _ in range(count)
    )


def crops(
    group: tuple[tuple[Array, ...], ...], binning: Binning | None, **more: int
) -> list[Array]:
    found = RandomCrops(
        group, patch=16, seed=0, independent=False, augment=False, binning=binning, **more
    )
    return [found[i].numpy() for i in range(300)]


def test_the_share_of_the_crops_is_summed() -> None:
    """Sums of pixels of 20 or more are brighter than any pixel of 60 or less."""
    binning = Binning(0.3, [0.0, 0.0], [500.0, 500.0])
    summed = [crop.min() > 60 for crop in crops(frames(), binning)]
    assert np.mean(summed) == pytest.approx(0.3, abs=0.08)


def test_structures_stay_together() -> None:
    """The same place, the same pixels: the second structure is twice the first."""
    ((one,),) = frames(1)
    for crop in crops(((one,), (2 * one,)), Binning(0.5, [0.0, 0.0], [500.0, 500.0]), candidates=3):
        np.testing.assert_allclose(crop[1], 2 * crop[0], rtol=1e-6)


def test_what_is_too_bright_stays_as_it_is() -> None:
    """One structure beyond its noise model is enough."""
    binning = Binning(0.9, [0.0, 0.0], [500.0, 100.0])
    assert max(crop.max() for crop in crops(frames(), binning)) <= 60


def test_frames_too_small_are_not_summed() -> None:
    binning = Binning(0.9, [0.0, 0.0], [500.0, 500.0])
    assert max(crop.max() for crop in crops(frames(side=31), binning)) <= 60


def test_without_binning_crops_are_as_before() -> None:
    """A share of 0 draws nothing."""
    group = frames()
    for with_none, with_zero in zip(
        crops(group, None), crops(group, binning_of([camera(), camera()], 0.0)), strict=True
    ):
        np.testing.assert_array_equal(with_none, with_zero)
