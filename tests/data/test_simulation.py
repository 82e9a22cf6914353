"""Simulated images: the same seed gives the same frame, and the camera obeys its noise law."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from denoisplit.data.simulation import KINDS, MIN_SIDE, simulate

kinds = pytest.mark.parametrize("kind", sorted(KINDS))


@kinds
def test_same_seed_same_frames_whatever_their_number(kind: str) -> None:
    three = simulate(kind, frames=3, size=64, seed=5)
    assert three.shape == (3, 64, 64)
    assert three.dtype == np.float32
    np.testing.assert_array_equal(three, simulate(kind, frames=3, size=64, seed=5))
    np.testing.assert_array_equal(three[:2], simulate(kind, frames=2, size=64, seed=5))


@kinds
def test_frames_and_seeds_differ(kind: str) -> None:
    a, b = simulate(kind, frames=2, size=128, seed=5)
    (c,) = simulate(kind, frames=1, size=128, seed=6)
    for one, other in itertools.combinations((a, b, c), 2):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.3


def test_kinds_are_drawn_independently() -> None:
    # the same seed and frame, as a demonstration with two structures would ask for
    stacks = {kind: simulate(kind, frames=4, size=128, seed=0).ravel() for kind in KINDS}
    for one, other in itertools.combinations(stacks.values(), 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.2


@kinds
@pytest.mark.parametrize(("peak", "background"), [(120.0, 10.0), (3000.0, 0.0)])
def test_intensities_have_the_range_asked_for(kind: str, peak: float, background: float) -> None:
    frames = simulate(kind, frames=2, size=96, seed=1, peak=peak, background=background)
    assert np.isfinite(frames).all()
    assert frames.min() >= background
    top = np.percentile(frames, 99.8, axis=(1, 2))
    np.testing.assert_allclose(top, background + peak, rtol=1e-3)
    # mostly dark, as fluorescence is
    assert np.median(frames) < background + 0.4 * peak


@kinds
def test_small_frames_are_never_empty(kind: str) -> None:
    # among these are frames that first fell into a hole of the mesh
    frames = simulate(kind, frames=200, size=MIN_SIDE, seed=1)
    assert np.isfinite(frames).all()
    assert (np.ptp(frames, axis=(1, 2)) > 1).all()


@kinds
def test_light_reaches_every_part_of_the_frame(kind: str) -> None:
    mean = simulate(kind, frames=60, size=64, seed=3).mean(axis=0) - 10
    border = np.concatenate([mean[:4].ravel(), mean[-4:].ravel(), mean[:, :4].ravel()])
    assert border.mean() == pytest.approx(mean.mean(), rel=0.3)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="filaments"):
        simulate("nuclei", frames=1, size=64, seed=0)
    with pytest.raises(ValueError, match="at least 1 frame of"):
        simulate("mesh", frames=0, size=64, seed=0)
    with pytest.raises(ValueError, match="peak must be positive"):
        simulate("mesh", frames=1, size=64, seed=0, peak=0)
