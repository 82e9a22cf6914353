"""The histogram noise model: counted shares, and densities between two rows of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.noise_models.histogram import HistogramModel

Array = NDArray[np.float64]


def tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def pairs(n: int = 200_000, seed: int = 0) -> tuple[Array, Array]:
    """Signals over a range that the observations overreach."""
    rng = np.random.default_rng(seed)
    signal = rng.uniform(100, 900, n)
    return signal, signal + rng.normal(0, 40, n)


@pytest.fixture(scope="module")
def model() -> HistogramModel:
    return HistogramModel(*pairs(), bins=64)


def reference(signal: Array, observed: Array, bins: int, at_y: Array, at_s: Array) -> list[float]:
    """Method: the density at some pairs, from the definition."""
    low, high = min(signal.min(), observed.min()), max(signal.max(), observed.max())
    width = (high - low) / bins
    table = np.histogram2d(signal, observed, bins, [(low, high), (low, high)])[0] + 1e-30
    total = table.sum(axis=1, keepdims=True)
    table = np.where(total > 1e-20, table / total, table)
    densities = []
    for y, s in zip(at_y, at_s, strict=True):
        row, column = (np.clip((v - low) / width, 0, bins - 1 - 1e-3) for v in (s, y))
        share = row - int(row)
        lower, upper = table[int(row), int(column)], table[int(row) + 1, int(column)]
        densities.append(float((1 - share) * lower + share * upper) / width)
    return densities


def test_density_is_the_definition(model: HistogramModel) -> None:
    signal, observed = pairs()
    rng = np.random.default_rng(1)
    s, y = rng.uniform(-100, 1200, 300), rng.uniform(-100, 1200, 300)
    log_p = model.log_prob(tensor(y), tensor(s))
    assert log_p.dtype == torch.float32
    expected = reference(signal, observed, 64, y, s)
    # float32 places the interpolation to 1e-4 of a bin
    np.testing.assert_allclose(np.exp(log_p.numpy()), expected, rtol=2e-3, atol=1e-9)


# the published index does not reach the last column: signals whose noise stays below it
@pytest.mark.parametrize("s", [150.0, 333.3, 512.0, 790.0])
def test_density_integrates_to_one(model: HistogramModel, s: float) -> None:
    width = model.width.item()
    y = model.min_value.item() + width * (np.arange(64) + 0.5)
    density = model.log_prob(tensor(y), torch.full((64,), s)).double().exp()
    assert density.sum().item() * width == pytest.approx(1, abs=1e-5)


def test_what_was_never_seen_is_unlikely_and_finite(model: HistogramModel) -> None:
    log_p = model.log_prob(torch.tensor([5000.0, 100.0]), torch.tensor([100.0, 5000.0]))
    assert torch.isfinite(log_p).all()
    assert log_p[0] < -60


def test_as_good_as_the_truth_with_many_pairs() -> None:
    model = HistogramModel(*pairs(2_000_000))
    s, y = pairs(20_000, seed=1)
    log_p = model.log_prob(tensor(y), tensor(s)).double()
    truth = -0.5 * ((y - s) / 40) ** 2 - np.log(40 * np.sqrt(2 * np.pi))
    # its rows are 13 wide and lag behind by half of that: 6.5^2 / 40^2 / 2 = 0.013 nat, and
    # 0.013 more for the width of row and column
    assert -0.005 < truth.mean() - log_p.mean().item() < 0.05
