"""Muon: an optimiser whose steps of a convolution are as long in all directions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
FEWEST = 8  # rows and columns of a matrix; a step of fewer directions is one of Adam
# the other parameters: share of the learning rate, decays of the moments, least denominator
OTHERS, MEAN, SQUARE, LEAST = 0.1, 0.9, 0.99, 1e-8
QUINTIC = (3.4445, -4.7750, 2.0315)  # takes singular values of 0.001 to 1 to about 1, in 5 steps


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised for each convolution (Jordan et al. 2024), beside Adam for the rest.

    The kernel of a convolution is a matrix (outputs, inputs x Y x X). A step has the directions of
    its momentum, but all singular values are about 1: weak directions are learnt as fast as strong
    ones, which halves the steps to a given error and more; see benchmarks/README.md.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        Length of a step along each direction.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float) -> None:
        groups: list[dict[str, Any]] = [
            {"params": [], "orthogonal": True},
            {"params": [], "orthogonal": False, "steps": 0},
        ]
        for parameter in parameters:
            is_matrix = parameter.ndim == 4 and min(_sides(parameter)) >= FEWEST
            groups[0 if is_matrix else 1]["params"].append(parameter)
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            if group["orthogonal"]:
                self._orthogonal(parameters, group["lr"])
            else:
                group["steps"] += 1
                self._adam(parameters, group["lr"] * OTHERS, group["steps"])
        return loss

    def _moments(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        for parameter in parameters:
            self.state[parameter].setdefault(name, torch.zeros_like(parameter))
        return [self.state[parameter][name] for parameter in parameters]

    def _orthogonal(self, parameters: list[Tensor], lr: float) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        means = self._moments("mean", parameters)
        torch._foreach_lerp_(means, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, means, MOMENTUM)  # as Nesterov's
        alike = defaultdict(list)  # convolutions of the same size are orthogonalised together
        for parameter, direction in zip(parameters, ahead, strict=True):
            alike[_sides(parameter)].append((parameter, direction))
        for (rows, columns), pairs in alike.items():
            steps = orthogonalised(torch.stack([d.reshape(rows, columns) for _, d in pairs]))
            length = lr * max(1.0, rows / columns) ** 0.5
            for (parameter, _), step in zip(pairs, steps, strict=True):
                parameter.sub_(step.reshape(parameter.shape), alpha=length)

    def _adam(self, parameters: list[Tensor], lr: float, steps: int) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        means, squares = self._moments("mean", parameters), self._moments("square", parameters)
        torch._foreach_lerp_(means, gradients, 1 - MEAN)
        torch._foreach_mul_(squares, SQUARE)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - SQUARE)
        scale = torch._foreach_sqrt(torch._foreach_div(squares, 1 - SQUARE**steps))
        torch._foreach_add_(scale, LEAST)
        torch._foreach_addcdiv_(parameters, means, scale, -lr / (1 - MEAN**steps))


def _sides(parameter: Tensor) -> tuple[int, int]:
    """Return rows and columns of a kernel as a matrix."""
    return len(parameter), parameter[0].numel()


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return matrices (N, rows, columns) with the same directions and singular values of about 1.

    Newton-Schulz iterations, which need products alone; singular values end between 0.7 and 1.2
    unless they are below a thousandth of the root of the sum of their squares.
    """
    a, b, c = QUINTIC
    rows, columns = matrices.shape[1:]
    x = matrices.mT if rows > columns else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + torch.finfo(x.dtype).tiny)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = x.mT if rows > columns else x
    return result
