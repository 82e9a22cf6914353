"""Crops that are sums of pixels: the law of their noise, and what keeps them within it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.data.patches import RandomCrops
from denoisplit.data.summed_crops import Sums
from denoisplit.noise_models import GaussianMixture
from denoisplit.training.loaders import allowed_sums

Array = NDArray[np.float32]

GAIN, ZERO = 2.5, 10.8  # variance = GAIN * (signal - ZERO)


def camera(
    gain: float = GAIN, zero: float = ZERO, low: float = 12, high: float = 300
) -> GaussianMixture:
    """One Gaussian whose variance is a straight line."""
    variance = np.log([gain * (low - zero), gain * (high - low)])
    return GaussianMixture(np.stack(([0, 0], variance, [0, 0])), low, high, 1e-3)


def in_the_law(found: Array, model: GaussianMixture, signal: float) -> bool:
    """Whether mean and variance are those that the model gives a signal."""
    expected = model.variance(torch.tensor([signal])).item()
    return found.mean() == pytest.approx(signal, rel=0.01) and found.var() == pytest.approx(
        expected, rel=0.02
    )


def observed(model: GaussianMixture, signal: float, seed: int = 0) -> Array:
    clean = torch.full((400, 400), signal)
    noisy: Array = model.sample(clean, torch.Generator().manual_seed(seed)).numpy()
    return noisy


def test_sums_of_pixels_obey_the_noise_model() -> None:
    model = camera()
    sums = allowed_sums([model], binned=0.5, stacked=0.0)
    assert sums is not None
    (found,) = sums.of_pixels([observed(model, 30)], [0]) or [np.empty(0)]
    assert found.shape == (200, 200)
    assert in_the_law(found, model, 4 * 30 - 3 * ZERO)
    assert not in_the_law(found, model, 4 * 30)


def test_sums_of_places_obey_the_noise_model() -> None:
    """Two, and three, of different brightness."""
    model = camera()
    sums = allowed_sums([model], binned=0.0, stacked=0.5)
    assert sums is not None
    two = sums.of_places(observed(model, 30), observed(model, 50, seed=1), 0)
    assert in_the_law(two, model, 30 + 50 - ZERO)
    three = sums.of_places(two, observed(model, 100, seed=2), 0)
    assert in_the_law(three, model, 30 + 50 + 100 - 2 * ZERO)


@pytest.mark.parametrize(("gain", "zero"), [(2.5, 10.8), (1.0, 0.0), (40.0, 11.0)])
def test_the_line_is_found(gain: float, zero: float) -> None:
    sums = allowed_sums([camera(gain, zero)], binned=0.3, stacked=0.2)
    assert sums is not None
    assert sums.zeros == pytest.approx([zero], abs=0.05)
    assert (sums.binned, sums.stacked) == (0.3, 0.2)


def test_without_a_line_there_is_none() -> None:
    """Read noise adds up with the pixels; and without noise models nothing is known."""
    flat = GaussianMixture(np.array([[0.0], [5.0], [0.0]]), 0, 100, 0.1)
    for models in ([camera(4, -900)], [camera(), camera(4, -900)], [flat], []):
        assert allowed_sums(models, binned=0.5, stacked=0.5) is None
    assert allowed_sums([camera()], binned=0.0, stacked=0.0) is None


def frames(count: int = 2, side: int = 64, brightest: float = 60) -> tuple[tuple[Array, ...], ...]:
    """Structures whose pixels lie between 20 and ``brightest``."""
    rng = np.random.default_rng(0)
    return tuple(
        (rng.uniform(20, brightest, (side, side)).astype(np.float32),) for _ in range(count)
    )


def crops(group: tuple[tuple[Array, ...], ...], sums: Sums | None, **more: Any) -> list[Array]:
    settings: dict[str, Any] = {"independent": False, "augment": False} | more
    found = RandomCrops(group, patch=16, seed=0, sums=sums, **settings)
    return [found[i].numpy() for i in range(300)]


ENOUGH = [1e4, 1e4]


def test_the_share_of_the_crops_is_binned() -> None:
    """Sums of pixels of 20 or more are brighter than any pixel of 60 or less."""
    sums = Sums(0.3, 0.0, [0.0, 0.0], ENOUGH)
    summed = [crop.min() > 60 for crop in crops(frames(), sums)]
    assert np.mean(summed) == pytest.approx(0.3, abs=0.08)


def test_binned_structures_stay_together() -> None:
    """The same place, the same pixels: the second structure is twice the first."""
    ((one,),) = frames(1)
    sums = Sums(0.5, 0.0, [0.0, 0.0], ENOUGH)
    for crop in crops(((one,), (2 * one,)), sums, candidates=3):
        np.testing.assert_allclose(crop[1], 2 * crop[0], rtol=1e-6)


@pytest.mark.parametrize("independent", [False, True])
def test_each_structure_is_stacked_by_itself_up_to_four_places(independent: bool) -> None:
    """Frames of one value tell how many places there are."""
    group = tuple((np.full((64, 64), value, dtype=np.float32),) for value in (20.0, 1000.0))
    sums = Sums(0.0, 0.5, [10.0, 0.0], ENOUGH)
    counts = np.array([
        ((c[0, 0, 0] - 10) / 10, c[1, 0, 0] / 1000)
        for c in crops(group, sums, independent=independent)
    ])  # fmt: skip
    for own in counts.T:
        shares = [np.mean(own == n) for n in (1, 2, 3, 4)]
        assert shares == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.08)
    assert abs(np.corrcoef(counts.T)[0, 1]) < 0.2


def test_places_on_top_are_windows_of_the_frames_too() -> None:
    """Powers of two tell which pixels of a row of the frame were added."""
    row = np.tile(2.0 ** np.arange(20), (16, 1)).astype(np.float32)
    seen = set()
    for crop in crops(((row,),), Sums(0.0, 0.9, [0.0], [1e9])):
        first = int(crop[0, 0, 0])
        np.testing.assert_array_equal(crop[0], np.tile(first * 2.0 ** np.arange(16), (16, 1)))
        seen.add(first)
    assert len(seen) > 15  # sums of up to four of 1, 2, 4, 8, 16


def test_what_is_too_bright_stays_as_it_is() -> None:
    """When binned, one structure beyond its noise model is enough; stacked each is for itself."""
    limits = [500.0, 60.0]
    assert max(c.max() for c in crops(frames(), Sums(0.9, 0.0, [0.0, 0.0], limits))) <= 60
    stacked = np.stack(crops(frames(), Sums(0.0, 0.9, [0.0, 0.0], limits)))
    assert stacked[:, 1].max() <= 60 < stacked[:, 0].max()


def test_frames_too_small_are_not_binned_but_stacked() -> None:
    group = frames(side=31)
    assert max(c.max() for c in crops(group, Sums(0.9, 0.0, [0.0, 0.0], ENOUGH))) <= 60
    assert max(c.max() for c in crops(group, Sums(0.9, 0.5, [0.0, 0.0], ENOUGH))) > 60


def test_crops_with_context_are_no_sums() -> None:
    sums = Sums(0.9, 0.9, [0.0, 0.0], ENOUGH)
    for plain, summed in zip(
        crops(frames(), None, planes=2), crops(frames(), sums, planes=2), strict=True
    ):
        np.testing.assert_array_equal(plain, summed)


def test_a_share_of_zero_draws_nothing() -> None:
    group = frames()
    nothing = Sums(0.0, 0.0, [0.0, 0.0], ENOUGH)
    for without, zero in zip(crops(group, None), crops(group, nothing), strict=True):
        np.testing.assert_array_equal(without, zero)


def test_sums_are_functions_of_seed_and_number() -> None:
    sums = Sums(0.5, 0.5, [0.0, 0.0], ENOUGH)
    for a, b in zip(crops(frames(), sums), crops(frames(), sums), strict=True):
        np.testing.assert_array_equal(a, b)
