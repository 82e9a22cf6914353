"""Top-down half: features and noise -> latents -> the full-size feature map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from denoisplit.network.blocks import Merge, ResBlock, Sizes, Up


class Gaussian(NamedTuple):
    """Diagonal Gaussian: mean and variance, float32, each broadcastable to (B, Z, h, w)."""

    mean: Tensor
    var: Tensor


class Latent(NamedTuple):
    """Posterior, prior, draw and noise of one level, for the objective."""

    posterior: Gaussian
    prior: Gaussian
    z: Tensor
    eps: Tensor


def soft_exp(x: Tensor) -> Tensor:
    """Return ``exp(x)`` below 0 and ``1 + x`` above: positive, with a continuous slope."""
    return torch.where(x > 0, 1 + x, torch.exp(x.clamp(max=0)))


class ToGaussian(nn.Module):
    """Mean and variance of a diagonal Gaussian from a feature map.

    Parameters
    ----------
    variance : {"soft_exp", "exp"}
        ``soft_exp(l) + 1e-6`` (denoiSplit, muSplit) or ``exp(l)`` (HDN).
    log_variance_max : float or None
        Upper clip of the raw log-variance, beyond which the gradient is 0; None for no clip.
    """

    def __init__(self, variance: str, log_variance_max: float | None) -> None:
        super().__init__()
        if variance not in ("soft_exp", "exp"):
            raise ValueError(f"variance is {variance!r}, expected 'soft_exp' or 'exp'")
        self.variance = variance
        self.log_variance_max = log_variance_max

    def forward(self, parameters: Tensor) -> Gaussian:
        """Map (B, 2Z, h, w) to a Gaussian of (B, Z, h, w), float32 under any autocast."""
        mean, log_var = parameters.float().chunk(2, dim=1)
        if self.log_variance_max is not None:
            log_var = log_var.clamp(max=self.log_variance_max)
        var = torch.exp(log_var) if self.variance == "exp" else soft_exp(log_var) + 1e-6
        return Gaussian(mean, var)


class TopLevel(nn.Module):
    """Coarsest level: no level above, a learned prior of the training patch's size."""

    def __init__(self, sizes: Sizes, gauss: ToGaussian, side: int) -> None:
        super().__init__()
        filters, latents = sizes.filters, sizes.latents
        self.gauss = gauss
        self.prior_parameters = nn.Parameter(torch.zeros(1, 2 * latents, side, side))
        self.posterior_conv = nn.Conv2d(filters, 2 * latents, 3, padding=1)
        self.latent_out = nn.Conv2d(latents, filters, 3, padding=1)
        self.up = _up(sizes)

    def prior(self) -> Gaussian:
        """Return p(z), (1, Z, P/2^L, P/2^L): it exists for the training patch only."""
        prior: Gaussian = self.gauss(self.prior_parameters)
        return prior

    def posterior(self, features: Tensor) -> Gaussian:
        """Return q(z | x), (B, Z, h, w)."""
        posterior: Gaussian = self.gauss(self.posterior_conv(features))
        return posterior

    def descend(self, z: Tensor) -> Tensor:
        """Map latents (B, Z, h, w) to (B, F, 2h, 2w)."""
        t: Tensor = self.up(self.latent_out(z))
        return t


class Level(nn.Module):
    """Level below the top; ``t`` is the output of the level above, (B, F, h, w)."""

    def __init__(self, sizes: Sizes, gauss: ToGaussian) -> None:
        super().__init__()
        filters, latents, dropout = sizes.filters, sizes.latents, sizes.dropout
        self.gauss = gauss
        self.prior_conv = nn.Conv2d(filters, 2 * latents, 3, padding=1)
        self.posterior_merge = Merge(filters, dropout)
        self.posterior_conv = nn.Conv2d(filters, 2 * latents, 3, padding=1)
        self.latent_out = nn.Conv2d(latents, filters, 3, padding=1)
        self.skip_merge = Merge(filters, dropout)
        self.up = _up(sizes)

    def prior(self, t: Tensor) -> Gaussian:
        """Return p(z | levels above), (B, Z, h, w)."""
        prior: Gaussian = self.gauss(self.prior_conv(t))
        return prior

    def posterior(self, features: Tensor, t: Tensor) -> Gaussian:
        """Return q(z | x, levels above), (B, Z, h, w)."""
        posterior: Gaussian = self.gauss(self.posterior_conv(self.posterior_merge(features, t)))
        return posterior

    def descend(self, z: Tensor, t: Tensor) -> Tensor:
        """Map latents (B, Z, h, w) and ``t`` (B, F, h, w) to (B, F, 2h, 2w)."""
        out: Tensor = self.up(self.skip_merge(self.latent_out(z), t))
        return out


def _up(sizes: Sizes) -> nn.Sequential:
    """Return the blocks of a level, the first of which doubles the side."""
    filters, dropout = sizes.filters, sizes.dropout
    return nn.Sequential(
        Up(filters, dropout), *(ResBlock(filters, dropout) for _ in range(sizes.blocks - 1))
    )


def draw(posterior: Gaussian, eps: Tensor) -> Tensor:
    """Return the reparametrised draw ``mean + sqrt(var) * eps``."""
    return posterior.mean + torch.sqrt(posterior.var) * eps


class Decoder(nn.Module):
    """Top-down pass of the ladder; the prior is computed only where the objective needs it.

    Parameters
    ----------
    levels : iterable of Level
        Levels below the top; level 0 (the finest) first, as in the encoder's features.
    top : TopLevel
    """

    def __init__(self, levels: Iterable[Level], top: TopLevel) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)
        self.top = top

    def _descending(self) -> list[tuple[int, Level]]:
        """Return the levels below the top with their index, coarsest first."""
        return list(enumerate(cast("list[Level]", list(self.levels))))[::-1]

    def forward(self, features: Sequence[Tensor], eps: Sequence[Tensor]) -> Tensor:
        """Map features and eps of every level, level 0 first, to (B, F, Y, X)."""
        t: Tensor = self.top.descend(draw(self.top.posterior(features[-1]), eps[-1]))
        for i, level in self._descending():
            t = level.descend(draw(level.posterior(features[i], t), eps[i]), t)
        return t

    def with_latents(
        self, features: Sequence[Tensor], eps: Sequence[Tensor]
    ) -> tuple[Tensor, list[Latent]]:
        """Return the output of ``forward``, and the latents of every level, level 0 first."""
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
