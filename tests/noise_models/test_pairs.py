"""Pairs by each route: right signals, right noise, no pixel that the recording cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.noise_models import pairs as module
from denoisplit.noise_models.pairs import (
    Pairs,
    from_clean,
    from_denoised,
    from_exposures,
    from_repeats,
)
from denoisplit.noise_models.validity import residual_correlation

Array = NDArray[np.float64]


def spots(peak: float = 150.0, background: float = 20.0, seed: int = 0) -> Array:
    """A clean image of soft spots."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((96, 128)), 4)
    return background + peak * np.maximum(field / field.max(), 0)


def shots(clean: Array, count: int, *, seed: int = 0, gain: float = 2.0) -> NDArray[np.uint8]:
    """Shots (T, Y, X) of an 8-bit camera."""
    rng = np.random.default_rng(seed)
    counts = gain * rng.poisson(np.broadcast_to(clean / gain, (count, *clean.shape)))
    return np.clip(np.rint(counts + rng.normal(0, 2, counts.shape)), 0, 255).astype(np.uint8)


def test_dark_photon_counts_of_exposures_are_not_clipped() -> None:
    """Zeros are frequent where light is rare, but no cut-off values."""
    rng = np.random.default_rng(3)
    clean = spots(peak=40, background=0.5)
    pairs = from_exposures(
        signal=[rng.poisson(20 * clean).astype(np.uint16)],
        observed=[rng.poisson(clean).astype(np.uint16)],
    )
    assert (pairs.saturated, pairs.clipped) == (0, 0)
    assert pairs.line == pytest.approx((0.05, 0), abs=0.03)


# ---------------------------------------------------------------- repeated shots


@pytest.mark.parametrize("count", [2, 5, 20])
def test_repeats_have_the_unbiased_temporal_variance(count: int) -> None:
    """Pixel by pixel, and their mean over the shots is the signal."""
    stack = shots(spots(), count)
    pairs = from_repeats(stacks=[stack])
    assert len(pairs) == stack.size
    signal, observed = (v.reshape(-1, count) for v in (pairs.signal, pairs.observed))
    np.testing.assert_array_equal(signal, np.repeat(signal[:, :1], count, axis=1))
    np.testing.assert_allclose(signal[:, 0], observed.mean(axis=1))
    temporal = stack.reshape(count, -1).astype(float).var(axis=0, ddof=1)
    np.testing.assert_allclose(observed.var(axis=1), temporal, atol=1e-9)
    assert pairs.step == 1
    assert (pairs.saturated, pairs.clipped) == (0, 0)
    assert "repeated shots" in pairs.source


def test_repeats_of_several_fields_stay_apart() -> None:
    stacks = [shots(spots(seed=k), 2, seed=k) for k in range(2)]
    pairs = from_repeats(stacks=stacks)
    assert len(pairs) == stacks[0].size + stacks[1].size
    of_first = set(pairs.block[: stacks[0].size])
    assert of_first.isdisjoint(pairs.block[stacks[0].size :])


def test_saturated_signals_are_left_out_and_reported() -> None:
    stack = shots(spots(peak=400), 20)
    pairs = from_repeats(stacks=[stack])
    assert pairs.signal.max() < 240  # 255 less 3 std of 22, but for chance
    assert pairs.saturated == pytest.approx(1 - len(pairs) / stack.size)
    assert 0.01 < pairs.saturated < 0.2
    assert pairs.clipped == 0


def test_one_shot_or_a_single_image_is_refused() -> None:
    for stack in (shots(spots(), 1), shots(spots(), 1)[0]):
        with pytest.raises(InputError, match="stack 1: found shape .* two or more shots"):
            from_repeats(stacks=[stack])


def test_nothing_but_saturated_pixels_is_refused() -> None:
    stack = np.full((3, 40, 40), 255, dtype=np.uint8)
    with pytest.raises(InputError, match="saturated, clipped or of equal signal; use shorter"):
        from_repeats(stacks=[stack])


# ---------------------------------------------------------------- clean images


def test_clean_images_get_the_noise_that_is_asked_for() -> None:
    frames = [spots(seed=k).astype(np.float32) for k in range(3)]
    noise = SyntheticNoise(poisson_factor=2.0, gaussian_sigma=3.0)
    pairs = from_clean(frames=frames, noise=noise, seed=1)
    np.testing.assert_array_equal(pairs.signal, np.concatenate(frames, axis=None))
    z = (pairs.observed - pairs.signal) / np.sqrt(2 * pairs.signal + 9)
    assert z.mean() == pytest.approx(0, abs=5 / np.sqrt(z.size))
    assert z.var() == pytest.approx(1, abs=6 * np.sqrt(2 / z.size))
    np.testing.assert_array_equal(
        pairs.observed, from_clean(frames=frames, noise=noise, seed=1).observed
    )
    assert pairs.step == 0


def test_nothing_of_a_known_process_counts_as_cut_off() -> None:
    """Neither its own upper clip, nor saturated pixels of the clean images, nor empty ones."""
    frames = [np.clip(spots(peak=400, background=-50), 0, 255).astype(np.uint8)]
    noise = SyntheticNoise(poisson_factor=1.0, clip=200.0)
    pairs = from_clean(frames=frames, noise=noise)
    assert len(pairs) == frames[0].size
    assert (pairs.saturated, pairs.clipped) == (0, 0)


def test_clean_images_without_noise_are_refused() -> None:
    with pytest.raises(
        InputError, match="clean: there is no noise to add; set `synthetic_poisson`"
    ):
        from_clean(frames=[spots()], noise=SyntheticNoise())


# ---------------------------------------------------------------- pairs of exposures


def exposures(gain: float = 0.4, offset: float = 12.0) -> tuple[Array, Array]:
    """A long exposure with some noise, and a short one with more."""
    rng = np.random.default_rng(1)
    clean = spots()
    long = clean + rng.normal(0, 6, clean.shape)
    return long, gain * clean + offset + rng.normal(0, 5, clean.shape)


def test_the_line_between_exposures_is_not_flattened_by_noise() -> None:
    long, short = exposures()
    pairs = from_exposures(signal=[long], observed=[short])
    assert pairs.line is not None
    ordinary = np.polyfit(long.ravel(), short.ravel(), 1)[0]
    assert ordinary < 0.396
    # noise of 5 over a signal of std 0.4 x 30 in 12 000 pixels: 0.4 %, and that of the instrument
    assert pairs.line[0] == pytest.approx(0.4, rel=0.012)
    assert pairs.line[1] == pytest.approx(12, abs=0.4)
    np.testing.assert_allclose(pairs.signal, pairs.line[0] * long.ravel() + pairs.line[1])
    # what the long exposure has of noise counts with the gain
    variance = (pairs.observed - pairs.signal).var()
    assert variance == pytest.approx(25 + 0.16 * 36, rel=5 * np.sqrt(2 / long.size))


def test_swapped_exposures_are_refused() -> None:
    long, short = exposures()
    with pytest.raises(InputError, match="signal and observation appear to be swapped"):
        from_exposures(signal=[short], observed=[long])


def test_pixels_at_the_end_of_either_exposure_are_left_out() -> None:
    long, short = exposures()
    long = np.clip(np.rint(2 * long), 0, 255).astype(np.uint8)
    short = np.clip(np.rint(short), 0, 255).astype(np.uint8)
    pairs = from_exposures(signal=[long], observed=[short])
    assert pairs.line is not None
    gain, offset = pairs.line
    assert gain == pytest.approx(0.2, rel=0.02)
    assert pairs.signal.max() < gain * 255 + offset
    assert pairs.saturated == pytest.approx((long == 255).mean())


def test_exposures_of_other_fields_are_refused() -> None:
    long, short = exposures()
    with pytest.raises(InputError, match="does not rise with the signal"):
        from_exposures(signal=[long], observed=[-short])
    with pytest.raises(InputError, match="pixels are neither.*a range of intensities"):
        from_exposures(signal=[np.full((50, 50), 7.0)], observed=[spots()[:50, :50]])


@pytest.mark.parametrize("route", [from_exposures, from_denoised])
def test_frames_that_do_not_match_are_refused(route: Callable[..., Pairs]) -> None:
    long, short = exposures()
    names = ("signal", "observed") if route is from_exposures else ("denoised", "noisy")
    for s, y, message in (
        ([long, long], [short], "found 1 frames, expected 2"),
        ([long], [short[:-1]], r"frame 1: found shape \(95, 128\)"),
        ([], [], "images: there are none"),
    ):
        with pytest.raises(InputError, match=message):
            route(**dict(zip(names, (s, y), strict=True)))


# ---------------------------------------------------------------- noisy images


def test_noisy_images_and_their_denoised_form() -> None:
    clean = spots()
    stack = shots(clean, 2)
    pairs = from_denoised(denoised=[clean, clean], noisy=list(stack))
    assert len(pairs) == stack.size
    np.testing.assert_array_equal(pairs.observed, stack.ravel())
    assert pairs.step == 1
    assert max(map(abs, pairs.correlation)) < 0.03


def test_correlated_noise_is_measured() -> None:
    rng = np.random.default_rng(0)
    clean = spots()
    noisy = clean + 20 * gaussian_filter(rng.standard_normal(clean.shape), 0.7)
    pairs = from_denoised(denoised=[clean], noisy=[noisy])
    assert min(pairs.correlation) > 0.5


# ---------------------------------------------------------------- what is held out


def some(count: int = 20) -> Pairs:
    return from_repeats(stacks=[shots(spots(), count)])


def test_parts_have_no_block_in_common_and_all_pairs() -> None:
    pairs = some()
    fitted, held = pairs.split(0.2, seed=3)
    assert len(fitted) + len(held) == len(pairs)
    assert set(fitted.block).isdisjoint(held.block)
    assert len(held) / len(pairs) == pytest.approx(0.2, abs=0.01)
    assert fitted.source == pairs.source and fitted.correlation == pairs.correlation
    again, _ = pairs.split(0.2, seed=3)
    np.testing.assert_array_equal(fitted.block, again.block)
    other, _ = pairs.split(0.2, seed=4)
    assert not np.array_equal(fitted.block, other.block)


def test_a_single_block_is_not_held_out() -> None:
    pairs = from_repeats(stacks=[shots(spots()[:4, :8], 3)])
    fitted, held = pairs.split()
    assert (len(fitted), len(held)) == (96, 0)


def test_of_many_pixels_some_are_chosen_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAIRS", 10_000)
    stacks = [shots(spots(seed=k), 10, seed=k) for k in range(2)]
    chosen: Any = [from_repeats(stacks=stacks, seed=seed) for seed in (0, 0, 1)]
    assert 9_900 < len(chosen[0]) <= 10_000
    np.testing.assert_array_equal(chosen[0].observed, chosen[1].observed)
    assert not np.array_equal(chosen[0].observed, chosen[2].observed)
    # whole pixels: all shots of one stand together
    assert np.unique(chosen[0].signal[::10]).size > 100
    np.testing.assert_array_equal(chosen[0].signal[::10], chosen[0].signal[9::10])


def test_the_correlation_of_a_long_stack_is_that_of_its_first_shots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory does not grow with the number of shots."""
    monkeypatch.setattr(module, "MAX_RESIDUALS", 3 * spots().size)
    stack = shots(spots(), 12)
    stack[3:] = stack[3:, ::-1]  # shots that must not count show other images
    signal = stack.mean(axis=0)
    seen = [np.asarray(shot - signal) for shot in stack[:3]]
    expected = residual_correlation(seen)
    assert from_repeats(stacks=[stack]).correlation == pytest.approx(expected)
