"""The Gaussian-mixture noise model: a density with the right mean, and its exchange file."""

from __future__ import annotations

import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture

Array = NDArray[np.float64]
LOW, HIGH = 100.0, 1100.0


def model(seed: int = 0, components: int = 6, coefficients: int = 4) -> GaussianMixture:
    """Random weights of the size that a fit to camera counts has: offsets and stds of 5 to 40."""
    rng = np.random.default_rng(seed)
    a = rng.normal(0, 8, (components, coefficients))
    b = rng.normal(4, 1, (components, coefficients))
    d = rng.normal(0, 1, (components, coefficients))
    return GaussianMixture(np.concatenate((a, b, d)), LOW, HIGH, 0.125)


def reference(m: GaussianMixture, s: Array) -> tuple[Array, Array, Array]:
    """Means, variances, shares of the components at signals (n,), each (n, J): the formulas."""
    weight = m.weight.numpy().astype(np.float64)
    J, M = m.components, weight.shape[1]
    low, high = m.min_signal.item(), m.max_signal.item()
    t = np.clip((s - low) / (high - low), 0, 1)
    powers = [t**order for order in range(M)]

    def poly(rows: Array) -> Array:
        return np.stack([sum(w * p for w, p in zip(r, powers, strict=True)) for r in rows], axis=1)

    a, d = poly(weight[:J]), poly(weight[2 * J :])
    var = np.maximum(poly(np.exp(weight[J : 2 * J])), m.min_variance.item())
    alpha = np.exp(d) / np.exp(d).sum(axis=1, keepdims=True)
    return s[:, None] + a - (alpha * a).sum(axis=1, keepdims=True), var, alpha


def reference_log_density(m: GaussianMixture, y: Array, s: Array) -> Array:
    """Method: log sum_j alpha_j Normal(y; mu_j, var_j), in float64."""
    mu, var, alpha = reference(m, s)
    exponents = np.log(alpha) - 0.5 * ((y[:, None] - mu) ** 2 / var + np.log(2 * np.pi * var))
    top = exponents.max(axis=1)
    out: Array = top + np.log(np.exp(exponents - top[:, None]).sum(axis=1))
    return out


def tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


# ---------------------------------------------------------------- the density


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("components", "coefficients"), [(6, 4), (3, 2), (1, 2), (1, 1)])
def test_log_density_is_the_formula(seed: int, components: int, coefficients: int) -> None:
    m = model(seed, components, coefficients)
    rng = np.random.default_rng(seed)
    # float32 values, so that both sides get the same numbers
    s = rng.uniform(LOW - 300, HIGH + 300, 4000).astype(np.float32).astype(np.float64)
    std = np.sqrt((lambda mu, v, w: (w * (v + (mu - s[:, None]) ** 2)).sum(1))(*reference(m, s)))
    y = (s + std * rng.uniform(-8, 8, s.size)).astype(np.float32).astype(np.float64)
    expected = reference_log_density(m, y, s)
    log_p = m.log_prob(observed=tensor(y), signal=tensor(s)).double().numpy()
    # mean, variance and logit are sums of four terms, each good to 1.2e-7: relative 1e-6 of an
    # exponent of at most |log p| + a few, with a factor of two for the square
    np.testing.assert_allclose(log_p, expected, rtol=5e-6, atol=2e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("s", [LOW, LOW + 1, 350.0, 777.0, HIGH])
def test_density_integrates_to_one_and_its_mean_is_the_signal(seed: int, s: float) -> None:
    m = model(seed)
    mu, var, _ = reference(m, np.array([s]))
    reach = np.abs(mu - s).max() + 9 * math.sqrt(var.max())
    # about 200 steps per least std: the sum of a Gaussian on a grid is then exact
    n = int(2 * reach / (math.sqrt(var.min()) / 20))
    offset = (np.arange(n) - n // 2) * (2 * reach / n)
    y = (s + offset).astype(np.float32)
    density = (
        m.log_prob(observed=torch.from_numpy(y), signal=torch.tensor(s)).double().exp().numpy()
    )
    step = np.gradient(y.astype(np.float64))
    # log p is good to 1e-5 where p is not tiny
    assert (density * step).sum() == pytest.approx(1, abs=2e-5)
    mean = (density * step * (y.astype(np.float64) - s)).sum()
    # as the integral, in units of the std
    assert abs(mean) < 5e-5 * math.sqrt(m.variance(torch.tensor(s)).item())
    second = (density * step * (y.astype(np.float64) - s) ** 2).sum()
    assert second == pytest.approx(m.variance(torch.tensor(s)).item(), rel=1e-4)


def test_the_mean_is_the_signal_outside_the_fitted_range_too() -> None:
    m = model()
    s = np.array([LOW - 5000, LOW - 1, HIGH + 1, HIGH + 5000], dtype=np.float64)
    mixture = m.at(tensor(s))
    mean_offset = (mixture.log_alpha.exp() * mixture.offset).sum(dim=-1)
    # offsets of tens, shares that sum to 1 within 1e-6
    torch.testing.assert_close(mean_offset, torch.zeros(4), rtol=0, atol=1e-4)


def test_outside_the_range_the_shape_is_that_of_its_end() -> None:
    m = model()
    residual = torch.linspace(-60, 60, 25)
    for outside, end in ((LOW - 700, LOW), (HIGH + 900, HIGH)):
        at_end = m.log_prob(observed=end + residual, signal=torch.tensor(end))
        beyond = m.log_prob(observed=outside + residual, signal=torch.tensor(outside))
        # residuals of numbers up to 2000 are rounded to 1e-4, the slope of log p is below 2
        torch.testing.assert_close(beyond, at_end, rtol=0, atol=5e-4)


@pytest.mark.parametrize("s", [LOW - 1000, LOW - 1, LOW, 600.0, HIGH, HIGH + 1000])
@pytest.mark.parametrize("deviations", [-10.0, -1.0, 1.0, 10.0])
def test_far_tails_are_finite_and_keep_their_gradient(s: float, deviations: float) -> None:
    m = model()
    signal = torch.tensor(s, requires_grad=True)
    observed = torch.tensor(s) + deviations * m.variance(torch.tensor(s)).sqrt()
    log_p = m.log_prob(observed=observed, signal=signal)
    (slope,) = torch.autograd.grad(log_p, signal)
    assert torch.isfinite(log_p)
    assert torch.isfinite(slope)
    assert slope != 0
    # the signal is drawn towards the observation
    if abs(deviations) == 10:
        assert torch.sign(slope) == math.copysign(1, deviations)


def test_16_bit_tails_at_the_published_noise_keep_their_gradient() -> None:
    """The floor of the published density kills the gradient at 5 std of 17 800 (method 8.3)."""
    sigma = 17_800.0
    m = GaussianMixture([[0.0, 0.0], [2 * math.log(sigma), -5.0], [0.0, 0.0]], 0, 65_535, 0.125)
    signal = torch.tensor([20_000.0], requires_grad=True)
    log_p = m.log_prob(observed=signal.detach() + 10 * sigma, signal=signal)
    (slope,) = torch.autograd.grad(log_p.sum(), signal)
    # d/ds of -(y - s)^2 / (2 var), var = sigma^2 but for exp(-5) of signal
    assert slope.item() == pytest.approx(10 / sigma, rel=1e-4)
    assert log_p.item() == pytest.approx(-50 - math.log(sigma * math.sqrt(2 * math.pi)), rel=1e-4)


def test_the_floor_is_a_variance() -> None:
    m = GaussianMixture([[0.0], [-20.0], [0.0]], 0, 1, 0.125)
    assert m.variance(torch.tensor([0.5])).item() == 0.125
    # a floor read as a standard deviation would give 1 / 64
    peak = m.log_prob(observed=torch.tensor(0.5), signal=torch.tensor(0.5)).exp().item()
    assert peak == pytest.approx(1 / math.sqrt(2 * math.pi * 0.125), rel=1e-5)


@pytest.mark.parametrize("s", [LOW - 50, 300.0, HIGH])
def test_cumulative_is_the_integral_of_the_density(s: float) -> None:
    m = model(3)
    std = math.sqrt(m.variance(torch.tensor(s)).item())
    y = s + std * np.linspace(-9, 9, 20_001)
    density = np.exp(reference_log_density(m, y, np.full(y.size, s)))
    expected = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(y))))
    below = m.cumulative(observed=tensor(y), signal=torch.tensor(s)).double().numpy()
    # float32 places observations of about 1000 to 6e-5, of a density of 0.1 at most
    np.testing.assert_allclose(below, expected, atol=3e-5)


def test_log_prob_broadcasts_and_is_float32() -> None:
    m = model()
    observed, signal = torch.full((2, 1, 5), 400.0).double(), torch.linspace(200, 900, 3)[:, None]
    log_p = m.log_prob(observed=observed, signal=signal)
    assert log_p.shape == (2, 3, 5)
    assert log_p.dtype == torch.float32
    torch.testing.assert_close(log_p, m.log_prob(observed.expand(2, 3, 5), signal.expand(2, 3, 5)))
    half = m.log_prob(torch.tensor(400.0).bfloat16(), torch.tensor(400.0).bfloat16())
    assert half.dtype == torch.float32


def test_a_noise_model_is_frozen() -> None:
    assert list(model().parameters()) == []


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize("s", [LOW - 50, 300.0, HIGH])
def test_samples_have_the_moments_of_the_density(s: float) -> None:
    m = model(1)
    n = 200_000
    y = m.sample(torch.full((n,), s), torch.Generator().manual_seed(0)).double() - s
    variance = m.variance(torch.tensor(s)).item()
    assert y.mean().abs() < 5 * math.sqrt(variance / n)
    fourth = (y**4).mean().item()
    assert y.var().item() == pytest.approx(variance, abs=5 * math.sqrt((fourth - variance**2) / n))


def test_samples_are_distributed_as_the_density() -> None:
    m = model(2)
    s, n = 650.0, 100_000
    y = m.sample(torch.full((n,), s), torch.Generator().manual_seed(1)).double().numpy()
    mu, var, alpha = (part[0] for part in reference(m, np.array([s])))
    y.sort()
    z = (y[:, None] - mu) / np.sqrt(2 * var)
    erf = torch.special.erf(torch.from_numpy(z)).numpy()
    cdf = (alpha * 0.5 * (1 + erf)).sum(axis=1)
    distance = np.abs(cdf - (np.arange(n) + 0.5) / n).max()
    assert distance < 2.7 / math.sqrt(n)  # Kolmogorov-Smirnov at a level of 1e-6


def test_samples_depend_on_the_generator_alone() -> None:
    m, s = model(), torch.full((50,), 400.0)
    torch.manual_seed(1)
    first = m.sample(s, torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    torch.testing.assert_close(m.sample(s, torch.Generator().manual_seed(7)), first)
    assert not torch.equal(m.sample(s, torch.Generator().manual_seed(8)), first)


# ---------------------------------------------------------------- construction


@pytest.mark.parametrize(
    ("weight", "low", "high", "floor"),
    [
        (np.zeros((4, 2)), 0, 1, 0.1),  # rows no multiple of 3
        (np.zeros(6), 0, 1, 0.1),
        (np.zeros((0, 2)), 0, 1, 0.1),
        (np.zeros((3, 0)), 0, 1, 0.1),
        (np.full((3, 2), np.nan), 0, 1, 0.1),
        (np.zeros((3, 2)), 1, 1, 0.1),
        (np.zeros((3, 2)), 2, 1, 0.1),
        (np.zeros((3, 2)), float("nan"), 1, 0.1),
        (np.zeros((3, 2)), 0, float("inf"), 0.1),
        (np.zeros((3, 2)), 0, 1, -0.1),
        (np.zeros((3, 2)), 0, 1, float("nan")),
    ],
)
def test_impossible_parameters_are_refused(
    weight: Any, low: float, high: float, floor: float
) -> None:
    with pytest.raises(ValueError, match=r"shape|finite"):
        GaussianMixture(weight, low, high, floor)


# ---------------------------------------------------------------- the exchange file


def test_file_round_trip(tmp_path: Path) -> None:
    about = {"source": "clean", "gaussian_sigma": 3400.5, "poisson_factor": 1000.0}
    written = GaussianMixture(model().weight.numpy(), 12.3, 45678.9, 0.125, about)
    path = tmp_path / "ER.npz"
    path.write_bytes(written.to_bytes())
    read = GaussianMixture.load(path)
    for name, value in written.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value, rtol=0, atol=0)
    assert read.about == about
    assert read.to_bytes() == path.read_bytes()


def test_file_has_the_four_keys_that_others_read(tmp_path: Path) -> None:
    """As HDN and PPN2V read it: ``np.load(path)``, arrays by name, first elements."""
    path = tmp_path / "model.npz"
    path.write_bytes(model().to_bytes())
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == {"trained_weight", "min_signal", "max_signal", "min_sigma"}
        assert archive["trained_weight"].shape == (18, 4)
        assert archive["min_signal"][0] == LOW
        assert archive["max_signal"][0] == HIGH
        assert float(archive["min_sigma"]) == 0.125


def foreign(path: Path, **changes: Any) -> Path:
    """A file as HDN writes it."""
    arrays: dict[str, Any] = {
        "trained_weight": model(4, components=3, coefficients=2).weight.numpy(),
        "min_signal": np.array([LOW], dtype=np.float32),
        "max_signal": np.array([HIGH], dtype=np.float32),
        "min_sigma": np.float64(50.0),
    }
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_file_of_another_program_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    limits = {
        "min_signal": np.full(shape, LOW, dtype=np.float32),
        "max_signal": np.full(shape, HIGH, dtype=np.float32),
    }
    m = GaussianMixture.load(foreign(tmp_path / "hdn.npz", **limits))
    assert m.components == 3
    assert m.about == {}
    assert m.min_variance.item() == 50.0
    torch.testing.assert_close(m.weight, model(4, components=3, coefficients=2).weight)
    s = np.array([200.0, 900.0])
    expected = reference_log_density(m, s + 10, s)
    log_p = m.log_prob(tensor(s + 10), tensor(s)).numpy()
    np.testing.assert_allclose(log_p, expected, rtol=1e-5)


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "executed")


def bad_file(kind: str, path: Path) -> None:
    """Write one of the files that must be refused."""
    whole = foreign(path).read_bytes()
    trap = np.array([Trap(path.parent / "trap")], dtype=object)
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("sigma = 3\n")
    elif kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "damaged":
        path.write_bytes(whole[:200] + bytes(b ^ 255 for b in whole[200:260]) + whole[260:])
    elif kind == "damaged, compressed":
        with np.load(path) as archive:
            arrays = dict(archive)
        np.savez_compressed(path, **arrays)
        packed = path.read_bytes()
        path.write_bytes(packed[:100] + bytes(b ^ 255 for b in packed[100:160]) + packed[160:])
    elif kind == "npy":
        with path.open("wb") as stream:
            np.save(stream, np.zeros(3))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(path.parent / "trap")))
    elif kind == "object array":
        foreign(path, trained_weight=trap)
    elif kind == "object array beside":
        foreign(path, about_source=trap)
    elif kind == "no arrays":
        with zipfile.ZipFile(path, "w") as archive:
            for key in ("trained_weight", "min_signal", "max_signal", "min_sigma"):
                archive.writestr(key, "1.0")
    elif kind == "no key":
        foreign(path, max_signal=None)
    elif kind == "shape":
        foreign(path, trained_weight=np.zeros((4, 2)))
    elif kind == "words":
        foreign(path, trained_weight=np.full((3, 2), "word"))
    elif kind == "empty limit":
        foreign(path, min_signal=np.zeros(0))
    elif kind == "not a number":
        foreign(path, trained_weight=np.full((3, 2), np.nan))
    elif kind == "swapped":
        foreign(path, min_signal=np.array([HIGH]), max_signal=np.array([LOW]))
    elif kind == "nan floor":
        foreign(path, min_sigma=np.array(np.nan))
    else:
        raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "folder",
        "empty",
        "text",
        "cut",
        "damaged",
        "damaged, compressed",
        "npy",
        "pickle",
        "object array",
        "object array beside",
        "no arrays",
        "no key",
        "shape",
        "words",
        "empty limit",
        "not a number",
        "swapped",
        "nan floor",
    ],
)
def test_other_files_are_refused_in_one_line_and_not_executed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.npz"
    bad_file(kind, path)
    with pytest.raises(InputError) as caught:
        GaussianMixture.load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    if kind == "no key":
        assert "max_signal" in text
    if kind == "missing":
        assert "no such file" in text
    assert not (tmp_path / "trap").exists()
