"""A small U-Net of known receptive field, for images of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEPTH = 2  # number of halvings
STRIDE: int = 2**DEPTH  # total stride, px
# receptive field to either side, px: two convolutions per level each way, and the pooled cells
RADIUS = 4 * (STRIDE - 1) + 2 * STRIDE + STRIDE - 1
LEAKY_SLOPE = 0.1


class Convs(nn.Sequential):
    """Twice [3x3 conv, leaky ReLU], (B, inputs, Y, X) -> (B, outputs, Y, X)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            conv = nn.Conv2d(channels, outputs, 3, padding=1)
            # preserves the variance from layer to layer, in the absence of BatchNorm
            nn.init.kaiming_normal_(conv.weight, a=LEAKY_SLOPE)
            layers += [conv, nn.LeakyReLU(LEAKY_SLOPE, inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with skip connections, (B, 1, Y, X) -> (B, 1, Y, X).

    There is no BatchNorm: batch statistics would let every pixel see the whole patch, and training
    and prediction would compute different functions. The network pools by means and upsamples by
    nearest neighbours; neither prefers some pixels of a cell, which would show as a checkerboard in
    blind-spot training (Höck et al. 2022).

    Parameters
    ----------
    filters : int
        F, feature channels at full resolution; they double at every level.
    """

    def __init__(self, filters: int = 32) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(DEPTH + 1)]
        self.encoder = nn.ModuleList(
            Convs(a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True)
        )
        # from the deepest level up; channels are reduced before upsampling, where it is cheap
        upwards = list(reversed(widths[:-1]))
        self.narrow = nn.ModuleList(nn.Conv2d(2 * w, w, 1) for w in upwards)
        self.decoder = nn.ModuleList(Convs(2 * w, w) for w in upwards)
        self.output = nn.Conv2d(filters, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to images; Y and X must be multiples of `STRIDE`."""
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
