"""Gathering pairs keeps what a fit needs of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from denoisplit.noise_models.binning import (
    CELL_WIDTH,
    edges_of,
    gather,
    place,
    shrink_towards_line,
    variances,
)

Array = NDArray[np.float64]


def crowded(n: int = 200_000) -> tuple[Array, Array]:
    """Mostly dark signals from 5 on, a few up to about 100; residuals of variance 2 x signal."""
    rng = np.random.default_rng(0)
    signal = 5 + rng.exponential(1, n) + (rng.random(n) < 0.02) * rng.uniform(0, 90, n)
    return signal, np.sqrt(2 * signal) * rng.standard_normal(n)


def test_gathering_keeps_pairs_means_and_nearly_all_of_the_variance() -> None:
    signal, residual = crowded()
    cells = gather(signal, residual)
    n = cells.pairs.sum()
    assert n == signal.size
    assert len(cells.pairs) < signal.size / 20  # else there was no point
    assert (cells.signal * cells.pairs).sum() / n == pytest.approx(signal.mean(), rel=1e-9)
    mean = (cells.residual * cells.pairs).sum() / n
    assert mean == pytest.approx(residual.mean(), abs=1e-9)
    variance = (cells.residual**2 * cells.pairs).sum() / n - mean**2
    # a cell of width w std loses at most w^2 / 12, and never gains
    assert 1 - CELL_WIDTH**2 / 12 < variance / residual.var() <= 1 + 1e-12


def test_cells_lie_within_a_signal_bin() -> None:
    signal, residual = crowded(20_000)
    cells, edges = gather(signal, residual), edges_of(signal)
    # edges are signals themselves, which a mean of equal ones may miss by rounding
    counts = np.bincount(place(cells.signal + 1e-9, edges), cells.pairs, minlength=edges.size - 1)
    np.testing.assert_array_equal(counts, np.bincount(place(signal, edges)))


def test_bins_part_the_crowd_and_the_few() -> None:
    """Neither a bin of equal width with most of the pairs, nor one of equal number half as wide."""
    signal, _ = crowded()
    edges = edges_of(signal)
    assert np.diff(edges).max() < 0.011 * np.ptp(signal)
    assert np.bincount(place(signal, edges)).max() < 0.011 * signal.size
    assert edges[0] == signal.min() and edges[-1] == signal.max()


def test_measured_variances_are_those_of_the_law() -> None:
    """In each bin, with the shares of the signals in it; sampling error is the only one."""
    signal, residual = crowded()
    measured = variances(signal, residual + 100)  # about the mean: a signal may be off
    assert measured is not None
    np.testing.assert_allclose(measured.share.sum(axis=1), 1)
    assert measured.weight.sum() == pytest.approx(1)
    expected = measured.share @ (2 * measured.signal)
    # 5 standard errors of the fewest pairs a bin may have, 500; most have more
    np.testing.assert_allclose(measured.variance, expected, rtol=5 * np.sqrt(2 / 500))
    assert np.sqrt(np.mean((measured.variance / expected - 1) ** 2)) < 0.05


def test_few_pairs_have_no_variance() -> None:
    signal, residual = crowded(400)
    assert variances(signal, residual) is None


def test_bins_without_noise_are_left_out() -> None:
    """As of a detector that shows one value below a threshold: the others still have a variance."""
    signal = np.linspace(0, 1, 100_000)
    noise = np.random.default_rng(0).standard_normal(signal.size)
    measured = variances(signal, np.where(signal > 0.5, noise, 0))
    assert measured is not None
    assert (
        measured.share @ measured.signal
    ).min() > 0.48  # one bin lies on both sides of the threshold
    assert measured.weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(measured.variance[1:-1], 1, rtol=0.6)
    assert variances(signal, 0 * signal) is None


def test_uncertain_variances_go_to_the_line_if_it_holds() -> None:
    """Where all bins agree with a line, each gains from the others; certain ones hardly move."""
    rng = np.random.default_rng(0)
    signal = np.linspace(10, 200, 40)
    line = 3 * signal + 20
    count = np.where(np.arange(40) < 30, 1e6, 500.0)
    measured = line * (1 + np.sqrt(2 / count) * rng.standard_normal(40))
    shrunk = shrink_towards_line(signal, measured, count)
    few = count < 1000
    before, after = (np.sqrt(np.mean((v / line - 1)[few] ** 2)) for v in (measured, shrunk))
    assert after < before / 3
    np.testing.assert_allclose(shrunk[~few], measured[~few], rtol=5 * np.sqrt(2 / 1e6))


def test_variances_stay_where_the_line_does_not_hold() -> None:
    signal = np.linspace(10, 200, 40)
    measured = 0.05 * signal**2 + 20
    shrunk = shrink_towards_line(signal, measured, np.full(40, 5000.0))
    np.testing.assert_allclose(shrunk, measured, rtol=0.02)
    # however far it is from them
    steep = np.maximum(50 * (signal - 100), 1.0)
    np.testing.assert_allclose(
        shrink_towards_line(signal, steep, np.full(40, 5000.0)), steep, rtol=1e-6
    )
