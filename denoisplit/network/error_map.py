"""Learned error map: the expected error of every pixel of a split, and intervals around it.

A small network sees the frame and its decoded means, the output for ``eps = 0`` at every level. Its
variances are corrected, and turned into intervals, by continuous functions of the local intensity:
they are linear between the centres of the intensity groups, and constant outside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from denoisplit.network.mean_correction import RADIUS, in_float32, local_layers

BLUR = 2.0  # px, standard deviation of the blur that defines the local intensity
SIZED = ("layers.0.bias", "centres", "coverages")  # tensors whose last side is a size of the map
MOST = 1024  # of each size
POSITIVE = ("input_std", "target_std", "level", "correction", "quantiles")
LEAST = 1e-6  # variance, in units of target_std^2: no error bar is zero


def blur_kernel() -> Tensor:
    """Return a Gaussian of `BLUR` px, cut off at `RADIUS` px, as (2 RADIUS + 1,) weights."""
    at = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (at / BLUR) ** 2)
    return kernel / kernel.sum()


def local_intensity(means: Tensor, kernel: Tensor | None = None) -> Tensor:
    """Blur images (B, C, Y, X) by a Gaussian of `BLUR` px, cut off at `RADIUS` px.

    Pixels of unblurred means in dark background would be grouped by their noise.

    Parameters
    ----------
    means : Tensor (B, C, Y, X)
    kernel : Tensor (C, 2 RADIUS + 1), optional
        `blur_kernel` of each structure, where it is stored: a traced graph creates no tensor.
    """
    structures = means.shape[1]
    if kernel is None:
        kernel = blur_kernel().to(means.device).expand(structures, -1)
    x = nn.functional.pad(means, (RADIUS,) * 4, mode="replicate")
    x = nn.functional.conv2d(x, kernel[:, None, :, None], groups=structures)
    return nn.functional.conv2d(x, kernel[:, None, None, :], groups=structures)


class ErrorMap(nn.Module):
    """Standard deviation of the error of every pixel, and intervals; raw intensities in and out.

    Parameters
    ----------
    structures : int
        C.
    groups : int
        G, intensity groups per structure.
    coverages : int
        Q, tabulated coverages of the intervals; 0 for none.
    filters : int
        Feature channels.
    """

    # normalisation, raw intensity; copies of those of the splitting network
    input_mean: Tensor  # ()
    input_std: Tensor  # ()
    target_mean: Tensor  # (C,)
    target_std: Tensor  # (C,)
    level: Tensor  # (C,) usual variance, in units of target_std^2
    centres: Tensor  # (C, G) local intensity at the centres of the groups, raw intensity
    correction: Tensor  # (C, G) factors on the variance
    floor: Tensor  # (C, G) least variance, in units of target_std^2
    coverages: Tensor  # (Q,) shares of pixels inside an interval, rising
    quantiles: Tensor  # (Q, C, G) half-width of the interval, in units of the error bar
    kernel: Tensor  # (C, 2 RADIUS + 1) blur that defines the local intensity

    def __init__(
        self, structures: int, *, groups: int = 1, coverages: int = 0, filters: int = 16
    ) -> None:
        super().__init__()
        self.structures = structures
        self.layers = local_layers(1 + structures, structures, filters)
        self.register_buffer("input_mean", torch.zeros(()))
        self.register_buffer("input_std", torch.ones(()))
        self.register_buffer("target_mean", torch.zeros(structures))
        self.register_buffer("target_std", torch.ones(structures))
        self.register_buffer("level", torch.ones(structures))
        self.register_buffer("centres", torch.arange(float(groups)).repeat(structures, 1))
        self.register_buffer("correction", torch.ones(structures, groups))
        self.register_buffer("floor", torch.zeros(structures, groups))
        self.register_buffer("coverages", torch.zeros(coverages))
        self.register_buffer("quantiles", torch.ones(coverages, structures, groups))
        self.register_buffer("kernel", blur_kernel().repeat(structures, 1), persistent=False)

    def uncorrected(self, x: Tensor, means: Tensor) -> Tensor:
        """Return the variance before its correction, (B, C, Y, X), in units of target_std^2.

        Parameters
        ----------
        x : Tensor (B, 1, Y, X)
            Frame that was split, raw intensity.
        means : Tensor (B, C, Y, X)
            Decoded means, raw intensity.
        """
        planes = torch.cat(
            (
                (x - self.input_mean) / self.input_std,
                (means - self.target_mean[:, None, None]) / self.target_std[:, None, None],
            ),
            dim=1,
        )
        planes = nn.functional.pad(planes, (RADIUS,) * 4, mode="replicate")
        scale = self.level[:, None, None] / math.log(2)
        variance: Tensor = scale * nn.functional.softplus(in_float32(self.layers, planes)) + LEAST
        return variance

    def forward(self, x: Tensor, means: Tensor) -> Tensor:
        """Return the standard deviation of the error, (B, C, Y, X), raw intensity."""
        at = local_intensity(means, self.kernel)
        variance = self.uncorrected(x, means) * interpolated(at, self.centres, self.correction)
        # a smooth maximum: a hard one would hide which of the pixels at the floor are better
        variance = torch.sqrt(variance**2 + interpolated(at, self.centres, self.floor) ** 2)
        return self.target_std[:, None, None] * torch.sqrt(variance)

    def half_width(self, number: int, means: Tensor, std: Tensor) -> Tensor:
        """Return half the width of an interval, (B, C, Y, X), raw intensity.

        Parameters
        ----------
        number : int
            Which of the tabulated coverages.
        means : Tensor (B, C, Y, X)
            Decoded means, in the middle of the interval.
        std : Tensor (B, C, Y, X)
            Output of `forward` for them.
        """
        at = local_intensity(means, self.kernel)
        return std * interpolated(at, self.centres, self.quantiles[number])


def interpolated(at: Tensor, centres: Tensor, values: Tensor) -> Tensor:
    """Interpolate linearly between group centres, constant outside, (B, C, Y, X) -> same.

    A sum of ramps, which is continuous in every runtime; a search for the group would make pixels
    jump where rounding differs.

    Parameters
    ----------
    at : Tensor (B, C, Y, X)
    centres, values : Tensor (C, G)
        Rising centres of each structure, and the values there.
    """
    out = values[:, :1, None] + 0 * at  # of its shape, without naming a device in a traced graph
    for g in range(centres.shape[1] - 1):
        width = centres[:, g + 1] - centres[:, g]
        share = ((at - centres[:, g, None, None]) / width[:, None, None]).clamp(0, 1)
        out = out + share * (values[:, g + 1] - values[:, g])[:, None, None]
    return out


def error_map_of(state: Mapping[str, Tensor], structures: int) -> ErrorMap:
    """Build an error map from its state dict, ready to use.

    Raises
    ------
    ValueError
        If tensors are missing, or of wrong shape or content.
    """
    shapes = {name: tuple(state[name].shape) for name in SIZED if name in state}
    filters, groups, coverages = ((shapes.get(name) or (0,))[-1] for name in SIZED)
    if not (0 < filters <= MOST and 0 < groups <= MOST and coverages <= MOST):
        raise ValueError(f"it has {filters} filters, {groups} groups and {coverages} coverages")
    error_map = ErrorMap(structures, groups=groups, coverages=coverages, filters=filters)
    expected = {name: value.shape for name, value in error_map.state_dict().items()}
    for name, shape in expected.items():
        if name not in state or state[name].shape != shape:
            raise ValueError(f"it has no {name} of shape {tuple(shape)}")
        if not (state[name].is_floating_point() and torch.isfinite(state[name]).all()):
            raise ValueError(f"{name} has values that are not finite numbers")
    positive = all((state[name] > 0).all() for name in POSITIVE) and (state["floor"] >= 0).all()
    if not (positive and (state["centres"].diff(dim=1) > 0).all()):
        raise ValueError("its factors are not positive, or its groups not in order")
    error_map.load_state_dict({name: state[name] for name in expected})
    return error_map.eval().requires_grad_(False)


def copy_normalisation(error_map: ErrorMap, network: Any) -> None:
    """Copy the statistics of the training data from a splitting network, in place."""
    for name in ("input_mean", "input_std", "target_mean", "target_std"):
        getattr(error_map, name).copy_(getattr(network, name))
