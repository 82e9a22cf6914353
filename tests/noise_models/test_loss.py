"""The loss of a fit: the log density of the mixture, a penalty, and their derivative."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from denoisplit.noise_models.gmm import mixture
from denoisplit.noise_models.loss import VARIANCE_WEIGHT, Loss


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("pairs", [100, 50_000])  # of few pairs no variance is known
def test_value_and_slope_are_those_of_the_definition(components: int, pairs: int) -> None:
    rng = np.random.default_rng(components)
    t = rng.beta(1, 3, pairs)
    t[:2] = 0, 1
    u = rng.normal(0, 0.5 + t)
    loss = Loss.of(t, u, u, floor=0.5, coefficients=4)
    assert (loss.known is None) == (pairs == 100)
    weight = torch.from_numpy(rng.normal(0, 0.3, (3 * components, 4)))
    # the floor holds over a part of the range
    weight[components : 2 * components] = torch.tensor([0.3, 0.1, 0.4, 0.3]).log()
    weight[components : 2 * components, 0] += 0.1 * torch.arange(components)
    weight.requires_grad_()

    at = mixture(weight, loss.powers[1], loss.floor)
    held = (at.var == loss.floor).double().mean()
    assert 0.05 < held < 0.95
    density = at.log_density(loss.u)
    expected = -(loss.share * density).sum()
    if loss.known is not None:
        signal, share, variance, counts = map(torch.from_numpy, loss.known)
        modelled = share @ mixture(weight, signal, loss.floor).variance()
        expected = expected + VARIANCE_WEIGHT * (counts * torch.log(modelled / variance) ** 2).sum()
    expected.backward()

    value, slope = loss.value_and_slope(weight.detach())
    assert value == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(slope, weight.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss.log_density(weight.detach()), density.detach())
