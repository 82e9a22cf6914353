"""The likelihood of training: value and gradient are those of the mixture as it is defined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from denoisplit.noise_models import gmm_likelihood as likelihood
from denoisplit.noise_models.gmm import mixture
from denoisplit.noise_models.gmm_likelihood import log_density

LOW, SPAN, FLOOR = 100.0, 1000.0, 0.125
LIMITS = tuple(torch.tensor(v, dtype=torch.float64) for v in (LOW, SPAN, FLOOR))


def weights(components: int, coefficients: int, seed: int = 0) -> Tensor:
    """Float64, of the size that a fit to camera counts has."""
    rng = np.random.default_rng(seed)
    a, b, d = (rng.normal(m, s, (components, coefficients)) for m, s in ((0, 8), (4, 1), (0, 1)))
    return torch.as_tensor(np.concatenate((a, b, d)))


def pairs(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Observations and signals, these also outside the fitted range."""
    rng = np.random.default_rng(seed)
    signal = rng.uniform(LOW - 300, LOW + SPAN + 300, count)
    return torch.as_tensor(signal + rng.normal(0, 20, count)), torch.as_tensor(signal)


def by_definition(observed: Tensor, signal: Tensor, weight: Tensor) -> Tensor:
    t = ((signal - LOW) / SPAN).clamp(0, 1)
    return mixture(weight, t, FLOOR).log_density(observed - signal)


@pytest.mark.parametrize(("components", "coefficients"), [(6, 4), (3, 2), (1, 2), (2, 1), (1, 1)])
def test_value_and_gradients_are_those_of_the_definition(
    components: int, coefficients: int
) -> None:
    weight = weights(components, coefficients)
    found, expected = [], []
    for density, to in ((log_density, found), (by_definition, expected)):
        observed, signal = (x.requires_grad_() for x in pairs(3000))
        limits = LIMITS if density is log_density else ()
        value = density(observed, signal, weight, *limits)
        value.square().sum().backward()  # every pixel has another gradient behind it
        to += [value.detach(), observed.grad, signal.grad]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_floor_of_the_variance_has_no_slope() -> None:
    weight = weights(3, 4)
    weight[3:6] -= 5  # the floor holds over a part of the range
    low, span, _ = LIMITS
    floor = torch.tensor(0.5, dtype=torch.float64)
    observed, signal = pairs(2000)
    t = ((signal - LOW) / SPAN).clamp(0, 1)
    held = mixture(weight, t, 0.0).var < floor
    assert 0.1 < held.double().mean() < 0.9
    slopes = []
    for plain in (True, False):
        s = signal.clone().requires_grad_()
        if plain:
            t = ((s - LOW) / SPAN).clamp(0, 1)
            mixture(weight, t, floor).log_density(observed - s).sum().backward()
        else:
            log_density(observed, s, weight, low, span, floor).sum().backward()
        slopes.append(s.grad)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-8, atol=1e-7)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = weights(3, 4).float()
    limits = [x.float() for x in LIMITS]
    results = []
    for chunk in (1000, 10**6):
        monkeypatch.setattr(likelihood, "CACHE_CHUNK", chunk)
        observed, signal = (x.float().reshape(2, 1, 50, 47) for x in pairs(4700))
        signal.requires_grad_()
        value = log_density(observed, signal, weight, *limits)
        value.sum().backward()
        assert value.shape == signal.grad.shape == (2, 1, 50, 47)
        results.append((value.detach(), signal.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


def test_far_tails_keep_value_and_slope_in_float32() -> None:
    weight = weights(3, 4)
    found = []
    for dtype in (torch.float32, torch.float64):
        signal = torch.full((4,), 500.0, dtype=dtype, requires_grad=True)
        observed = torch.tensor([-4e4, 0.0, 2e3, 6e4], dtype=dtype)
        value = log_density(observed, signal, weight.to(dtype), *(x.to(dtype) for x in LIMITS))
        value.sum().backward()
        found.append((value.detach().double(), signal.grad.double()))
    for a, b in zip(*found, strict=True):
        assert (b.abs() > 1).all()
        torch.testing.assert_close(a, b, rtol=1e-4, atol=0)


def test_nothing_to_evaluate_is_no_error() -> None:
    weight, limits = weights(3, 4).float(), [x.float() for x in LIMITS]
    assert log_density(torch.empty(0), torch.empty(0), weight, *limits).shape == (0,)
