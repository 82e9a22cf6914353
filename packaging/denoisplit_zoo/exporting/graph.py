"""Graphs of a package: raw superposed intensities in, raw intensities of the structures out.

Torch modules that can be traced. They draw no random numbers: eps is 0, or addressed by image
content, and the seed and the number of samples are fixed at construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from denoisplit.network.addressed_noise import (
    ContentKeys,
    channel_keys,
    normal_table,
    standard_normal,
)
from denoisplit.network.error_map import ErrorMap
from denoisplit.network.mean_correction import MeanCorrection
from denoisplit.network.vse import VSE
from denoisplit.prediction.moments import RunningMoments


class Moments(RunningMoments):
    """`RunningMoments` that start from a given zero, so that a traced graph creates no tensor."""

    def __init__(self, zero: Tensor) -> None:
        self.count = 0
        self.mean = self._squares = zero


class Splitter(nn.Module):
    """The network of a run, and the padding that it needs; the base of all graphs.

    Parameters
    ----------
    error_groups, error_coverages, error_filters : int
        Sizes of the error map: arguments of `ErrorMap`; 0 groups for none.
    mean_filters : int
        Feature channels of the correction of decoded means; 0 for none.
    log_variance_max : float, optional
        That of `VSE`. The zoo allows no None, so this is left out where there is no limit.
    **network
        Other arguments of `VSE`.
    """

    zero: Tensor  # ()
    error_map: ErrorMap

    def __init__(
        self,
        *,
        error_groups: int = 0,
        error_coverages: int = 0,
        error_filters: int = 0,
        mean_filters: int = 0,
        log_variance_max: float | None = None,
        **network: Any,
    ) -> None:
        super().__init__()
        self.network = VSE(log_variance_max=log_variance_max, **network)
        if error_groups:
            self.error_map = ErrorMap(
                self.network.structures,
                groups=error_groups,
                coverages=error_coverages,
                filters=error_filters,
            )
        if mean_filters:
            self.network.mean_correction = MeanCorrection(
                self.network.structures, filters=mean_filters
            )
        self.levels = len(self.network.latent_shapes(1, 1))
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, raw: Tensor) -> Tensor:
        """Return the output channels of raw images (B, 1, Y, X), of the same size, raw units."""
        height, width = raw.shape[-2:]
        padded = self.pad(raw)
        return self.outputs(padded, self.encode(padded))[..., :height, :width]

    def outputs(self, padded: Tensor, features: list[Tensor]) -> Tensor:
        """Return the output channels of a padded image (B, 1, Y, X) with its features."""
        raise NotImplementedError

    def pad(self, raw: Tensor) -> Tensor:
        """Reflect (B, 1, Y, X) at the right and the bottom up to multiples of the total stride."""
        height, width = raw.shape[-2:]
        beyond = (0, -width % self.network.stride, 0, -height % self.network.stride)
        return nn.functional.pad(raw, beyond, mode="reflect")

    def encode(self, padded: Tensor) -> list[Tensor]:
        """Return the features of every level of a padded image (B, 1, Y, X)."""
        features: list[Tensor] = self.network.encoder(self.network.normalise(padded))
        return features

    def decode(self, features: Sequence[Tensor], eps: Sequence[Tensor]) -> Tensor:
        """Return the structures (B, C, Y, X), raw units, for eps of every level."""
        return self.network.to_raw(self.network.means(self.network.decode(features, eps)))

    def decoded_means(self, padded: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Return the decoded means (B, C, Y, X) of a padded image with its features."""
        return self.network.decoded_means(features, padded)


class Sampler(Splitter):
    """Sampler of the posterior with content-addressed noise, which encodes the image once.

    Parameters
    ----------
    samples : int
        K, number of posterior samples.
    seed : int
        Seed of the samples; another seed gives other samples of the same posterior.
    antithetic : bool
        Draw samples in pairs eps, -eps.
    quantum : float
        Step to which raw intensities are quantised before they are hashed.
    **network
        Arguments of `VSE`.
    """

    table: Tensor  # (65536,) normal quantiles, stored with the weights to be equal everywhere
    channels: Tensor  # (draws, L, Z) keys of the latent channels, derived from the seed

    def __init__(
        self, *, samples: int, seed: int, antithetic: bool, quantum: float, **network: Any
    ) -> None:
        super().__init__(**network)
        self.samples = samples
        self.antithetic = antithetic
        self.content_keys = ContentKeys(self.levels, quantum)
        draws, latents = -(-samples // 2) if antithetic else samples, self.network.latents
        keys = [channel_keys(seed, d, i, latents) for d in range(draws) for i in range(self.levels)]
        self.register_buffer(
            "channels", torch.stack(keys).reshape(draws, self.levels, latents), persistent=False
        )
        self.register_buffer("table", normal_table().clone())

    def draw(self, padded: Tensor, features: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the samples (B, C, Y, X) of a padded image (B, 1, Y, X) with its features."""
        keys = self.content_keys(padded[:, 0])
        eps: list[Tensor] = []
        for k in range(self.samples):
            if self.antithetic and k % 2:
                eps = [-e for e in eps]
            else:
                channels = self.channels[k // 2 if self.antithetic else k]
                eps = [standard_normal(key, channels[i], self.table) for i, key in enumerate(keys)]
            yield self.decode(features, eps)

    def moments(self, padded: Tensor, features: Sequence[Tensor]) -> Moments:
        """Return the moments of the samples of a padded image (B, 1, Y, X) with its features."""
        moments = Moments(self.zero)
        for sample in self.draw(padded, features):
            moments.add(sample)
        return moments


class MeanAndStd(Sampler):
    """Posterior mean and scaled spread of the samples, (B, 1, Y, X) -> (B, 2C, Y, X), raw units.

    Parameters
    ----------
    **sampling
        Arguments of `Sampler`, with at least two samples.
    """

    calibration: Tensor  # (C, 1, 1) factors of the standard deviation, stored with the weights

    def __init__(self, **sampling: Any) -> None:
        super().__init__(**sampling)
        self.register_buffer("calibration", torch.ones(self.network.structures, 1, 1))

    def outputs(self, padded: Tensor, features: list[Tensor]) -> Tensor:
        """Return the means of the structures, then their standard deviations, in channel order."""
        moments = self.moments(padded, features)
        std = moments.std(antithetic=self.antithetic) * self.calibration
        return torch.cat((moments.mean, std), dim=1)


class MeanAndErrorMap(Sampler):
    """Posterior mean, and std by the error map, (B, 1, Y, X) -> (B, 2C, Y, X), raw units.

    The error map sees the decoded means, so it is the same whatever the number of samples.
    """

    def outputs(self, padded: Tensor, features: list[Tensor]) -> Tensor:
        """Return the means of the structures, then their standard deviations, in channel order."""
        std = self.error_map(padded, self.decoded_means(padded, features))
        mean = self.moments(padded, features).mean
        return torch.cat((mean, std), dim=1)


class Split(Sampler):
    """Posterior mean of each structure, (B, 1, Y, X) -> (B, C, Y, X), raw units."""

    def outputs(self, padded: Tensor, features: list[Tensor]) -> Tensor:
        """Return the means of the structures, in channel order."""
        return self.moments(padded, features).mean


class Samples(Sampler):
    """Posterior samples, (B, 1, Y, X) -> (B, K C, Y, X), raw units."""

    def outputs(self, padded: Tensor, features: list[Tensor]) -> Tensor:
        """Return all structures of the first sample, then of the second, and so on."""
        samples = list(self.draw(padded, features))
        return torch.cat(samples, dim=1)


class Fast(Splitter):
    """Decoded means, and std by the error map, (B, 1, Y, X) -> (B, 2C, Y, X), in one pass."""

    def outputs(self, padded: Tensor, features: list[Tensor]) -> Tensor:
        """Return the means of the structures, then their standard deviations, in channel order."""
        means = self.decoded_means(padded, features)
        return torch.cat((means, self.error_map(padded, means)), dim=1)


class Interval(Fast):
    """Decoded means and an interval around each, (B, 1, Y, X) -> (B, 3C, Y, X), in one pass.

    Parameters
    ----------
    number : int
        Which of the tabulated coverages of the error map.
    **network
        Arguments of `Fast`.
    """

    def __init__(self, *, number: int, **network: Any) -> None:
        super().__init__(**network)
        self.number = number

    def outputs(self, padded: Tensor, features: list[Tensor]) -> Tensor:
        """Return the means of the structures, their lower and their upper ends; raw units."""
        means = self.decoded_means(padded, features)
        half = self.error_map.half_width(self.number, means, self.error_map(padded, means))
        return torch.cat((means, means - half, means + half), dim=1)
