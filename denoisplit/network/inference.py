"""Form of the network for prediction: the same function with less arithmetic and memory traffic.

A copy with other blocks, used like the network itself: BatchNorm is folded into the convolutions,
what does not depend on the noise is computed once per tile, and consecutive linear maps are one.
In float32 it differs from the network by rounding. In bfloat16 the convolutions take half the time
or less where the processor has instructions for it; posteriors and draws stay in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from denoisplit.network.blocks import Gate, Merge, ResBlock
from denoisplit.network.context import centre_crop
from denoisplit.network.decoder import Gaussian, Level, ToGaussian, TopLevel
from denoisplit.network.error_map import ErrorMap
from denoisplit.network.mean_correction import MeanCorrection
from denoisplit.network.vse import VSE

Local = TypeVar("Local", ErrorMap, MeanCorrection)


def inference_form(model: VSE, dtype: torch.dtype = torch.float32) -> VSE:
    """Return a copy of a trained network for prediction alone, on the same device.

    The features of its ``encode`` are not those of ``model`` and fit its own ``decode`` only.

    Parameters
    ----------
    model : VSE
        In evaluation mode; it is not changed. A network that has this form already is returned.
    dtype : torch.dtype
        float32 or bfloat16. Images, eps and output are float32 with both.
    """
    if isinstance(model.decoder.top, _Top):
        return model
    device = model.input_mean.device
    fast = cast(VSE, _copied(model)).eval()
    decoder = fast.decoder
    levels = cast("list[Level]", list(decoder.levels))
    fast.encoder = _Encoder(fast.encoder, decoder.top, levels, dtype)  # type: ignore[assignment]
    decoder.top = _Top(decoder.top, dtype)  # type: ignore[assignment]
    decoder.levels = nn.ModuleList(_Level(level, dtype) for level in levels)
    parts: tuple[nn.Module, ...] = (fast.encoder, decoder, fast.final, fast.output)
    for part in parts:
        _fold(part)
        part.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if fast.mean_correction is not None:
        fast.mean_correction = local_form(fast.mean_correction, dtype)
    if fast.denoiser is not None:
        fast.denoiser.network = inference_form(fast.denoiser.network, dtype)
    return fast


def local_form(module: Local, dtype: torch.dtype = torch.float32) -> Local:
    """Return a copy of an error map or a correction of means for prediction alone.

    Its layers are of ``dtype``; what goes in and out is float32, as is all else.
    """
    fast = cast(Local, _copied(module))
    fast.layers.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fast


def compile_blocks(model: VSE) -> None:
    """Compile the blocks of a network in place; the work is done at the first call.

    All blocks have the same code, which is compiled once for all sizes. That takes seconds, where
    the whole decoder takes a minute and more, and is as fast within a tenth.
    """
    for module in model.modules():
        if isinstance(module, ResBlock | _Block | ToGaussian):
            module.compile(dynamic=True)


class _Block(nn.Module):
    """`ResBlock` in evaluation mode, (B, F, Y, X) -> same.

    The second BatchNorm follows a convolution and is folded into it. The first one precedes an
    activation, beside the skip connection, and becomes a multiply-add.
    """

    scale: Tensor  # (F, 1, 1)
    shift: Tensor

    def __init__(self, block: ResBlock) -> None:
        super().__init__()
        layers: list[Any] = list(block.body)
        norm, _, conv, _, second, _, last, _, *gate = layers
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", (norm.bias - norm.running_mean * scale)[:, None, None])
        self.conv = fuse_conv_bn_eval(conv, second)
        self.last = last
        # two convolutions: halves of one map lie apart in memory, where bfloat16 is slow
        self.gates: nn.ModuleList | None = None
        if gate:
            both = cast(Gate, gate[0]).conv
            self.gates = nn.ModuleList(_outputs(both, which) for which in (0, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.addcmul(self.shift, x, self.scale)
        h = self.conv(nn.functional.elu(h, inplace=True))
        h = self.last(nn.functional.elu(h, inplace=True))
        if self.gates is None:
            out: Tensor = x + h
            return out
        a, b = (gate(h) for gate in self.gates)
        return torch.addcmul(x, nn.functional.elu(a, inplace=True), torch.sigmoid_(b))


class _Merge(nn.Module):
    """`Merge` of ``t`` and a map that has passed its half of the 1x1 convolution already."""

    def __init__(self, merge: Merge) -> None:
        super().__init__()
        self.conv = _half(merge.conv, 1)
        self.block = merge.block

    def forward(self, share: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.block(self.conv(t) + share)
        return out


class _Encoder(nn.Module):
    """Bottom-up half, and the parts of the posteriors that depend on the image alone.

    Maps (B, n, Y, X) float32 to the features' share of the posterior's merge, (B, F, h, w), for
    every level below the top, and to the parameters of the posterior, (B, 2Z, h, w), for the top.
    """

    def __init__(
        self, encoder: nn.Module, top: TopLevel, levels: Sequence[Level], dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.shares = nn.ModuleList(_half(level.posterior_merge.conv, 0) for level in levels)
        self.shares.append(_scaled(top.posterior_conv, getattr(top, "factor", 1.0)))
        self.dtype = dtype

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.encoder(x.to(self.dtype))
        return [share(f) for share, f in zip(self.shares, features, strict=True)]


class _Top(nn.Module):
    """Coarsest level, whose posterior's parameters come from the encoder."""

    def __init__(self, top: TopLevel, dtype: torch.dtype) -> None:
        super().__init__()
        self.gauss = top.gauss
        self.latent_out = top.latent_out
        self.up = top.up
        self.retained: int | None = getattr(top, "retained", None)
        self.dtype = dtype

    def posterior(self, parameters: Tensor) -> Gaussian:
        """Return q(z | x), float32."""
        posterior: Gaussian = self.gauss(parameters)
        return posterior

    def descend(self, z: Tensor) -> Tensor:
        """Map latents (B, Z, h, w), float32, to (B, F, 2h, 2w) of the retained middle, if any."""
        v = self.latent_out(z.to(self.dtype, memory_format=torch.channels_last))
        t: Tensor = self.up(v if self.retained is None else centre_crop(v, self.retained))
        return t


class _Level(nn.Module):
    """Level below the top, whose features have passed their half of the merge."""

    def __init__(self, level: Level, dtype: torch.dtype) -> None:
        super().__init__()
        self.gauss = level.gauss
        self.posterior_merge = _Merge(level.posterior_merge)
        self.posterior_conv = _scaled(level.posterior_conv, getattr(level, "factor", 1.0))
        # nothing stands between the convolution of z and its share of the 1x1 convolution
        self.latent_out = _after(level.latent_out, _half(level.skip_merge.conv, 0))
        self.skip_merge = _Merge(level.skip_merge)
        self.up = level.up
        self.retained: int | None = getattr(level, "retained", None)
        self.dtype = dtype

    def posterior(self, share: Tensor, t: Tensor) -> Gaussian:
        """Return q(z | x, levels above), float32."""
        posterior: Gaussian = self.gauss(self.posterior_conv(self.posterior_merge(share, t)))
        return posterior

    def descend(self, z: Tensor, t: Tensor) -> Tensor:
        """Map latents (B, Z, h, w), float32, and ``t`` to (B, F, 2h, 2w), as `_Top` does."""
        v = self.latent_out(z.to(self.dtype, memory_format=torch.channels_last))
        v = self.skip_merge(v, t)
        out: Tensor = self.up(v if self.retained is None else centre_crop(v, self.retained))
        return out


def _copied(module: nn.Module) -> nn.Module:
    """Return a copy of a module and its tensors, without gradients.

    `copy.deepcopy` takes ten times as long, mostly for the empty dictionaries of hooks.
    """
    copied = module.__new__(type(module))
    vars(copied).update(
        (k, v.copy() if isinstance(v, dict) else v) for k, v in vars(module).items()
    )
    for name, value in module._parameters.items():
        if value is not None:
            copied._parameters[name] = nn.Parameter(value.detach().clone(), requires_grad=False)
    for name, buffer in module._buffers.items():
        copied._buffers[name] = None if buffer is None else buffer.clone()
    for name, child in module._modules.items():
        copied._modules[name] = None if child is None else _copied(child)
    return copied


def _fold(module: nn.Module) -> None:
    """Replace every residual block of a module, in place."""
    for name, child in module.named_children():
        if isinstance(child, ResBlock):
            setattr(module, name, _Block(child))
        else:
            _fold(child)


def _half(conv: nn.Conv2d, which: int) -> nn.Conv2d:
    """Return the part of a 1x1 convolution that one of two concatenated maps passes.

    The bias goes with the first map.
    """
    half, filters = copy.deepcopy(conv), conv.out_channels
    half.in_channels = filters
    part = conv.weight[:, which * filters : (which + 1) * filters]
    half.weight = nn.Parameter(part.clone(), requires_grad=False)
    if which == 1:
        half.bias = None
    return half


def _outputs(conv: nn.Conv2d, which: int) -> nn.Conv2d:
    """Return the first or second half of the outputs of a convolution, as one of its own."""
    half, outputs = copy.deepcopy(conv), conv.out_channels // 2
    part = slice(which * outputs, (which + 1) * outputs)
    half.out_channels = outputs
    half.weight = nn.Parameter(conv.weight[part].clone(), requires_grad=False)
    half.bias = nn.Parameter(cast(Tensor, conv.bias)[part].clone(), requires_grad=False)
    return half


def _scaled(conv: nn.Conv2d, factor: float) -> nn.Conv2d:
    """Return a convolution whose input is scaled by a factor."""
    scaled = copy.deepcopy(conv)
    scaled.weight.mul_(factor)
    return scaled


def _after(conv: nn.Conv2d, pointwise: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution and a 1x1 convolution of its result as one, computed in float64."""
    joined = copy.deepcopy(conv)
    joined.out_channels = pointwise.out_channels
    mix = pointwise.weight[:, :, 0, 0].double()
    weight = torch.einsum("of,fzij->ozij", mix, conv.weight.double())
    bias = mix @ cast(Tensor, conv.bias).double() + cast(Tensor, pointwise.bias).double()
    joined.weight = nn.Parameter(weight.float(), requires_grad=False)
    joined.bias = nn.Parameter(bias.float(), requires_grad=False)
    return joined
