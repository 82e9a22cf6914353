"""Correction of decoded means: their expected difference to the mean of posterior samples.

The mean of a function of the latents is not the function of their mean: decoded means lie up to a
few grey levels beside the mean of samples. How much depends on what the frame shows nearby.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RADIUS = 8  # px, of the receptive field
DILATIONS = (1, 1, 2, 4)  # of 3 x 3 convolutions: their sum is the radius
MOST_FILTERS = 1024


def local_layers(inputs: int, outputs: int, filters: int) -> nn.Sequential:
    """Return convolutions of unpadded planes, (B, inputs, Y + 2 RADIUS, X + 2 RADIUS) -> (Y, X)."""
    layers: list[nn.Module] = []
    channels = inputs
    for dilation in DILATIONS:
        layers += [nn.Conv2d(channels, filters, 3, dilation=dilation), nn.ELU()]
        channels = filters
    return nn.Sequential(*layers, nn.Conv2d(filters, outputs, 1))


def in_float32(layers: nn.Sequential, planes: Tensor) -> Tensor:
    """Return the output of layers that may have another precision, (B, n, Y, X) float32 -> same."""
    out: Tensor = layers(planes.to(next(layers.parameters()).dtype))
    return out.float()


class MeanCorrection(nn.Module):
    """Expected difference of the mean of samples and the decoded means; normalised units.

    Parameters
    ----------
    structures : int
        C.
    filters : int
        Feature channels.
    """

    def __init__(self, structures: int, *, filters: int = 16) -> None:
        super().__init__()
        self.structures, self.filters = structures, filters
        self.layers = local_layers(1 + structures, structures, filters)
        last = self.layers[-1]
        for value in last.parameters():  # nothing is corrected before it is trained
            nn.init.zeros_(value)

    def forward(self, x: Tensor, means: Tensor) -> Tensor:
        """Return what to add to decoded means.

        Parameters
        ----------
        x : Tensor (B, 1, Y, X)
            Frame that was split, as the network sees it.
        means : Tensor (B, C, Y, X)
            Its decoded means, in normalised target units.
        """
        planes = nn.functional.pad(torch.cat((x, means), dim=1), (RADIUS,) * 4, mode="replicate")
        return in_float32(self.layers, planes)


def mean_correction_of(state: dict[str, Tensor], structures: int) -> MeanCorrection:
    """Build a mean correction from its state dict, ready to use.

    Raises
    ------
    ValueError
        If tensors are missing, or of wrong shape or content.
    """
    bias = state.get("layers.0.bias")
    filters = 0 if bias is None else bias.numel()
    if not 0 < filters <= MOST_FILTERS:
        raise ValueError(f"its correction of means has {filters} filters")
    correction = MeanCorrection(structures, filters=filters)
    for name, value in correction.state_dict().items():
        given = state.get(name)
        if given is None or given.shape != value.shape:
            raise ValueError(f"it has no {name} of shape {tuple(value.shape)}")
        if not (given.is_floating_point() and torch.isfinite(given).all()):
            raise ValueError(f"{name} has values that are not finite numbers")
    correction.load_state_dict({name: state[name] for name in correction.state_dict()})
    return correction.eval().requires_grad_(False)
