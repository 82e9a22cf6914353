"""The network as prediction runs it: the same function with less arithmetic and memory traffic.

A copy whose blocks are replaced, so that it is used like the network it was made of: BatchNorm is
folded, what does not depend on the noise is computed once per tile, and linear maps that follow one
another are one. In float32 it differs from the network by rounding. In bfloat16 the convolutions
take half the time or less where the processor has instructions for it; posteriors and draws stay in
float32.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from denoisplit.network import VSE, DenoisedVSE, Gaussian
from denoisplit.network.blocks import Gate, Merge, ResBlock
from denoisplit.network.context import centre_crop
from denoisplit.network.decoder import Level, ToGaussian, TopLevel


def inference_form(model: VSE, dtype: torch.dtype = torch.float32) -> VSE:
    """A copy of a trained network that is only good for prediction, on the same device.

    Its ``encode`` gives other features than those of ``model``; its own ``decode`` takes them.

    Parameters
    ----------
    model : VSE
        In evaluation mode; with context or without. Not changed. One in this form already is
        returned as it is.
    dtype : torch.dtype
        float32 or bfloat16. Images, eps and output are float32 in either.
    """
    if isinstance(model.decoder.top, _Top):
        return model
    device = model.input_mean.device
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    decoder = fast.decoder
    levels = cast("list[Level]", list(decoder.levels))
    fast.encoder = _Encoder(fast.encoder, decoder.top, levels, dtype)  # type: ignore[assignment]
    decoder.top = _Top(decoder.top, dtype)  # type: ignore[assignment]
    decoder.levels = nn.ModuleList(_Level(level, dtype) for level in levels)
    parts: tuple[nn.Module, ...] = (fast.encoder, decoder, fast.final, fast.output)
    for part in parts:
        _fold(part)
        part.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(fast, DenoisedVSE) and fast.denoiser is not None:
        fast.denoiser = inference_form(fast.denoiser, dtype)
    return fast


def compile_blocks(model: VSE) -> None:
    """Compile what lies between the convolutions, in place; the work is done at the first call.

    Every block has the same code, compiled once for all sizes: seconds, where the whole decoder
    takes a minute and more, and as fast within a tenth.
    """
    for module in model.modules():
        if isinstance(module, ResBlock | _Block | ToGaussian):
            module.compile(dynamic=True)


class _Block(nn.Module):
    """`ResBlock` in evaluation mode, (B, F, Y, X) -> same.

    The second BatchNorm stands between a convolution and an activation and is folded into the
    convolution. The first one stands before an activation and beside the skip: a multiply-add.
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
        self.gate = cast(Gate, gate[0]).conv if gate else None

    def forward(self, x: Tensor) -> Tensor:
        h = torch.addcmul(self.shift, x, self.scale)
        h = self.conv(nn.functional.elu(h, inplace=True))
        h = self.last(nn.functional.elu(h, inplace=True))
        if self.gate is None:
            out: Tensor = x + h
            return out
        a, b = self.gate(h).chunk(2, dim=1)
        return torch.addcmul(x, nn.functional.elu(a), torch.sigmoid(b))


class _Merge(nn.Module):
    """`Merge` of a part that is given as its share of the 1x1 convolution already, and of ``t``."""

    def __init__(self, merge: Merge) -> None:
        super().__init__()
        self.conv = _half(merge.conv, 1)
        self.block = merge.block

    def forward(self, part: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.block(self.conv(t) + part)
        return out


class _Encoder(nn.Module):
    """Bottom-up half, and what of the posteriors depends on the image alone.

    (B, n, Y, X) float32 -> of every level below the top the features' share of the posterior's
    merge, (B, F, h, w); of the top the parameters of its posterior, (B, 2Z, h, w).
    """

    def __init__(
        self, encoder: nn.Module, top: TopLevel, levels: Sequence[Level], dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.shares = nn.ModuleList(_half(level.posterior_merge.conv, 0) for level in levels)
        self.shares.append(_scaled(top.posterior_conv, inside=getattr(top, "factor", 1.0)))
        self.dtype = dtype

    @property
    def levels(self) -> nn.ModuleList:
        """Those of the encoder, as it has them itself."""
        return cast(nn.ModuleList, self.encoder.levels)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.encoder(x.to(self.dtype))
        return [share(f) for share, f in zip(self.shares, features, strict=True)]


class _Top(nn.Module):
    """The coarsest level, of which the encoder has made the posterior's parameters."""

    def __init__(self, top: TopLevel, dtype: torch.dtype) -> None:
        super().__init__()
        self.gauss = top.gauss
        self.latent_out = top.latent_out
        self.up = top.up
        self.retained: int | None = getattr(top, "retained", None)
        self.dtype = dtype

    def posterior(self, parameters: Tensor) -> Gaussian:
        """q(z | x), float32."""
        posterior: Gaussian = self.gauss(parameters)
        return posterior

    def descend(self, z: Tensor) -> Tensor:
        """(B, Z, h, w) float32 -> (B, F, 2h, 2w), of the middle where one is retained."""
        v = self.latent_out(_as_images(z, self.dtype))
        t: Tensor = self.up(v if self.retained is None else centre_crop(v, self.retained))
        return t


class _Level(nn.Module):
    """A level below the top, whose features have gone through their half of the merge."""

    def __init__(self, level: Level, dtype: torch.dtype) -> None:
        super().__init__()
        self.gauss = level.gauss
        self.posterior_merge = _Merge(level.posterior_merge)
        self.posterior_conv = _scaled(level.posterior_conv, inside=getattr(level, "factor", 1.0))
        # nothing stands between the convolution of z and its share of the 1x1 convolution
        self.latent_out = _after(level.latent_out, _half(level.skip_merge.conv, 0))
        self.skip_merge = _Merge(level.skip_merge)
        self.up = level.up
        self.retained: int | None = getattr(level, "retained", None)
        self.dtype = dtype

    def posterior(self, share: Tensor, t: Tensor) -> Gaussian:
        """q(z | x, levels above), float32."""
        posterior: Gaussian = self.gauss(self.posterior_conv(self.posterior_merge(share, t)))
        return posterior

    def descend(self, z: Tensor, t: Tensor) -> Tensor:
        """(B, Z, h, w) float32 and (B, F, h, w) -> (B, F, 2h, 2w), of the retained middle."""
        v = self.skip_merge(self.latent_out(_as_images(z, self.dtype)), t)
        out: Tensor = self.up(v if self.retained is None else centre_crop(v, self.retained))
        return out


def _as_images(z: Tensor, dtype: torch.dtype) -> Tensor:
    return z.to(dtype, memory_format=torch.channels_last)


def _fold(module: nn.Module) -> None:
    """Replace every residual block inside."""
    for name, child in module.named_children():
        if isinstance(child, ResBlock):
            setattr(module, name, _Block(child))
        else:
            _fold(child)


def _half(conv: nn.Conv2d, which: int) -> nn.Conv2d:
    """The 1x1 convolution of one of two concatenated maps; the first has the bias."""
    half, filters = copy.deepcopy(conv), conv.out_channels
    half.in_channels = filters
    part = conv.weight[:, which * filters : (which + 1) * filters]
    half.weight = nn.Parameter(part.clone(), requires_grad=False)
    if which == 1:
        half.bias = None
    return half


def _scaled(conv: nn.Conv2d, *, inside: float) -> nn.Conv2d:
    """The convolution of its input times a number."""
    scaled = copy.deepcopy(conv)
    scaled.weight.mul_(inside)
    return scaled


def _after(conv: nn.Conv2d, pointwise: nn.Conv2d) -> nn.Conv2d:
    """A convolution and a 1x1 convolution of its result, as one; in float64, rounded once."""
    joined = copy.deepcopy(conv)
    joined.out_channels = pointwise.out_channels
    mix = pointwise.weight[:, :, 0, 0].double()
    weight = torch.einsum("of,fzij->ozij", mix, conv.weight.double())
    bias = mix @ cast(Tensor, conv.bias).double() + cast(Tensor, pointwise.bias).double()
    joined.weight = nn.Parameter(weight.float(), requires_grad=False)
    joined.bias = nn.Parameter(bias.float(), requires_grad=False)
    return joined
