"""A small U-Net of known receptive field, for images of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SLOPE = 0.1  # of the leaky ReLU


class Convs(nn.Sequential):
    """Twice [3x3 conv, leaky ReLU], (B, inputs, Y, X) -> (B, outputs, Y, X)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            conv = nn.Conv2d(channels, outputs, 3, padding=1)
            # keeps the variance from layer to layer, which no BatchNorm does here
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
            layers += [conv, nn.LeakyReLU(SLOPE, inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with skip connections, (B, 1, Y, X) -> (B, 1, Y, X).

    No BatchNorm: statistics of a batch would let every pixel see the whole patch, and leave a
    different function in training and prediction. Means instead of maxima on the way down, and
    nearest neighbours on the way up: neither prefers some pixels of a cell, which shows as a
    checkerboard in blind-spot training (Höck et al. 2022).

    Parameters
    ----------
    filters : int
        F, feature channels at full size; they double at every level.
    depth : int
        Number of halvings; the total stride is ``2 ** depth``.
    """

    def __init__(self, filters: int = 32, depth: int = 2) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(depth + 1)]
        self.stride: int = 2**depth
        self.encoder = nn.ModuleList(
            Convs(a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True)
        )
        # from the deepest level up: fewer channels while the image is still small, then the join
        upwards = list(reversed(widths[:-1]))
        self.narrow = nn.ModuleList(nn.Conv2d(2 * w, w, 1) for w in upwards)
        self.decoder = nn.ModuleList(Convs(2 * w, w) for w in upwards)
        self.output = nn.Conv2d(filters, 1, 1)

    @property
    def radius(self) -> int:
        """How far an output pixel sees, px: 2 convolutions per level each way, and the cells."""
        return 4 * (self.stride - 1) + 2 * self.stride + self.stride - 1

    def forward(self, x: Tensor) -> Tensor:
        """Y and X are multiples of the total stride."""
        skips: list[Tensor] = []
        for convs in self.encoder:
            if skips:
                x = nn.functional.avg_pool2d(x, 2)
            x = convs(x)
            skips.append(x)
        skips.pop()
        for narrow, convs in zip(self.narrow, self.decoder, strict=True):
            x = nn.functional.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = convs(torch.cat((skips.pop(), x), dim=1))
        out: Tensor = self.output(x)
        return out
