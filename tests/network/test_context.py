"""muSplit's network: parameter counts, sizes of the variants, what context does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from denoisplit.network.context import ContextVSE, centre_crop, centre_pad

DEEP = {"context": "deep", "planes": 5, "levels": 8}


def small(**settings: Any) -> ContextVSE:
    """A small network with batch statistics that are not the initial ones, in evaluation mode."""
    torch.manual_seed(0)
    model = ContextVSE(2, **{"filters": 4, "latents": 3, "patch": 32, "planes": 3} | settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def noise(model: ContextVSE) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = model.latent_shapes(model.patch, model.patch)
    return [torch.randn(1, *shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"planes": 3}, 3_567_492),
        ({"planes": 4}, 3_839_876),
        ({"planes": 5}, 4_702_084),
        ({"planes": 3, "context": "lean"}, 3_506_052),
        ({"planes": 5, "context": "lean"}, 3_657_604),
        (DEEP, 7_177_604),
    ],
)
def test_parameter_counts(settings: dict[str, Any], expected: int) -> None:
    model = ContextVSE(2, patch=64, log_variance=True, **settings)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"planes": 5}, (74_752, 477_440, 303_104 + 362_752, 2_350_720, 1_048_576, 82_432, 2_308)),
        (DEEP, (74_752, 954_880, 303_104 + 725_504, 5_030_528, 4_096, 82_432, 2_308)),
    ],
)
def test_parameter_counts_of_the_parts(settings: dict[str, Any], parts: tuple[int, ...]) -> None:
    model = ContextVSE(2, patch=64, log_variance=True, **settings)
    prior = model.decoder.top.prior_parameters.numel()

    def count(*modules: nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    encoder = model.encoder
    assert parts == (
        count(encoder.first), count(encoder.levels),
        count(encoder.context_first, encoder.context_merge), count(model.decoder) - prior, prior,
        count(model.final), count(model.output),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "stride", "sides"),
    [
        ({"planes": 3}, 4, [64, 64, 32, 16]),
        ({"planes": 5}, 4, [64, 64, 64, 64]),
        ({"planes": 3, "context": "lean"}, 16, [32, 16, 8, 4]),
        ({"planes": 5, "context": "lean"}, 16, [32, 16, 8, 4]),
        (DEEP, 16, [64, 64, 64, 64, 32, 16, 8, 4]),
    ],
)
def test_sides_of_the_variants(settings: dict[str, Any], stride: int, sides: list[int]) -> None:
    model = small(patch=64, **settings)
    assert model.stride == stride
    assert model.latent_shapes(64, 64) == [(3, side, side) for side in sides]
    x = torch.randn(1, model.input_planes, 64, 64)
    with torch.no_grad():
        decoded = model(x, noise(model))
    assert decoded.output.shape == (1, 2, 64, 64)
    for latent, side in zip(decoded.latents, sides, strict=True):
        assert latent.posterior.mean.shape[-2:] == (side, side)
        assert latent.prior.mean.shape[-2:] == (side, side)  # the top prior too: the KL exists
    # a sample from features and eps is that of the training pass
    with torch.no_grad():
        sample = model.decode(model.encode(x), noise(model))
    torch.testing.assert_close(sample, decoded.output)


@pytest.mark.parametrize("context", ["lean", "regular"])
def test_every_plane_is_seen(context: str) -> None:
    model = small(context=context)
    x = torch.randn(1, 3, 32, 32, requires_grad=True)
    model.decode(model.encode(x), noise(model)).square().sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_deep_scales_the_features_of_the_posterior() -> None:
    """By sqrt(2 (1 + i)), level 0 first, the top too; not with four levels or fewer."""
    deep, regular = (small(context=c, planes=3, levels=5) for c in ("deep", "regular"))
    regular.load_state_dict(deep.state_dict())
    features = deep.encode(torch.randn(1, 3, 32, 32))
    for i in (1, 4):
        level, plain = ((*m.decoder.levels, m.decoder.top)[i] for m in (deep, regular))
        bias = level.posterior_conv.bias.chunk(2)[0][:, None, None]
        above = () if i == 4 else (torch.randn(1, 4, *features[i].shape[-2:]),)
        scaled = level.posterior(features[i], *above).mean - bias
        expected = math.sqrt(2 * (1 + i)) * (plain.posterior(features[i], *above).mean - bias)
        torch.testing.assert_close(scaled, expected)
    few = small(context="deep", planes=3, levels=4)
    assert {level.factor for level in (*few.decoder.levels, few.decoder.top)} == {1.0}


def test_crop_and_pad_share_the_centre() -> None:
    x = torch.rand(1, 2, 6, 6)
    padded = centre_pad(x, 10)
    assert padded.shape == (1, 2, 10, 10)
    assert padded.sum() == pytest.approx(x.sum().item())
    assert torch.equal(centre_crop(padded, 6), x)
    assert centre_crop(x, 8) is x


def test_planes_that_do_not_fit_are_refused() -> None:
    for planes in (1, 6):
        with pytest.raises(ValueError, match="expected 2 to 5"):
            small(planes=planes)
    with pytest.raises(ValueError, match="lean, regular, deep"):
        small(context="wide")
