"""The variational splitting encoder-decoder (VSE), whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoisplit.network.blocks import ResBlock
from denoisplit.network.decoder import Decoder, Latent, ToGaussian
from denoisplit.network.encoder import Encoder


class Decoded(NamedTuple):
    """A training pass: output planes (B, planes, Y, X), normalised, and the latents per level."""

    output: Tensor
    latents: list[Latent]


class VSE(nn.Module):
    """A ladder VAE whose output is not its input: one superposed image in, its structures out.

    denoiSplit, Altered muSplit and (with one structure) HDN are this network with other settings
    (paper, section 3 and supplement). Randomness is an argument: one eps per level.

    Parameters
    ----------
    structures : int
        C, the number of structures.
    log_variance : bool
        Also predict a log-variance per structure: 2C planes, means first.
    filters, latents : int
        F feature channels and Z latent channels of every level.
    levels : int
        L; the total stride is ``2 ** levels``.
    blocks_per_level, final_blocks : int
        Residual blocks of each level of encoder and decoder, and at full size before the output.
    dropout : float
        Probability of the channel dropout in every residual block.
    patch : int
        Side of the training patch in px. It sizes the learned top prior, so the KL exists at this
        size only; prediction works at every multiple of the total stride.
    variance, log_variance_max
        See `ToGaussian`.
    first_kernel : int
        Side of the first convolution, px; odd. The original HDN has 5.
    """

    # statistics of the training data, raw intensity units, stored with the weights
    input_mean: Tensor  # ()
    input_std: Tensor  # ()
    target_mean: Tensor  # (C,)
    target_std: Tensor  # (C,)

    def __init__(
        self,
        structures: int = 2,
        *,
        log_variance: bool = False,
        filters: int = 64,
        latents: int = 128,
        levels: int = 4,
        blocks_per_level: int = 1,
        final_blocks: int = 1,
        dropout: float = 0.1,
        patch: int = 128,
        variance: str = "soft_exp",
        log_variance_max: float | None = 20.0,
        first_kernel: int = 3,
    ) -> None:
        super().__init__()
        self.structures = structures
        self.latents = latents
        self.stride = self._total_stride(levels)
        self.patch = patch
        if patch % self.stride:
            raise ValueError(
                f"patch is {patch} px, expected a multiple of the total stride {self.stride}"
            )
        planes = 2 * structures if log_variance else structures
        gauss = ToGaussian(variance, log_variance_max)
        self.encoder = Encoder(filters, levels, blocks_per_level, dropout, first_kernel)
        self.decoder = Decoder(
            filters, latents, levels, blocks_per_level, dropout, gauss, patch >> levels
        )
        self.final = nn.Sequential(*(ResBlock(filters, dropout) for _ in range(final_blocks)))
        self.output = nn.Conv2d(filters, planes, 3, padding=1)
        self.register_buffer("input_mean", torch.zeros(()))
        self.register_buffer("input_std", torch.ones(()))
        self.register_buffer("target_mean", torch.zeros(structures))
        self.register_buffer("target_std", torch.ones(structures))

    def _total_stride(self, levels: int) -> int:
        """What the sides of an image have to be multiples of, px."""
        return 1 << levels

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(Z, h, w) of every level, level 0 first, for an input of ``height x width`` px."""
        halvings = range(1, self.stride.bit_length())
        return [(self.latents, height >> n, width >> n) for n in halvings]

    def encode(self, x: Tensor) -> list[Tensor]:
        """Normalised images (B, 1, Y, X) -> features of every level, (B, F, Y/2^(i+1), X/2^(i+1)).

        Raises
        ------
        ValueError
            If Y or X is no multiple of the total stride.
        """
        if x.shape[-2] % self.stride or x.shape[-1] % self.stride:
            raise ValueError(
                f"image is {x.shape[-2]} x {x.shape[-1]} px, "
                f"expected multiples of the total stride {self.stride}; pad it"
            )
        features: list[Tensor] = self.encoder(x)
        return features

    def decode(self, features: Sequence[Tensor], eps: Sequence[Tensor]) -> Tensor:
        """One posterior sample: features and standard normal eps per level -> (B, planes, Y, X).

        ``eps[i]`` is (B, Z, h_i, w_i) or broadcastable to it. The prior is not computed.
        Normalised target units; the first C planes are the means.
        """
        out: Tensor = self.output(self.final(self.decoder(features, eps)))
        return out

    def forward(self, x: Tensor, eps: Sequence[Tensor]) -> Decoded:
        """A training pass, with posteriors and priors for the KL; x is (B, 1, P, P), normalised."""
        t, latents = self.decoder.with_latents(self.encode(x), eps)
        return Decoded(self.output(self.final(t)), latents)

    def means(self, output: Tensor) -> Tensor:
        """The C mean planes of an output, (B, planes, Y, X) -> (B, C, Y, X)."""
        return output[:, : self.structures]

    def normalise(self, raw: Tensor) -> Tensor:
        """Raw superposed intensities -> network input."""
        return (raw - self.input_mean) / self.input_std

    def normalise_targets(self, raw: Tensor) -> Tensor:
        """Raw structures (B, C, Y, X) -> normalised target units."""
        return (raw - self.target_mean[:, None, None]) / self.target_std[:, None, None]

    def to_raw(self, means: Tensor) -> Tensor:
        """Mean planes (B, C, Y, X) in normalised target units -> raw intensities, float32."""
        return means.float() * self.target_std[:, None, None] + self.target_mean[:, None, None]
