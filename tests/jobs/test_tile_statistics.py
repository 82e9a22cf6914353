"""Statistics of tiles: they cover the image, and know noise from structure."""

from __future__ import annotations

import numpy as np
import pytest

from denoisplit.jobs.tile_statistics import (
    SIDE,
    Units,
    noise_excess,
    tile_starts,
    tile_statistics,
    tiles_of,
)

UNITS = Units(
    scale=1.0,
    shift=-10.0,
    signals=np.array([[0.0, 100.0], [0.0, 200.0]]),
    variances=np.array([[100.0, 300.0], [200.0, 200.0]]),
    means=np.array([30.0, 20.0]),
    stds=np.array([15.0, 10.0]),
)


@pytest.mark.parametrize("side", [64, 65, 100, 128, 300])
def test_tiles_cover_a_side(side: int) -> None:
    starts = tile_starts(side)
    covered = {start + n for start in starts for n in range(SIDE)}
    assert covered == set(range(side))


def test_an_image_below_the_side_of_a_tile_has_none() -> None:
    tiles, shape = tiles_of(np.zeros((3, 40, 200), dtype=np.float32))
    assert tiles.shape == (0, 3, SIDE, SIDE)
    assert shape == (0, 4)


def test_noise_variance_is_that_of_the_superposition() -> None:
    means = np.stack([np.full((2, 2), 50.0), np.full((2, 2), 500.0)])
    np.testing.assert_allclose(UNITS.noise_variance(means), 200.0 + 200.0)
    np.testing.assert_allclose(UNITS.recombined(means), 540.0)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_noise_excess_is_the_log_of_the_ratio(factor: float) -> None:
    random = np.random.default_rng(0)
    means = np.full((8, 2, SIDE, SIDE), 40.0, dtype=np.float32)
    noise = np.sqrt(factor * UNITS.noise_variance(means)) * random.standard_normal((8, SIDE, SIDE))
    x = (UNITS.recombined(means) + noise).astype(np.float32)
    assert noise_excess(x, means, UNITS).mean() == pytest.approx(np.log(factor), abs=0.05)


@pytest.mark.parametrize("structures", [1, 2, 3])
def test_statistics_are_finite_for_any_number_of_structures(structures: int) -> None:
    rows = [0] * structures
    units = Units(1.0, 0.0, *(a[rows] for a in (UNITS.signals, UNITS.variances)),
                  *(a[rows] for a in (UNITS.means, UNITS.stds)))  # fmt: skip
    empty = np.zeros((2, structures, SIDE, SIDE), dtype=np.float32)
    values = tile_statistics(empty[:, 0], empty, units)
    assert values.shape[0] == 2
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values[0], values[1])
