"""Lateral contextualisation: muSplit's network, which also sees the frame around its patch.

Ashesh et al. (2023), as used for the baseline of the paper. Plane 0 of the input is the patch;
plane k, of the same side, is what lies around its centre in the frame scaled down by 2^k.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from denoisplit.network.blocks import Merge
from denoisplit.network.decoder import Gaussian, Level, ToGaussian, TopLevel
from denoisplit.network.encoder import Encoder, first_block
from denoisplit.network.vse import VSE

MANY_LEVELS = 4  # from more on Deep-LC scales the features of its posteriors
CONTEXTS = ("lean", "regular", "deep")


def centre_crop(x: Tensor, side: int) -> Tensor:
    """The middle (B, F, side, side) of square maps; smaller ones stay as they are."""
    start = (x.shape[-1] - side) // 2
    return x if start <= 0 else x[..., start : start + side, start : start + side]


def centre_pad(x: Tensor, side: int) -> Tensor:
    """Square maps with zeros around them, (B, F, side, side)."""
    before = (side - x.shape[-1]) // 2
    after = side - x.shape[-1] - before
    return nn.functional.pad(x, (before, after, before, after))


class ContextEncoder(Encoder):
    """Bottom-up half with context: plane k joins at level k - 1, which keeps the side of the patch.

    Parameters
    ----------
    planes : int
        n of the input, patch included; at most ``levels + 1``.
    cropped : bool
        Lean: the decoder gets each level's middle, of the side that it has without context.
    """

    def __init__(
        self,
        filters: int,
        levels: int,
        blocks_per_level: int,
        dropout: float,
        first_kernel: int = 3,
        *,
        planes: int,
        cropped: bool,
    ) -> None:
        super().__init__(filters, levels, blocks_per_level, dropout, first_kernel)
        self.cropped = cropped
        self.context_first = nn.ModuleList(
            first_block(filters, dropout, 5) for _ in range(planes - 1)
        )
        # the published network has one at every level, also where no plane arrives
        self.context_merge = nn.ModuleList(Merge(filters, dropout) for _ in range(levels))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, n, P, P) normalised -> features of every level, level 0 first."""
        side = x.shape[-1]
        h = self.first(x[:, :1])
        features = []
        for i, level in enumerate(self.levels):
            h = level(h)
            if i < len(self.context_first):
                around = self.context_first[i](x[:, i + 1 : i + 2])
                # the plain blocks of a level are the same for patch and context
                for block in list(level)[1:]:  # type: ignore[call-overload]
                    around = block(around)
                h = self.context_merge[i](centre_pad(h, side), around)
            features.append(centre_crop(h, side >> (i + 1)) if self.cropped else h)
        return features


class RetainedTop(TopLevel):
    """The coarsest level; of what it passes down, the middle is kept."""

    retained: int  # side, px of the level
    factor = 1.0  # on the features of the posterior

    def posterior(self, features: Tensor) -> Gaussian:
        """q(z | x), (B, Z, h, w)."""
        posterior: Gaussian = self.gauss(self.posterior_conv(features * self.factor))
        return posterior

    def descend(self, z: Tensor) -> Tensor:
        """(B, Z, h, w) -> (B, F, 2h', 2w') of the middle (h', w')."""
        t: Tensor = self.up(centre_crop(self.latent_out(z), self.retained))
        return t


class RetainedLevel(Level):
    """A level below the top; of what it passes down, the middle is kept."""

    retained: int
    factor = 1.0  # on the features of the posterior

    def posterior(self, features: Tensor, t: Tensor) -> Gaussian:
        """q(z | x, levels above), (B, Z, h, w)."""
        u = self.posterior_merge(features, t) * self.factor
        posterior: Gaussian = self.gauss(self.posterior_conv(u))
        return posterior

    def descend(self, z: Tensor, t: Tensor) -> Tensor:
        """(B, Z, h, w) and (B, F, h, w) -> (B, F, 2h', 2w') of the middle (h', w')."""
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
    **settings
        See `VSE`.
    """

    def __init__(
        self, structures: int = 2, *, planes: int = 3, context: str = "regular", **settings: Any
    ) -> None:
        levels = settings.get("levels", 4)
        if context not in CONTEXTS:
            raise ValueError(f"context is {context!r}, expected one of {', '.join(CONTEXTS)}")
        if not 2 <= planes <= levels + 1:
            raise ValueError(f"planes is {planes}, expected 2 to {levels + 1} for {levels} levels")
        self.planes = planes
        self.context = context
        super().__init__(structures, **settings)
        lean = context == "lean"
        filters, dropout = self.output.in_channels, settings.get("dropout", 0.1)
        blocks = settings.get("blocks_per_level", 1)
        kernel = settings.get("first_kernel", 3)
        self.encoder = ContextEncoder(
            filters, levels, blocks, dropout, kernel, planes=planes, cropped=lean
        )
        if lean:
            return
        gauss: ToGaussian = self.decoder.top.gauss
        shape = (filters, self.latents, blocks, dropout, gauss)
        self.decoder.top = RetainedTop(*shape, self.latent_shapes(self.patch, self.patch)[-1][1])
        self.decoder.levels = nn.ModuleList(RetainedLevel(*shape) for _ in range(levels - 1))
        for i, level in enumerate([*self.decoder.levels, self.decoder.top]):
            level.retained = self.patch // 2
            if context == "deep" and levels > MANY_LEVELS:
                level.factor = math.sqrt(2 * (1 + i))

    def _total_stride(self, levels: int) -> int:
        """Without the levels that keep the side of the patch, n - 1 where not lean."""
        return 1 << levels if self.context == "lean" else max(4, 1 << (levels + 1 - self.planes))

    def latent_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(Z, h, w) of every level, level 0 first, for planes of ``height x width`` px."""
        halvings = [
            i + 1 if self.context == "lean" else max(0, i + 2 - self.planes)
            for i in range(len(self.encoder.levels))
        ]
        return [(self.latents, height >> n, width >> n) for n in halvings]
