"""Blocks of the network: gate, residual block, down, up, merge (paper, supplement)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Sizes(NamedTuple):
    """Sizes that encoder and decoder share."""

    filters: int  # F, feature channels of every level
    latents: int  # Z, latent channels of every level
    levels: int  # L
    blocks: int  # residual blocks of a level
    dropout: float  # probability of the channel dropout in every residual block


class Gate(nn.Module):
    """Gated activation ``ELU(a) * sigmoid(b)`` of a 1x1 convolution, (B, F, Y, X) -> same."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(filters, 2 * filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).chunk(2, dim=1)
        return nn.functional.elu(a) * torch.sigmoid(b)


class ResBlock(nn.Module):
    """Pre-activation residual block, (B, F, Y, X) -> same.

    Twice [BatchNorm, ELU, 3x3 convolution, Dropout2d], then a gate.
    """

    def __init__(self, filters: int, dropout: float, *, gated: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                nn.BatchNorm2d(filters),
                nn.ELU(inplace=True),
                nn.Conv2d(filters, filters, 3, padding=1),
                nn.Dropout2d(dropout),
            ]
        if gated:
            layers.append(Gate(filters))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Down(nn.Sequential):
    """Strided convolution and gated residual block, (B, F, Y, X) -> (B, F, Y/2, X/2)."""

    def __init__(self, filters: int, dropout: float) -> None:
        super().__init__(
            nn.Conv2d(filters, filters, 3, stride=2, padding=1), ResBlock(filters, dropout)
        )


class Up(nn.Sequential):
    """Transposed convolution and gated residual block, (B, F, Y, X) -> (B, F, 2Y, 2X)."""

    def __init__(self, filters: int, dropout: float) -> None:
        super().__init__(
            nn.ConvTranspose2d(filters, filters, 3, stride=2, padding=1, output_padding=1),
            ResBlock(filters, dropout),
        )


class Merge(nn.Module):
    """Concatenation of two feature maps, 1x1 convolution 2F -> F, gated residual block."""

    def __init__(self, filters: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * filters, filters, 1)
        self.block = ResBlock(filters, dropout)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = self.block(self.conv(torch.cat((a, b), dim=1)))
        return out
