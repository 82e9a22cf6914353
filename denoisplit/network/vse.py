"""Variational splitting encoder-decoder (VSE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoisplit.network.blocks import ResBlock, Sizes
from denoisplit.network.decoder import Decoder, Latent, Level, ToGaussian, TopLevel
from denoisplit.network.encoder import Encoder
from denoisplit.network.mean_correction import MeanCorrection
from denoisplit.network.stride import halvings, total_stride


class Decoded(NamedTuple):
    """Result of a training pass: normalised planes (B, planes, Y, X), latents of every level."""

    output: Tensor
    latents: list[Latent]


class VSE(nn.Module):
    """Ladder VAE whose output is not its input: one superposed image in, its structures out.

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
        Side of the training patch, px. The learned top prior has its size, so the KL exists at
        this size only; prediction works at every multiple of the total stride.
    variance, log_variance_max
        See `ToGaussian`.
    first_kernel : int
        Side of the first convolution, px; odd. The original HDN has 5.

    Attributes
    ----------
    stride : int
        Total stride, px: the sides of an input are multiples of it.
    input_planes : int
        Planes of an input: the patch, and more for the frame around it.
    denoiser : Denoiser or None
        Network that whole frames pass first; see ``needs_denoised_input``.
    mean_correction : MeanCorrection or None
        Of the decoded means, where one was fitted after the training.
    """

    # statistics of the training data, raw intensity units, stored with the weights
    input_mean: Tensor  # ()
    input_std: Tensor  # ()
    target_mean: Tensor  # (C,)
    target_std: Tensor  # (C,)

    input_planes = 1
    context: str | None = None  # use of further planes
    supports_content_noise = True  # whether noise can be addressed by image content
    needs_denoised_input = False

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
        self.patch = patch
        self.halvings = halvings(levels, self.input_planes, self.context)
        self.stride = total_stride(levels, self.input_planes, self.context)
        if patch % self.stride:
            raise ValueError(
                f"patch is {patch} px, expected a multiple of the total stride {self.stride}"
            )
        self.denoiser: Denoiser | None = None
        self.mean_correction: MeanCorrection | None = None
        sizes = Sizes(filters, latents, levels, blocks_per_level, dropout)
        self.encoder = self._encoder(sizes, first_kernel)
        self.decoder = self._decoder(sizes, ToGaussian(variance, log_variance_max))
        self.final = nn.Sequential(*(ResBlock(filters, dropout) for _ in range(final_blocks)))
        self.output = nn.Conv2d(filters, structures * (2 if log_variance else 1), 3, padding=1)
        self.register_buffer("input_mean", torch.zeros(()))
        self.register_buffer("input_std", torch.ones(()))
        self.register_buffer("target_mean", torch.zeros(structures))
        self.register_buffer("target_std", torch.ones(structures))

    def _encoder(self, sizes: Sizes, first_kernel: int) -> Encoder:
        return Encoder(sizes, first_kernel)

    def _decoder(self, sizes: Sizes, gauss: ToGaussian) -> Decoder:
        levels = [Level(sizes, gauss) for _ in range(sizes.levels - 1)]
        return Decoder(levels, TopLevel(sizes, gauss, self.patch >> self.halvings[-1]))

    @property
    def fixed_patch(self) -> int | None:
        """Side of the only patch that the network takes, px; None if it takes any size."""
        return None

    @property
    def supports_tiling(self) -> bool:
        """Whether a tile with a halo gives what the whole frame gives."""
        return self.fixed_patch is None

    @property
    def has_unused_parameters(self) -> bool:
        """Whether a training pass leaves parameters without a gradient."""
        return False

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (Z, h, w) of every level, level 0 first, for an input of ``height x width`` px."""
        return [(self.latents, height >> n, width >> n) for n in self.halvings]

    def encode(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 1, Y, X) to features of every level, (B, F, Y/2^(i+1), X/2^(i+1)).

        Raises
        ------
        ValueError
            If Y or X is not a multiple of the total stride.
        """
        if x.shape[-2] % self.stride or x.shape[-1] % self.stride:
            raise ValueError(
                f"image is {x.shape[-2]} x {x.shape[-1]} px, "
                f"expected multiples of the total stride {self.stride}; pad it"
            )
        features: list[Tensor] = self.encoder(x)
        return features

    def decode(self, features: Sequence[Tensor], eps: Sequence[Tensor]) -> Tensor:
        """Return a posterior sample (B, planes, Y, X) from features and eps of every level.

        ``eps[i]`` is standard normal noise, (B, Z, h_i, w_i) or broadcastable to it. The prior is
        not computed. Normalised target units; the first C planes are the means.
        """
        out: Tensor = self.output(self.final(self.decoder(features, eps)))
        return out

    def decoded_means(self, features: Sequence[Tensor], raw: Tensor) -> Tensor:
        """Return the output for eps = 0 at every level, corrected where a correction was fitted.

        Parameters
        ----------
        features : sequence of Tensor
            Of every level.
        raw : Tensor (B, 1, Y, X)
            Frame that was encoded, raw intensity.

        Returns
        -------
        Tensor (B, C, Y, X)
            Raw intensities, float32.
        """
        zero = 0 * self.input_mean  # a traced graph creates no tensor
        means = self.means(self.decode(features, [zero] * len(self.halvings)))
        if self.mean_correction is not None:
            means = means.float()
            means = means + self.mean_correction(self.normalise(raw), means)
        return self.to_raw(means)

    def forward(self, x: Tensor, eps: Sequence[Tensor]) -> Decoded:
        """Return output, posteriors and priors of normalised patches (B, 1, P, P)."""
        t, latents = self.decoder.with_latents(self.encode(x), eps)
        return Decoded(self.output(self.final(t)), latents)

    def means(self, output: Tensor) -> Tensor:
        """Return the C mean planes of an output, (B, planes, Y, X) -> (B, C, Y, X)."""
        return output[:, : self.structures]

    def normalise(self, raw: Tensor) -> Tensor:
        """Map raw superposed intensities to the network's input."""
        return (raw - self.input_mean) / self.input_std

    def normalise_targets(self, raw: Tensor) -> Tensor:
        """Map raw structures (B, C, Y, X) to normalised target units."""
        return (raw - self.target_mean[:, None, None]) / self.target_std[:, None, None]

    def to_raw(self, means: Tensor) -> Tensor:
        """Map mean planes (B, C, Y, X) in normalised target units to raw intensities, float32."""
        return means.float() * self.target_std[:, None, None] + self.target_mean[:, None, None]


class Denoiser(nn.Module):
    """Network that whole frames pass before they are split: its posterior mean is what is split.

    Parameters
    ----------
    network : VSE
        One structure: the superposed input; raw intensities in and out.
    samples : int
        Posterior samples per mean.
    tile, halo : int
        Side of a tile's core and context margin around it, px.
    """

    def __init__(self, network: VSE, *, samples: int, tile: int, halo: int) -> None:
        super().__init__()
        self.network = network
        self.samples, self.tile, self.halo = samples, tile, halo
