"""The small U-Net: what it maps to what, and how far it sees."""

from __future__ import annotations

import torch

from denoisplit.noise2void import UNet
from denoisplit.noise2void.unet import RADIUS, STRIDE


def seen(net: UNet, side: int, y: int, x: int) -> torch.Tensor:
    """Which input pixels an output pixel depends on, (side, side) bool."""
    for name, weight in net.named_parameters():
        weight.data.fill_(0.0 if name.endswith("bias") else 0.01)  # nothing cancels
    image = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    net.double()(image)[0, 0, y, x].backward()
    assert image.grad is not None
    return image.grad[0, 0] != 0


def test_the_stated_radius_is_how_far_it_sees() -> None:
    net = UNet(1)
    side = 4 * (RADIUS // STRIDE + 1) * STRIDE
    reach = 0
    for offset in range(STRIDE):
        y = side // 2 + offset
        rows, columns = torch.nonzero(seen(net, side, y, y), as_tuple=True)
        reach = max(reach, *(int((index - y).abs().max()) for index in (rows, columns)))
    assert reach == RADIUS


def test_every_level_doubles_the_filters() -> None:
    net = UNet(4)
    widths = [convs[0].out_channels for convs in net.encoder]  # type: ignore[index,union-attr]
    assert widths == [4, 8, 16]
    assert net(torch.zeros(2, 1, 8, 12)).shape == (2, 1, 8, 12)


def test_a_fresh_network_keeps_the_scale() -> None:
    """Neither dead nor exploding without BatchNorm."""
    torch.manual_seed(0)
    spread = torch.stack([UNet(16)(torch.randn(1, 1, 32, 32)).std() for _ in range(5)])
    assert 0.1 < spread.median() < 3
