"""Simulated images: the same seed gives the same frame, and the camera obeys its noise law."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from denoisplit.data.simulation import KINDS, MIN_SIDE, camera, simulate

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


@pytest.mark.parametrize(("gain", "read_noise"), [(1.0, 0.0), (2.5, 6.0), (0.4, 3.0)])
def test_camera_variance(gain: float, read_noise: float) -> None:
    levels = np.array([20.0, 100.0, 800.0])
    clean = np.broadcast_to(levels[:, None, None], (3, 400, 400))
    counts = camera(clean, gain=gain, read_noise=read_noise, offset=100, seed=0)
    assert counts.dtype == np.uint16
    pixels = counts.reshape(3, -1).astype(float)
    # gain 1 without read noise is whole already; otherwise rounding adds 1/12
    rounding = 0 if read_noise == 0 else 1 / 12
    np.testing.assert_allclose(pixels.mean(axis=1), levels + 100, rtol=2e-3)
    np.testing.assert_allclose(
        pixels.var(axis=1), gain * levels + read_noise**2 + rounding, rtol=0.02
    )


def test_camera_noise_is_seeded_per_frame() -> None:
    clean = np.full((3, 32, 32), 50.0)
    three = camera(clean, gain=2, read_noise=3, offset=100, seed=1)
    np.testing.assert_array_equal(
        three[:2], camera(clean[:2], gain=2, read_noise=3, offset=100, seed=1)
    )
    other = camera(clean, gain=2, read_noise=3, offset=100, seed=2)
    noise = [frame.ravel().astype(float) for frame in (three[0], three[1], other[0])]
    for one, two in itertools.combinations(noise, 2):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.12


def test_camera_clips_instead_of_wrapping() -> None:
    clean = np.array([[[0.0, 1e6]]])
    counts = camera(clean, gain=1, read_noise=0, offset=-5, seed=0)
    np.testing.assert_array_equal(counts, [[[0, 65535]]])


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="filaments"):
        simulate("nuclei", frames=1, size=64, seed=0)
    with pytest.raises(ValueError, match="at least 1 frame of"):
        simulate("mesh", frames=0, size=64, seed=0)
    with pytest.raises(ValueError, match="peak must be positive"):
        simulate("mesh", frames=1, size=64, seed=0, peak=0)
    with pytest.raises(ValueError, match=r"\(N, Y, X\)"):
        camera(np.ones((4, 4)), gain=1, read_noise=0, offset=0, seed=0)
    with pytest.raises(ValueError, match="none of them negative"):
        camera(-np.ones((1, 4, 4)), gain=1, read_noise=0, offset=0, seed=0)
    with pytest.raises(ValueError, match="gain must be positive"):
        camera(np.ones((1, 4, 4)), gain=0, read_noise=0, offset=0, seed=0)
