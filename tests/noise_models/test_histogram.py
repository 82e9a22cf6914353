"""The histogram noise model: counted shares, and densities between two rows of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture
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
    signal, observed = pairs()
    return HistogramModel.fit(signal=signal, observed=observed, bins=64)


def test_swapped_arguments_are_refused() -> None:
    signal, observed = pairs()
    with pytest.raises(InputError, match="signal and observed seem to be swapped"):
        HistogramModel.fit(signal=observed, observed=signal, bins=64)


def reference(signal: Array, observed: Array, bins: int, at_y: Array, at_s: Array) -> list[float]:
    """Method: the density at some pairs, from the definition."""
    low, high = min(signal.min(), observed.min()), max(signal.max(), observed.max())
    width = (high - low) / bins
    table = np.histogram2d(signal, observed, bins, [(low, high), (low, high)])[0] + 1e-30
    total = table.sum(axis=1, keepdims=True)
    table = np.where(total > 1e-20, table / total, table)
    found = []
    for y, s in zip(at_y, at_s, strict=True):
        row, column = (np.clip((v - low) / width, 0, bins - 1 - 1e-3) for v in (s, y))
        share = row - int(row)
        lower, upper = table[int(row), int(column)], table[int(row) + 1, int(column)]
        found.append(float((1 - share) * lower + share * upper) / width)
    return found


def test_density_is_the_definition(model: HistogramModel) -> None:
    signal, observed = pairs()
    rng = np.random.default_rng(1)
    s, y = rng.uniform(-100, 1200, 300), rng.uniform(-100, 1200, 300)
    found = model.log_prob(tensor(y), tensor(s)).numpy()
    expected = reference(signal, observed, 64, y, s)
    # float32 places the interpolation to 1e-4 of a bin
    np.testing.assert_allclose(np.exp(found), expected, rtol=2e-3, atol=1e-9)


# the published index does not reach the last column: signals whose noise stays below it
@pytest.mark.parametrize("s", [150.0, 333.3, 512.0, 790.0])
def test_density_integrates_to_one(model: HistogramModel, s: float) -> None:
    width = model.width.item()
    y = model.min_value.item() + width * (np.arange(64) + 0.5)
    density = model.log_prob(tensor(y), torch.tensor(s)).double().exp()
    assert density.sum().item() * width == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("s", [150.0, 333.3, 790.0])
def test_variance_and_samples_are_those_of_the_density(model: HistogramModel, s: float) -> None:
    width = model.width.item()
    y = model.min_value.item() + width * (np.arange(64 * 20) + 0.5) / 20
    density = model.log_prob(tensor(y), torch.tensor(s)).double().exp().numpy() * width / 20
    mean = (density * y).sum()
    expected = (density * (y - mean) ** 2).sum()
    assert model.variance(torch.tensor(s)).item() == pytest.approx(expected, rel=2e-3)
    drawn = model.sample(torch.full((400, 500), s), torch.Generator().manual_seed(0)).double()
    assert drawn.shape == (400, 500)
    # 5 standard errors of 200 000 draws; a Gaussian's fourth moment
    assert drawn.mean().item() == pytest.approx(mean, abs=5 * np.sqrt(expected / 2e5))
    assert drawn.var().item() == pytest.approx(expected, rel=5 * np.sqrt(2 / 2e5))


def test_samples_depend_on_the_generator_alone(model: HistogramModel) -> None:
    s = torch.full((50,), 400.0)
    first = model.sample(s, torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    torch.testing.assert_close(model.sample(s, torch.Generator().manual_seed(7)), first)
    assert not torch.equal(model.sample(s, torch.Generator().manual_seed(8)), first)


def test_density_is_differentiable_in_the_signal(model: HistogramModel) -> None:
    """And the slope leads towards the observation."""
    signal = torch.tensor([430.0, 570.0], requires_grad=True)
    model.log_prob(torch.tensor([500.0, 500.0]), signal).sum().backward()
    assert signal.grad is not None
    assert signal.grad[0] > 0 > signal.grad[1]


def test_what_was_never_seen_is_unlikely_and_finite(model: HistogramModel) -> None:
    log_p = model.log_prob(torch.tensor([5000.0, 100.0]), torch.tensor([100.0, 5000.0]))
    assert torch.isfinite(log_p).all()
    assert log_p[0] < -60


def test_broadcasts_is_float32_and_frozen(model: HistogramModel) -> None:
    log_p = model.log_prob(torch.full((2, 1, 5), 400.0).double(), torch.ones(3, 1))
    assert log_p.shape == (2, 3, 5)
    assert log_p.dtype == torch.float32
    assert list(model.parameters()) == []


def test_as_good_as_the_truth_with_many_pairs() -> None:
    signal, observed = pairs(2_000_000)
    model = HistogramModel.fit(signal=signal, observed=observed)
    s, y = pairs(20_000, seed=1)
    found = model.log_prob(tensor(y), tensor(s)).double()
    truth = -0.5 * ((y - s) / 40) ** 2 - np.log(40 * np.sqrt(2 * np.pi))
    # its rows are 13 wide and lag behind by half of that: 6.5^2 / 40^2 / 2 = 0.013 nat, and
    # 0.013 more for the width of row and column
    assert -0.005 < truth.mean() - found.mean().item() < 0.05


def test_file_round_trip(model: HistogramModel, tmp_path: Path) -> None:
    path = tmp_path / "histogram.npz"
    path.write_bytes(model.to_bytes())
    read = HistogramModel.load(path)
    s, y = (tensor(v[:500]) for v in pairs())
    torch.testing.assert_close(read.log_prob(y, s), model.log_prob(y, s), rtol=0, atol=0)
    torch.testing.assert_close(read.variance(s), model.variance(s))
    assert read.to_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["missing", "text", "pickle", "mixture", "shape", "range"])
def test_other_files_are_refused_in_one_line(
    model: HistogramModel, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "model.npz"
    arrays = {"histogram": np.ones((4, 4)), "min_value": np.zeros(1), "max_value": np.ones(1)}
    if kind == "text":
        path.write_text("0 1 2\n")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(arrays))
    elif kind == "mixture":
        path.write_bytes(GaussianMixture([[0.0], [1.0], [0.0]], 0, 1, 0.1).to_bytes())
    elif kind == "shape":
        np.savez(path, **(arrays | {"histogram": np.ones((4, 3))}))
    elif kind == "range":
        np.savez(path, **(arrays | {"max_value": np.zeros(1)}))
    with pytest.raises(InputError) as caught:
        HistogramModel.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("signal", "observed", "message"),
    [
        (np.zeros(3), np.zeros(4), "pairs"),
        (np.zeros(0), np.zeros(0), "range"),
        (np.ones(3), np.ones(3), "range"),
        (np.array([0, np.nan]), np.zeros(2), "finite"),
    ],
)
def test_what_is_no_data_is_refused(signal: Array, observed: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HistogramModel.fit(signal=signal, observed=observed)
