"""Log density of a Gaussian mixture with its gradient, for training.

Equals `denoisplit.noise_models.gmm`, but the derivative by the signal is computed in closed form in
the forward pass, so that nothing of the size of components times pixels is kept for the backward
pass. Chunks of pixels fit into the cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
CACHE_CHUNK = 16384  # pixels whose intermediate values fit into the cache of a CPU core


def log_density(
    observed: Tensor, signal: Tensor, weight: Tensor, low: Tensor, span: Tensor, floor: Tensor
) -> Tensor:
    """Log density log p(observed | signal), both of one shape, float32; differentiable in both.

    Parameters
    ----------
    observed, signal : Tensor
        Raw units.
    weight : Tensor (3J, M)
        Coefficients of the mixture as in the exchange file.
    low, span, floor : Tensor
        Start and width of the fitted range, and least variance of a component; raw units.
    """
    limits = (low, span, floor)
    return cast(Tensor, _LogDensity.apply(observed, signal, weight, *limits))  # type: ignore[no-untyped-call]


class _LogDensity(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, observed: Tensor, signal: Tensor, weight: Tensor, *limits: Tensor
    ) -> Tensor:
        a, b, d = weight.chunk(3)
        coefficients = torch.cat((a, b.exp(), d))
        wanted = tuple(ctx.needs_input_grad[:2])
        if any(wanted):
            orders = torch.arange(weight.shape[1], device=weight.device)
            slopes = (coefficients * orders).roll(-1, dims=1)  # that of the constant is 0, and last
            coefficients = torch.cat((coefficients, slopes))
        # the value, and the slopes by observation and signal where they are wanted
        results = [signal.new_empty(signal.shape if w else 0) for w in (True, *wanted)]
        size = CACHE_CHUNK if signal.device.type == "cpu" else signal.numel()
        y, s, *flat = (x.reshape(-1) for x in (observed, signal, *results))
        for start in range(0, len(s), max(1, size)):
            part = slice(start, start + size)
            out = [f[part] for f in flat]
            _chunk(out, y[part], s[part], coefficients, limits, wanted)
        ctx.save_for_backward(*(r for r, w in zip(results[1:], wanted, strict=True) if w))
        return results[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes = iter(ctx.saved_tensors)
        wanted = ctx.needs_input_grad[:2]
        by_input = [gradients[0] * next(slopes) if needed else None for needed in wanted]
        return (*by_input, None, None, None, None)


def _chunk(
    out: Sequence[Tensor],
    y: Tensor,
    s: Tensor,
    coefficients: Tensor,
    limits: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
) -> None:
    """Write log density and its slopes by observation and signal to ``out``, where wanted."""
    low, span, floor = limits
    unclamped = (s - low) / span
    t = unclamped.clamp(0, 1)
    powers = [torch.ones_like(t)]
    for _ in range(1, coefficients.shape[1]):
        powers.append(powers[-1] * t)
    # components first, so that sums over them are sums of rows
    rows = coefficients @ torch.stack(powers)
    offset, var, logit, *slopes = rows.chunk(6 if any(wanted) else 3)
    above = var >= floor
    var = var.clamp(min=floor)

    top = logit.amax(dim=0)
    share = (logit - top).exp_()
    total = share.sum(dim=0)
    share /= total
    mean = (share * offset).sum(dim=0)
    residual = (y - s) + mean - offset
    scaled = residual / var
    square = residual * scaled
    joint = logit - 0.5 * (square + var.log())
    peak = joint.amax(dim=0)
    weight = (joint - peak).exp_()
    inside = weight.sum(dim=0)
    out[0][:] = (peak - top) + (inside.log() - total.log()) - HALF_LOG_2PI
    if not any(wanted):
        return

    weight /= inside  # of each component, given the observation
    pull = (weight * scaled).sum(dim=0)
    if wanted[0]:
        out[1][:] = -pull
    if not wanted[1]:
        return
    offset_slope, var_slope, logit_slope = slopes
    mean_logit = (share * logit_slope).sum(dim=0)
    mean_slope = (share * ((logit_slope - mean_logit) * offset + offset_slope)).sum(dim=0)
    by_var = (square - 1).mul_(0.5).div_(var).mul_(var_slope).mul_(above)
    by_range = (weight * (logit_slope + scaled * offset_slope + by_var)).sum(dim=0)
    by_range -= pull * mean_slope + mean_logit
    # beyond the range the mixture is constant
    out[2][:] = pull + torch.where(t == unclamped, by_range / span, 0.0)
