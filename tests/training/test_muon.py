"""Muon: the directions of its steps, and Adam for the other parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from denoisplit.training.muon import MEAN, OTHERS, SQUARE, Muon, orthogonalised


@pytest.mark.parametrize("shape", [(32, 288), (64, 32), (8, 8)])
def test_directions_stay_and_their_lengths_become_alike(shape: tuple[int, int]) -> None:
    u, _, v = torch.linalg.svd(torch.randn(3, *shape), full_matrices=False)
    values = torch.logspace(0, -2, min(shape)).expand(3, -1)
    result = orthogonalised(u @ torch.diag_embed(values) @ v)
    between = u.mT @ result @ v.mT  # diagonal if the directions are the same
    lengths = between.diagonal(dim1=1, dim2=2)
    assert (between - torch.diag_embed(lengths)).abs().max() < 1e-3
    assert lengths.min() > 0.6 and lengths.max() < 1.25


def test_nothing_becomes_of_nothing() -> None:
    assert torch.equal(orthogonalised(torch.zeros(1, 8, 9)), torch.zeros(1, 8, 9))


def stepped(layer: nn.Module, gradients: list[Tensor], lr: float, steps: int = 1) -> list[Tensor]:
    """The changes of the parameters after some steps of the same gradients."""
    before = [p.detach().clone() for p in layer.parameters()]
    optimiser = Muon(layer.parameters(), lr=lr)
    for _ in range(steps):
        for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimiser.step()
    return [p.detach() - b for p, b in zip(layer.parameters(), before, strict=True)]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_step_of_a_convolution_has_its_length_whatever_the_gradient(transposed: bool) -> None:
    layer = (nn.ConvTranspose2d if transposed else nn.Conv2d)(8, 8, 3)
    layer.to(memory_format=torch.channels_last)
    gradients = [torch.randn_like(p) for p in layer.parameters()]
    small, large = (stepped(layer, [s * g for g in gradients], 0.1)[0] for s in (1e-3, 1e3))
    torch.testing.assert_close(small, large, rtol=1e-3, atol=1e-5)
    lengths = torch.linalg.svdvals(small.reshape(8, -1))
    assert lengths.min() > 0.06 and lengths.max() < 0.125
    assert torch.sum(small * gradients[0]) < 0


def test_the_other_parameters_are_those_of_adam() -> None:
    layer, adams = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
    gradients = [torch.randn(6) for _ in layer.parameters()]
    adam = torch.optim.Adam(adams.parameters(), lr=0.1 * OTHERS, betas=(MEAN, SQUARE))
    for _ in range(5):
        for parameter, gradient in zip(adams.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        adam.step()
    changes = stepped(layer, gradients, 0.1, steps=5)
    for change, parameter, start in zip(changes, adams.parameters(), (1.0, 0.0), strict=True):
        torch.testing.assert_close(start + change, parameter.detach())


def test_parameters_without_a_gradient_stay() -> None:
    layer = nn.Conv2d(8, 8, 3)
    before = [p.detach().clone() for p in layer.parameters()]
    optimiser = Muon(layer.parameters(), lr=0.1)
    optimiser.step()
    assert all(torch.equal(p, b) for p, b in zip(layer.parameters(), before, strict=True))
    assert optimiser.param_groups[1]["steps"] == 0
