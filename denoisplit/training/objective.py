"""Training objective: data terms, two forms of the KL divergence, free bits (paper, Eqs 2 to 4).

Everything here runs in float32 or better, whatever the precision of the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from denoisplit.network.decoder import Latent

LOG_VARIANCE_MIN = -5.0  # of the predicted log-variance in the Gaussian data term


class Loss(NamedTuple):
    """Value of the objective and its terms, in nats per pixel."""

    total: Tensor  # data + (beta / C) * kl
    data: Tensor  # R: mean over batch, structures and pixels of -log likelihood
    kl: Tensor  # the KL term without its weight
    kl_levels: Tensor  # (L,) batch mean of the KL of each level in nats, level 0 first


class Density(Protocol):
    """The part of a noise model that the data term needs."""

    def log_prob(self, observed: Tensor, signal: Tensor) -> Tensor:
        """Return log p(observed | signal), elementwise."""
        ...


def gaussian_nll(target: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the negative log-likelihood per pixel of a Gaussian with predicted log-variance.

    The data term of muSplit and Altered muSplit. All arrays are (B, C, Y, X) in normalised target
    units; a log-variance below -5 counts as -5.
    """
    lv = log_variance.float().clamp(min=LOG_VARIANCE_MIN)
    squared = (target.float() - mean.float()) ** 2
    return 0.5 * (squared * torch.exp(-lv) + lv + math.log(2 * math.pi))


def noise_model_nll(observed: Tensor, signal: Tensor, models: Sequence[Density]) -> Tensor:
    """Return the negative log-likelihood per pixel under one noise model per structure.

    The data term of denoiSplit and HDN. Observed and signal are (B, C, Y, X) in **raw** intensity.
    """
    observed, signal = observed.float(), signal.float()
    per_structure = [
        -model.log_prob(observed=observed[:, k], signal=signal[:, k])
        for k, model in enumerate(models)
    ]
    return torch.stack(per_structure, dim=1)


def data_term(nll: Tensor, raw_target: Tensor) -> Tensor:
    """Return R, the mean of the per-pixel ``nll`` (B, C, Y, X) over batch, structures and pixels.

    A sample whose raw target is 0 in all structures and pixels counts as 0; the divisor remains the
    full batch, as in the published runs.
    """
    recorded = (raw_target != 0).flatten(1).any(dim=1)
    return torch.where(recorded, nll.flatten(1).mean(dim=1), 0.0).mean()


def kl_one_sample(latent: Latent) -> Tensor:
    """Return ``log q(z) - log p(z)`` at the drawn z, (B, Z, h, w) in nats."""
    q, p = latent.posterior, latent.prior
    # (z - mean_q)^2 / var_q is eps^2 by construction: no difference of nearly equal numbers
    return 0.5 * (
        torch.log(p.var) - torch.log(q.var) + (latent.z - p.mean) ** 2 / p.var - latent.eps**2
    )


def kl_closed_form(latent: Latent) -> Tensor:
    """Return KL(q || p) per latent element, (B, Z, h, w) in nats."""
    q, p = latent.posterior, latent.prior
    ratio = q.var / p.var
    return 0.5 * (ratio - 1 - torch.log(ratio) + (q.mean - p.mean) ** 2 / p.var)


def kl_per_level(latents: Sequence[Latent], *, closed_form: bool) -> list[Tensor]:
    """Return the elementwise KL of every level, level 0 first, each (B, Z, h, w)."""
    kl = kl_closed_form if closed_form else kl_one_sample
    return [kl(latent) for latent in latents]


def kl_eq3(levels: Sequence[Tensor], *, free_bits: float = 0.0) -> Tensor:
    """Return the mean over levels of the mean KL per latent element (paper, Eq 3; muSplit)."""
    return torch.stack([_batch_mean(kl, free_bits) / kl[0].numel() for kl in levels]).mean()


def kl_eq4(levels: Sequence[Tensor], *, pixels: int, free_bits: float = 1.0) -> Tensor:
    """Return the summed KL per pixel of the input patch (paper, Eq 4; denoiSplit and HDN).

    ``free_bits`` in nats is the floor of the sum over each sample and level.
    """
    return torch.stack([_batch_mean(kl, free_bits) for kl in levels]).sum() / pixels


def mean_loss(losses: Sequence[Loss], sizes: Sequence[int]) -> Loss:
    """Return the loss of a batch from those of its parts, weighted by their numbers of crops."""
    if len(losses) == 1:
        return losses[0]
    shares = [size / sum(sizes) for size in sizes]

    def weighted(values: Sequence[Tensor]) -> Tensor:
        return torch.stack([s * value for s, value in zip(shares, values, strict=True)]).sum(dim=0)

    return Loss(*(weighted(values) for values in zip(*losses, strict=True)))


def _batch_mean(kl: Tensor, free_bits: float) -> Tensor:
    """Return the batch mean of the sum over each sample (B, Z, h, w), floored at the free bits."""
    sums = kl.flatten(1).sum(dim=1)
    # a one-sample estimate may be negative: without free bits, a floor would bias the mean
    return (sums.clamp(min=free_bits) if free_bits > 0 else sums).mean()


def combine(
    data: Tensor,
    latents: Sequence[Latent],
    *,
    structures: int,
    pixels: int,
    beta: float,
    kl_form: str,
    free_bits: float,
    closed_form: bool,
) -> Loss:
    """Return the whole objective, ``R + (beta / C) * KL`` (paper, Eq 2).

    R is a mean over the C structures, so ``beta = 1`` with Eq 4 is the exact evidence bound
    (divided by C), and ``beta = C`` is the balance of the published runs.

    Parameters
    ----------
    data : Tensor
        R, a scalar.
    latents : sequence of Latent
        One per level, level 0 first.
    structures : int
        C.
    pixels : int
        H * W of the input patch.
    kl_form : {"eq3", "eq4"}
    free_bits : float
        Floor of the KL in nats, per sample and level.
    closed_form : bool
        Use the closed-form KL, not its one-sample estimate.
    """
    levels = kl_per_level(latents, closed_form=closed_form)
    if kl_form == "eq3":
        kl = kl_eq3(levels, free_bits=free_bits)
    elif kl_form == "eq4":
        kl = kl_eq4(levels, pixels=pixels, free_bits=free_bits)
    else:
        raise ValueError(f"`kl_form` is {kl_form!r}; choose 'eq3' or 'eq4'")
    per_level = torch.stack([level.detach().flatten(1).sum(dim=1).mean() for level in levels])
    return Loss(data + beta / structures * kl, data, kl, per_level)
