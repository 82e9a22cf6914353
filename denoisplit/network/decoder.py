"""Top-down half: features and noise -> latents -> the full-size feature map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from denoisplit.network.blocks import Merge, ResBlock, Up


class Gaussian(NamedTuple):
    """A diagonal Gaussian: mean and variance, float32, each (B, Z, h, w) or broadcastable to it."""

    mean: Tensor
    var: Tensor


class Latent(NamedTuple):
    """What the objective needs of one level: posterior, prior, the draw and its noise."""

    posterior: Gaussian
    prior: Gaussian
    z: Tensor
    eps: Tensor


def soft_exp(x: Tensor) -> Tensor:
    """``exp(x)`` below 0, ``1 + x`` above: positive, continuous, with continuous slope."""
    return torch.where(x > 0, 1 + x, torch.exp(x.clamp(max=0)))


class ToGaussian(nn.Module):
    """Read a feature map as mean and variance of a diagonal Gaussian.

    Parameters
    ----------
    variance : {"soft_exp", "exp"}
        ``soft_exp(l) + 1e-6`` (denoiSplit, muSplit) or ``exp(l)`` (HDN).
    log_variance_max : float or None
        The raw log-variance is clipped from above here (no gradient beyond), None for no clip.
    """

    def __init__(self, variance: str, log_variance_max: float | None) -> None:
        super().__init__()
        if variance not in ("soft_exp", "exp"):
            raise ValueError(f"variance is {variance!r}, expected 'soft_exp' or 'exp'")
        self.variance = variance
        self.log_variance_max = log_variance_max

    def forward(self, parameters: Tensor) -> Gaussian:
        """(B, 2Z, h, w) -> Gaussian of (B, Z, h, w), in float32 under any autocast."""
        mean, log_var = parameters.float().chunk(2, dim=1)
        if self.log_variance_max is not None:
            log_var = log_var.clamp(max=self.log_variance_max)
        var = torch.exp(log_var) if self.variance == "exp" else soft_exp(log_var) + 1e-6
        return Gaussian(mean, var)


class TopLevel(nn.Module):
    """The coarsest level: no level above, a learned prior of the training patch's size."""

    def __init__(
        self, filters: int, latents: int, blocks: int, dropout: float, gauss: ToGaussian, side: int
    ) -> None:
        super().__init__()
        self.gauss = gauss
        self.prior_parameters = nn.Parameter(torch.zeros(1, 2 * latents, side, side))
        self.posterior_conv = nn.Conv2d(filters, 2 * latents, 3, padding=1)
        self.latent_out = nn.Conv2d(latents, filters, 3, padding=1)
        self.up = _up(filters, blocks, dropout)

    def prior(self) -> Gaussian:
        """p(z) of the top, (1, Z, P/2^L, P/2^L): it exists at the training size only."""
        prior: Gaussian = self.gauss(self.prior_parameters)
        return prior

    def posterior(self, features: Tensor) -> Gaussian:
        """q(z | x), (B, Z, h, w)."""
        posterior: Gaussian = self.gauss(self.posterior_conv(features))
        return posterior

    def descend(self, z: Tensor) -> Tensor:
        """(B, Z, h, w) -> (B, F, 2h, 2w)."""
        t: Tensor = self.up(self.latent_out(z))
        return t


class Level(nn.Module):
    """A level below the top. ``t`` is the output of the level above, (B, F, h, w)."""

    def __init__(
        self, filters: int, latents: int, blocks: int, dropout: float, gauss: ToGaussian
    ) -> None:
        super().__init__()
        self.gauss = gauss
        self.prior_conv = nn.Conv2d(filters, 2 * latents, 3, padding=1)
        self.posterior_merge = Merge(filters, dropout)
        self.posterior_conv = nn.Conv2d(filters, 2 * latents, 3, padding=1)
        self.latent_out = nn.Conv2d(latents, filters, 3, padding=1)
        self.skip_merge = Merge(filters, dropout)
        self.up = _up(filters, blocks, dropout)

    def prior(self, t: Tensor) -> Gaussian:
        """p(z | levels above), (B, Z, h, w)."""
        prior: Gaussian = self.gauss(self.prior_conv(t))
        return prior

    def posterior(self, features: Tensor, t: Tensor) -> Gaussian:
        """q(z | x, levels above), (B, Z, h, w)."""
        posterior: Gaussian = self.gauss(self.posterior_conv(self.posterior_merge(features, t)))
        return posterior

    def descend(self, z: Tensor, t: Tensor) -> Tensor:
        """(B, Z, h, w) and (B, F, h, w) -> (B, F, 2h, 2w)."""
        out: Tensor = self.up(self.skip_merge(self.latent_out(z), t))
        return out


def _up(filters: int, blocks: int, dropout: float) -> nn.Sequential:
    """The first block of a level resamples, the others are plain."""
    return nn.Sequential(
        Up(filters, dropout), *(ResBlock(filters, dropout) for _ in range(blocks - 1))
    )


def draw(posterior: Gaussian, eps: Tensor) -> Tensor:
    """The reparametrised draw ``mean + sqrt(var) * eps``, in training and prediction alike."""
    return posterior.mean + torch.sqrt(posterior.var) * eps


class Decoder(nn.Module):
    """Top-down pass of the ladder; the prior is computed only where the objective asks for it.

    Each level lies in a list with level 0 (the finest) first, as the encoder's features do.
    """

    def __init__(
        self,
        filters: int,
        latents: int,
        levels: int,
        blocks_per_level: int,
        dropout: float,
        gauss: ToGaussian,
        top_side: int,
    ) -> None:
        super().__init__()
        sizes = (filters, latents, blocks_per_level, dropout)
        self.levels = nn.ModuleList(Level(*sizes, gauss) for _ in range(levels - 1))
        self.top = TopLevel(*sizes, gauss, top_side)

    def _descending(self) -> list[tuple[int, Level]]:
        """The levels below the top with their index, coarsest first."""
        return list(enumerate(cast("list[Level]", list(self.levels))))[::-1]

    def forward(self, features: Sequence[Tensor], eps: Sequence[Tensor]) -> Tensor:
        """Features and eps of every level, level 0 first -> (B, F, Y, X)."""
        t: Tensor = self.top.descend(draw(self.top.posterior(features[-1]), eps[-1]))
        for i, level in self._descending():
            t = level.descend(draw(level.posterior(features[i], t), eps[i]), t)
        return t

    def with_latents(
        self, features: Sequence[Tensor], eps: Sequence[Tensor]
    ) -> tuple[Tensor, list[Latent]]:
        """As ``forward``, and what the KL needs of every level, level 0 first."""
        posterior = self.top.posterior(features[-1])
        z = draw(posterior, eps[-1])
        latents = [Latent(posterior, self.top.prior(), z, eps[-1])]
        t: Tensor = self.top.descend(z)
        for i, level in self._descending():
            posterior, prior = level.posterior(features[i], t), level.prior(t)
            z = draw(posterior, eps[i])
            latents.append(Latent(posterior, prior, z, eps[i]))
            t = level.descend(z, t)
        return t, latents[::-1]
