"""Noisy images alone: exclusions, warnings, and whether the noise is recovered."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from denoisplit.config.groups import N2VSettings
from denoisplit.data.simulation import camera, simulate
from denoisplit.noise_models.from_noisy import flat_correlation, pairs_of_noisy, unlimited
from denoisplit.noise_models.validity import correlation_warning

SETTINGS = N2VSettings(filters=8, batch=8, masked=0.03, learning_rate=3e-3, max_steps=200)
FEW = SETTINGS.model_copy(update={"max_steps": 60})


def scaled(kind: str = "filaments", frames: int = 4, size: int = 128) -> np.ndarray:
    """Clean frames from 0 to 1."""
    clean = simulate(kind, frames=frames, size=size, seed=1).astype(np.float64)
    return (clean - clean.min()) / np.ptp(clean)


# ---------------------------------------------------------------- what is left out


def test_saturated_pixels_are_no_targets() -> None:
    noisy = np.rint(150 + 200 * scaled() + np.random.default_rng(0).normal(0, 10, (4, 128, 128)))
    frames = [*np.clip(noisy, 0, 255).astype(np.uint8)]
    for frame, valid in zip(frames, unlimited(frames), strict=True):
        assert np.array_equal(valid, frame < 255)
    assert not all(valid.all() for valid in unlimited(frames))


def test_a_clipped_background_is_no_target() -> None:
    noisy = np.rint(100 * scaled() + np.random.default_rng(0).normal(0, 10, (4, 128, 128)))
    frames = [*np.maximum(noisy, 0)]
    for frame, valid in zip(frames, unlimited(frames), strict=True):
        assert np.array_equal(valid, frame > 0)


@pytest.mark.parametrize("background", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("kind", ["filaments", "puncta"])
def test_dark_photon_counts_are_targets(kind: str, background: float) -> None:
    """They have many zeros, and without those the dark signals would come out too high."""
    frames = [*np.random.default_rng(0).poisson(background + 20 * scaled(kind, size=256))]
    assert all(valid.all() for valid in unlimited(frames))


def test_pairs_hold_no_saturated_pixels() -> None:
    noisy = camera(200 * scaled(), gain=4.0, read_noise=3.0, offset=60.0, seed=0)
    frames = [*np.minimum(noisy, 180)]
    reports: list[tuple[int, int]] = []
    pairs = pairs_of_noisy(frames, FEW, seed=0, on_step=lambda *progress: reports.append(progress))
    # training and denoising, one progress that never goes back
    done, totals = zip(*reports, strict=True)
    assert all(a < b for a, b in pairwise(done))
    assert len(set(totals)) == 1 and done[-1] == totals[0]
    assert len(reports) == FEW.max_steps + len(frames)
    assert 0 < pairs.saturated < 0.1 and pairs.clipped == 0
    assert pairs.observed.max() < 180
    assert len(pairs) < sum(frame.size for frame in frames)


# ---------------------------------------------------------------- correlated noise


@pytest.mark.parametrize("kind", ["filaments", "puncta", "mesh"])
@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize(("blur", "correlated"), [(0.0, False), (0.4, False), (0.6, True)])
def test_correlation_is_seen_in_the_images_themselves(
    kind: str, size: int, blur: float, correlated: bool
) -> None:
    """Also of small ones that are full of structure."""
    noisy = camera(simulate(kind, frames=4, size=size, seed=2), gain=8, read_noise=4, offset=100,
                   seed=3)  # fmt: skip
    correlation = flat_correlation([gaussian_filter(f.astype(float), blur) for f in noisy])
    assert bool(correlation_warning(correlation)) == correlated


def test_a_denoiser_does_not_hide_correlated_noise() -> None:
    """It predicts a part of it from the neighbours: what it leaves may look pixel-wise."""
    noisy = camera(simulate("filaments", frames=4, size=128, seed=2), gain=8, read_noise=4,
                   offset=100, seed=3)  # fmt: skip
    blurred = [gaussian_filter(frame.astype(float), 0.7) for frame in noisy]
    warned = [
        correlation_warning(pairs_of_noisy(frames, FEW, seed=0).correlation)
        for frames in ([*noisy], blurred)
    ]
    assert warned[0] is None
    assert warned[1] is not None and "not blurred, scaled, registered" in warned[1]


@pytest.mark.parametrize("file", [
    "fmd_nuclei_repeats/fov01_50repeats.tif", "fmd_nuclei_repeats/fov04_50repeats.tif",
    "hagen_actin_mito/60x/actin_low.tif", "hagen_actin_mito/60x/mito_low.tif",
])  # fmt: skip
def test_cameras_have_noise_without_correlation(file: str, data_dir: Path) -> None:
    stack = tifffile.imread(data_dir / file)
    frames = [*stack[:2]] if stack.ndim == 3 else [stack]
    assert correlation_warning(flat_correlation(frames)) is None
    blurred = [gaussian_filter(frame.astype(float), 0.6) for frame in frames]
    assert correlation_warning(flat_correlation(blurred)) is not None


def test_images_without_noise_or_of_few_pixels_have_no_correlation() -> None:
    assert flat_correlation([np.ones((8, 8))]) == (0.0, 0.0)
    ramp = np.add.outer(np.arange(64.0), 2 * np.arange(64.0))
    assert (
        max(map(abs, flat_correlation([ramp, np.random.default_rng(0).normal(size=(64, 64))])))
        < 0.1
    )


# ---------------------------------------------------------------- the noise is found


def test_the_variance_of_the_noise_is_found() -> None:
    """gain x signal + read noise, of noisy frames alone."""
    rng = np.random.default_rng(0)
    smooth = np.stack([gaussian_filter(rng.standard_normal((192, 192)), 8) for _ in range(3)])
    clean = 200 * (smooth - smooth.min()) / np.ptp(smooth)
    noisy = camera(clean, gain=4.0, read_noise=5.0, offset=100.0, seed=0)
    pairs = pairs_of_noisy([*noisy], SETTINGS, seed=0)
    residual = pairs.observed - pairs.signal
    for low, high in pairwise(np.quantile(pairs.signal, [0.02, 0.25, 0.5, 0.75, 0.98])):
        group = (pairs.signal >= low) & (pairs.signal < high)
        expected = 4.0 * (pairs.signal[group].mean() - 100) + 25.0
        assert residual[group].var() == pytest.approx(expected, rel=0.1)
