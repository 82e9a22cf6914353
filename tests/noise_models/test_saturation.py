"""Limits of a recording are recognised, and truncated signals are excluded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from denoisplit.noise_models.saturation import Limits, find_limits, grid_step, signal_range

Array = NDArray[np.float64]


def scene(peak: float, background: float, seed: int = 0) -> Array:
    """A clean image of soft spots, most of it background."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((128, 128)), 4)
    spots = np.maximum(field / field.max(), 0) ** 2
    return background + peak * spots


def shots(
    clean: Array,
    *,
    gain: float = 1.0,
    read: float = 0.0,
    offset: float = 0.0,
    low: float = -np.inf,
    high: float = np.inf,
    rounded: bool = True,
) -> tuple[Array, Array]:
    """Ten shots by a camera: signals and observations, each (n,)."""
    rng = np.random.default_rng(1)
    many = np.broadcast_to(clean, (10, *clean.shape))
    y = gain * rng.poisson(many / gain) + read * rng.standard_normal(many.shape) + offset
    y = np.clip(np.rint(y) if rounded else y, low, high)
    return (many + offset).ravel(), y.ravel()


# camera, ceiling of the type, limits that should be found
CAMERAS: dict[str, tuple[tuple[float, float], dict[str, Any], float | None, Limits]] = {
    "photon counts of a dark background": ((50, 0.5), {}, 65535, Limits(None, None)),
    "photon counts, some background empty": ((50, 0.01), {}, 65535, Limits(None, None)),
    "camera with offset": ((1000, 50), dict(read=2, offset=100), 65535, Limits(None, None)),
    "8 bit, saturated": ((350, 20), dict(low=0, high=255), 255, Limits(None, 255)),
    "12 bit in 16, saturated": (
        (6000, 20), dict(read=2, offset=100, high=4095), 65535, Limits(None, 4095)),
    "clipped background": ((100, 1), dict(read=3, low=0), 65535, Limits(0, None)),
    "clipped nearly all over": ((100, 0.3), dict(read=3, offset=-2, low=0), 65535, Limits(0, None)),
    "scaled to [0, 1], cut off on both sides": (
        (1.3, 0.1), dict(gain=0.01, read=0.02, low=0, high=1, rounded=False), None, Limits(0, 1)),
    "continuous": ((100, 10), dict(read=2, rounded=False), None, Limits(None, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", CAMERAS)
def test_limits_are_found_and_only_they(name: str) -> None:
    (peak, background), camera, ceiling, expected = CAMERAS[name]
    signal, observed = shots(scene(peak, background), **camera)
    assert find_limits(observed, signal, ceiling=ceiling) == expected


@pytest.mark.parametrize("name", [n for n, case in CAMERAS.items() if case[3] != (None, None)])
def test_signals_within_the_range_are_not_cut_off(name: str) -> None:
    """What is left has its variance: of the rest, the cut took more than it may."""
    (peak, background), camera, ceiling, _ = CAMERAS[name]
    clean = scene(peak, background)
    signal, observed = shots(clean, **camera)
    limits = find_limits(observed, signal, ceiling=ceiling)
    low, high = signal_range(signal, observed, limits)
    kept = (signal > low) & (signal < high)
    assert (~limits.inside(observed[kept])).mean() < 2e-3
    gain, read, offset = (camera.get(k, d) for k, d in (("gain", 1), ("read", 0), ("offset", 0)))
    rounding = 1 / 12 if camera.get("rounded", True) else 0
    noise = np.sqrt(gain * (signal[kept] - offset) + read**2 + rounding)
    z = (observed[kept] - signal[kept]) / noise
    assert kept.sum() > 2000
    # a Gaussian cut off at 3.1 std (one in a thousand) has lost 1.3 % of its variance;
    # and five standard errors
    assert abs(z.var() - 1) < 0.013 + 5 * np.sqrt(2 / z.size)


def test_without_limits_nothing_is_left_out() -> None:
    values = np.arange(100.0)
    assert signal_range(values, values, Limits(None, None)) == (-np.inf, np.inf)
    assert Limits(None, None).inside(values).all()


def test_everything_cut_off_leaves_an_empty_range() -> None:
    signal = np.linspace(0, 1, 10_000)
    low, high = signal_range(signal, np.zeros(10_000), Limits(0.0, None))
    assert not ((signal > low) & (signal < high)).any()


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.arange(1000) % 256, 1.0),
        ((np.arange(1000) % 256).astype(np.float32), 1.0),
        ((np.arange(5000) % 256).astype(np.float32) / 255, 1 / 255),
        # 12 bit shifted into 16, some of it saturated; photons at four grey levels each
        (np.append(16 * (np.arange(5000) % 4096), [65535] * 9).astype(np.uint16), 16.0),
        (4.0 * np.random.default_rng(0).poisson(9, 5000), 4.0),
        (np.array([0, 200] * 50), 1.0),
        (np.random.default_rng(0).integers(0, 4096, 10**6) / np.float32(4095), 1 / 4095),
        (np.random.default_rng(0).normal(size=5000), 0.0),
        (np.array([0.3, 0.5, 0.9]), 0.0),
    ],
)
def test_levels_of_a_recording(values: Array, step: float) -> None:
    assert grid_step(values) == pytest.approx(step, rel=0.02)
