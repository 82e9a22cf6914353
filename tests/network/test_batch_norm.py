"""Moments of batches: those of a prediction's network, and nothing else is changed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from denoisplit.network.batch_norm import batch_moments


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(0.5), nn.Conv2d(4, 2, 3),
        nn.BatchNorm2d(2),
    )  # fmt: skip


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [3 + scale * torch.randn(8, 1, 12, 12, generator=generator) for scale in (1, 2, 5)]


def test_measured_moments_are_the_mean_over_the_batches() -> None:
    model = network().eval()
    weights = [p.clone() for p in model.parameters()]
    model[1].running_mean.fill_(100.0)
    with torch.no_grad(), batch_moments(model, measure=True):
        for batch in batches():
            model(batch)
    with torch.no_grad():
        found = [model[0](batch) for batch in batches()]
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in found]).mean(dim=0)
    variances = torch.stack([x.var(dim=(0, 2, 3)) for x in found]).mean(dim=0)
    torch.testing.assert_close(model[1].running_mean, means)
    torch.testing.assert_close(model[1].running_var, variances)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), weights, strict=True))
    assert not any(module.training for module in model.modules())
    assert (model[1].momentum, model[1].track_running_stats) == (0.1, True)


def test_the_same_batches_give_the_same_moments_whatever_was_before() -> None:
    states = []
    for number in (0.0, 5.0):
        model = network().eval()
        model[1].running_mean.fill_(number)
        torch.manual_seed(int(number))  # dropout, which draws from here, stays off
        with torch.no_grad(), batch_moments(model, measure=True):
            for batch in batches():
                model(batch)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_without_measuring_the_running_moments_are_kept() -> None:
    model = network().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batch = batches()[2]
    with torch.no_grad():
        running = model(batch)
        with batch_moments(model, measure=False):
            by_batch = model(batch)
        torch.testing.assert_close(model(batch), running)
    torch.testing.assert_close(by_batch.mean(dim=(0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
    assert (running - by_batch).abs().max() > 0.1
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_an_error_inside_leaves_the_modes_as_they_were() -> None:
    model = network().eval()
    with pytest.raises(KeyError), batch_moments(model, measure=True):
        raise KeyError
    assert not any(module.training for module in model.modules())
    assert model[4].momentum == 0.1
