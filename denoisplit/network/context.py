"""Lateral contextualisation: muSplit's network, which also sees the frame around its patch.

Ashesh et al. (2023), the baseline of the paper. Plane 0 of the input is the patch; plane k has the
same side and shows the frame around the centre of the patch, scaled down by 2^k.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from denoisplit.network.blocks import Merge, Sizes
from denoisplit.network.decoder import Decoder, Gaussian, Level, ToGaussian, TopLevel
from denoisplit.network.encoder import Encoder, first_block
from denoisplit.network.vse import VSE

SCALED_FROM = 5  # levels, from which on deep context scales the features of its posteriors
CONTEXTS = ("lean", "regular", "deep")


def centre_crop(x: Tensor, side: int) -> Tensor:
    """Return the middle (B, F, side, side) of square maps, or smaller maps as they are."""
    start = (x.shape[-1] - side) // 2
    return x if start <= 0 else x[..., start : start + side, start : start + side]


def centre_pad(x: Tensor, side: int) -> Tensor:
    """Return square maps with zeros around them, (B, F, side, side)."""
    before = (side - x.shape[-1]) // 2
    after = side - x.shape[-1] - before
    return nn.functional.pad(x, (before, after, before, after))


class ContextEncoder(Encoder):
    """Bottom-up half with context: plane k joins at level k - 1, which keeps the side of the patch.

    Parameters
    ----------
    planes : int
        n, planes of the input, patch included; at most ``levels + 1``.
    cropped : bool
        Lean: the decoder gets each level's middle, of the side that it has without context.
    """

    def __init__(self, sizes: Sizes, first_kernel: int, *, planes: int, cropped: bool) -> None:
        super().__init__(sizes, first_kernel)
        filters, dropout = sizes.filters, sizes.dropout
        self.cropped = cropped
        self.context_first = nn.ModuleList(
            first_block(filters, dropout, 5) for _ in range(planes - 1)
        )
        # the published network has one at every level, also where no plane arrives
        self.context_merge = nn.ModuleList(Merge(filters, dropout) for _ in range(sizes.levels))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map patches (B, n, P, P), normalised, to features of every level, level 0 first."""
        side = x.shape[-1]
        h = self.first(x[:, :1])
        features = []
        for i, level in enumerate(self.levels):
            h = level(h)
            if i < len(self.context_first):
                context = self.context_first[i](x[:, i + 1 : i + 2])
                # the plain blocks of a level are the same for patch and context
                for block in list(level)[1:]:  # type: ignore[call-overload]
                    context = block(context)
                h = self.context_merge[i](centre_pad(h, side), context)
            features.append(centre_crop(h, side >> (i + 1)) if self.cropped else h)
        return features


class RetainedTop(TopLevel):
    """Coarsest level, which passes down the middle of its features.

    Parameters
    ----------
    retained : int
        Side of the middle, px of the level.
    factor : float
        Scale of the features of the posterior.
    """

    def __init__(
        self, sizes: Sizes, gauss: ToGaussian, side: int, *, retained: int, factor: float
    ) -> None:
        super().__init__(sizes, gauss, side)
        self.retained, self.factor = retained, factor

    def posterior(self, features: Tensor) -> Gaussian:
        """Return q(z | x), (B, Z, h, w)."""
        return super().posterior(features * self.factor)

    def descend(self, z: Tensor) -> Tensor:
        """Map latents (B, Z, h, w) to (B, F, 2h', 2w') of the middle (h', w')."""
        t: Tensor = self.up(centre_crop(self.latent_out(z), self.retained))
        return t


class RetainedLevel(Level):
    """Level below the top, which passes down the middle of its features; see `RetainedTop`."""

    def __init__(self, sizes: Sizes, gauss: ToGaussian, *, retained: int, factor: float) -> None:
        super().__init__(sizes, gauss)
        self.retained, self.factor = retained, factor

    def posterior(self, features: Tensor, t: Tensor) -> Gaussian:
        """Return q(z | x, levels above), (B, Z, h, w)."""
        u = self.posterior_merge(features, t) * self.factor
        posterior: Gaussian = self.gauss(self.posterior_conv(u))
        return posterior

    def descend(self, z: Tensor, t: Tensor) -> Tensor:
        """Map latents (B, Z, h, w) and ``t`` to (B, F, 2h', 2w') of the middle (h', w')."""
        v = centre_crop(self.skip_merge(self.latent_out(z), t), self.retained)
        out: Tensor = self.up(v)
        return out


class ContextVSE(VSE):
    """muSplit with lateral contextualisation; the side of the patch is part of the model.

    Parameters
    ----------
    structures : int
    planes : int
        n, planes of the input: the patch and n - 1 of its surroundings.
    context : {"lean", "regular", "deep"}
        Lean: latents as without context. Regular: latents of the context too. Deep: as regular,
        made for 8 levels.
    levels : int
    **settings
        See `VSE`.
    """

    supports_content_noise = False

    def __init__(
        self,
        structures: int = 2,
        *,
        planes: int = 3,
        context: str = "regular",
        levels: int = 4,
        **settings: Any,
    ) -> None:
        if context not in CONTEXTS:
            raise ValueError(f"context is {context!r}, expected one of {', '.join(CONTEXTS)}")
        if not 2 <= planes <= levels + 1:
            raise ValueError(f"planes is {planes}, expected 2 to {levels + 1} for {levels} levels")
        self.input_planes, self.context = planes, context
        super().__init__(structures, levels=levels, **settings)

    def _encoder(self, sizes: Sizes, first_kernel: int) -> Encoder:
        lean = self.context == "lean"
        return ContextEncoder(sizes, first_kernel, planes=self.input_planes, cropped=lean)

    def _decoder(self, sizes: Sizes, gauss: ToGaussian) -> Decoder:
        if self.context == "lean":
            return super()._decoder(sizes, gauss)
        scaled = self.context == "deep" and sizes.levels >= SCALED_FROM
        *factors, factor = (math.sqrt(2 * (1 + i)) if scaled else 1.0 for i in range(sizes.levels))
        retained, side = self.patch // 2, self.patch >> self.halvings[-1]
        levels = [RetainedLevel(sizes, gauss, retained=retained, factor=f) for f in factors]
        return Decoder(levels, RetainedTop(sizes, gauss, side, retained=retained, factor=factor))

    @property
    def fixed_patch(self) -> int:
        """Side of the only patch that the network takes, px."""
        return self.patch

    @property
    def has_unused_parameters(self) -> bool:
        """Whether a training pass leaves parameters without a gradient; see `ContextEncoder`."""
        return self.input_planes <= len(self.halvings)
