"""Noise of one image against its intensity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from denoisplit.data.simulation import simulate
from denoisplit.noise_models.photon_transfer import PhotonTransfer, photon_transfer
from denoisplit.noise_models.saturation import limits_of

RANDOM = np.random.default_rng(0)
CLEAN = simulate("filaments", frames=2, size=256, seed=1)


def measured(*frames: np.ndarray) -> PhotonTransfer:
    return photon_transfer(frames, limits_of(frames))


def camera(gain: float, read: float, offset: float) -> np.ndarray:
    random = np.random.default_rng(0)
    image = gain * random.poisson(CLEAN / gain) + random.normal(0, read, CLEAN.shape) + offset
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize(
    ("gain", "read", "offset"), [(4.0, 0.0, 0.0), (2.0, 5.0, 100.0), (8.0, 10.0, 100.0)]
)
def test_gain_and_bounds_of_a_camera(gain: float, read: float, offset: float) -> None:
    found = measured(*camera(gain, read, offset))
    assert found.gain == pytest.approx(gain, rel=0.15)
    assert found.offset is not None and found.read_noise is not None
    low, high = found.read_noise
    assert low - gain / 4 <= read <= high + gain / 4
    assert found.offset == pytest.approx(max(0.0, offset - read**2 / gain), abs=gain)
    assert found.correlation is not None and max(map(abs, found.correlation)) < 0.1
    assert not found.reason


def test_gain_of_a_camera_by_repeated_shots(data_dir: Path) -> None:
    shots = tifffile.imread(data_dir / "fmd_nuclei_repeats" / "fov01_50repeats.tif")
    mean, variance = shots.mean(axis=0).ravel(), shots.var(axis=0, ddof=1).ravel()
    groups = np.array_split(np.argsort(mean), 24)
    points = [(mean[group].mean(), variance[group].mean()) for group in groups]
    slope = np.polyfit(*np.transpose(points), 1, w=[1 / v for _, v in points])[0]
    assert measured(shots[0], shots[-1]).gain == pytest.approx(slope, rel=0.15)


def test_noise_that_is_the_same_everywhere_has_no_gain() -> None:
    image = np.float32(CLEAN + np.random.default_rng(0).normal(0, 9, CLEAN.shape))
    found = measured(*image)
    assert found.std == pytest.approx(9, rel=0.05)
    assert found.gain is None and "does not grow" in found.reason


def test_correlated_noise_is_not_taken_for_less_noise() -> None:
    found = measured(*(gaussian_filter(frame.astype(np.float32), 0.7) for frame in camera(4, 0, 0)))
    assert found.gain is None and "correlated" in found.reason


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (RANDOM.poisson(20, (12, 12)), "too few"),
        (
            np.where(np.arange(99) < 50, 50, np.random.default_rng(0).poisson(50, (99, 99))),
            "no noise",
        ),
    ],
)
def test_what_cannot_be_estimated_has_a_reason(image: np.ndarray, reason: str) -> None:
    found = measured(image.astype(np.uint16))
    assert found.gain is None and found.read_noise is None and reason in found.reason
