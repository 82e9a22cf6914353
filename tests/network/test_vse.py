"""The network: parameter counts, shapes, decoding apart from encoding, variances."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from denoisplit.network.blocks import Down, Gate, Merge, ResBlock, Sizes, Up
from denoisplit.network.decoder import Level, ToGaussian, TopLevel, soft_exp
from denoisplit.network.vse import VSE

HDN = dict(
    structures=1,
    filters=32,
    latents=32,
    levels=6,
    blocks_per_level=5,
    final_blocks=5,
    dropout=0.2,
    variance="exp",
    log_variance_max=None,
)


ORIGINAL = HDN | dict(filters=64, patch=64, first_kernel=5)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(structures: int = 2, **settings: Any) -> VSE:
    """A small network with batch statistics that are not the initial ones, in evaluation mode."""
    torch.manual_seed(0)
    settings = {"filters": 4, "latents": 3, "patch": 32} | settings
    model = VSE(structures, **settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def noise(model: VSE, height: int, width: int, batch: int = 1, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = model.latent_shapes(height, width)
    return [torch.randn(batch, *shape, generator=generator) for shape in shapes]


# ---------------------------------------------------------------- parameter counts


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (dict(structures=2, patch=128), 3_002_882),  # denoiSplit
        (dict(structures=1, patch=128), 3_002_305),
        (dict(structures=3, patch=128), 3_003_459),
        (dict(structures=2, patch=64), 2_990_594),
        (dict(structures=2, patch=256), 3_052_034),
        (dict(structures=2, patch=128, log_variance=True), 3_004_036),  # Altered muSplit
        (dict(structures=2, patch=64, log_variance=True), 2_991_748),  # muSplit without context
        (HDN, 1_965_409),
        (HDN | dict(levels=3), 1_028_353),  # HDN for the Hagen data
        # the original HDN: counted below, part by part
        (ORIGINAL, 75_776 + 2_694_528 + 4_118_592 + 64 + 412_160 + 577),
    ],
)
def test_parameter_counts(settings: dict[str, Any], expected: int) -> None:
    model = VSE(**settings)
    assert parameters(model) == expected
    assert all(p.requires_grad for p in model.parameters())


PARTS = {
    "denoisplit": ({}, (74_752, 477_440, 2_350_720, 16_384, 82_432, 1_154)),
    "hdn": (HDN, (18_944, 677_568, 1_164_672, 256, 103_680, 289)),
    # of the blocks of F = 64 below, and latent convolutions of Z = 32:
    "original hdn": (
        ORIGINAL,
        (
            25 * 64 + 64 + 74_112,
            6 * (119_360 + 4 * 82_432),
            # up and plain blocks, posterior, latent-out; below the top also prior and two merges
            6 * (119_360 + 4 * 82_432 + 36_928 + 18_496) + 5 * (36_928 + 2 * 90_688),
            2 * 32,
            5 * 82_432,
            9 * 64 + 1,
        ),
    ),
}


@pytest.mark.parametrize("system", PARTS)
def test_parameter_counts_of_the_parts(system: str) -> None:
    settings, expected = PARTS[system]
    model = VSE(**settings)
    prior = model.decoder.top.prior_parameters.numel()
    found = (
        parameters(model.encoder.first),
        parameters(model.encoder.levels),
        parameters(model.decoder) - prior,
        prior,
        parameters(model.final),
        parameters(model.output),
    )
    assert found == expected
    assert sum(found) == parameters(model)  # nothing lies beside the parts


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (lambda: Gate(64), 8_320),
        (lambda: ResBlock(64, 0.1, gated=False), 74_112),
        (lambda: ResBlock(64, 0.1), 82_432),
        (lambda: Down(64, 0.1), 119_360),
        (lambda: Up(64, 0.1), 119_360),
        (lambda: Merge(64, 0.1), 90_688),
    ],
    ids=["gate", "ungated", "gated", "down", "up", "merge"],
)
def test_parameter_counts_of_the_blocks(block: Any, expected: int) -> None:
    assert parameters(block()) == expected


def test_parameter_counts_of_the_latent_convolutions() -> None:
    gauss = ToGaussian("soft_exp", 20.0)
    sizes = Sizes(filters=64, latents=128, levels=2, blocks=1, dropout=0.1)
    level, top = Level(sizes, gauss), TopLevel(sizes, gauss, 8)
    for conv in (level.prior_conv, level.posterior_conv, top.posterior_conv):
        assert parameters(conv) == 147_712
    for conv in (level.latent_out, top.latent_out):
        assert parameters(conv) == 73_792


# ---------------------------------------------------------------- blocks by their formulas


def test_gate_is_elu_times_sigmoid() -> None:
    torch.manual_seed(0)
    gate, x = Gate(3), torch.randn(2, 3, 5, 4)
    weight = gate.conv.weight[:, :, 0, 0]
    mapped = torch.einsum("of,bfyx->boyx", weight, x) + gate.conv.bias[:, None, None]
    a, b = mapped[:, :3], mapped[:, 3:]
    elu = torch.where(a > 0, a, torch.expm1(a))
    torch.testing.assert_close(gate(x), elu / (1 + torch.exp(-b)))


def test_residual_block_leaves_its_input_alone() -> None:
    # in-place activations behind the skip would change the sum, and the caller's tensor
    torch.manual_seed(0)
    block, x = ResBlock(4, 0.1).eval(), torch.randn(1, 4, 8, 8)
    before = x.clone()
    out = block(x)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    torch.testing.assert_close(out, before + block.body(before), rtol=0, atol=0)


def test_merge_takes_its_first_argument_first() -> None:
    torch.manual_seed(0)
    merge, a, b = Merge(4, 0.0).eval(), torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        merge.conv.weight[:, 4:] = 0  # deaf to the second
    torch.testing.assert_close(merge(a, b), merge(a, -b), rtol=0, atol=0)
    assert not torch.equal(merge(a, b), merge(-a, b))


def test_levels_merge_features_and_latents_before_the_level_above() -> None:
    torch.manual_seed(0)
    level = Level(Sizes(4, 3, 2, 1, 0.1), ToGaussian("soft_exp", 20.0)).eval()
    features, t, z = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        for merge in (level.posterior_merge, level.skip_merge):
            merge.conv.weight[:, 4:] = 0  # deaf to the second, which must be t
        assert torch.equal(level.posterior(features, t).mean, level.posterior(features, -t).mean)
        assert not torch.equal(
            level.posterior(features, t).mean, level.posterior(-features, t).mean
        )
        assert torch.equal(level.descend(z, t), level.descend(z, -t))
        assert not torch.equal(level.descend(z, t), level.descend(-z, t))


def test_the_encoder_begins_with_an_ungated_block_and_gates_all_others() -> None:
    model = VSE(filters=4, latents=3, patch=32)
    ungated = [
        name
        for name, module in model.named_modules()
        if isinstance(module, ResBlock) and not any(isinstance(m, Gate) for m in module.body)
    ]
    assert ungated == ["encoder.first.2"]


# ---------------------------------------------------------------- shapes


def test_latents_of_the_published_network() -> None:
    model = VSE()
    assert model.latent_shapes(128, 128) == [(128, s, s) for s in (64, 32, 16, 8)]
    assert model.decoder.top.prior_parameters.shape == (1, 256, 8, 8)
    with torch.inference_mode():
        features = model.eval().encode(torch.zeros(1, 1, 128, 128))
    assert [tuple(f.shape) for f in features] == [(1, 64, s, s) for s in (64, 32, 16, 8)]


@pytest.mark.parametrize("structures", [1, 2, 3])
@pytest.mark.parametrize("log_variance", [False, True])
@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (32, 32), (48, 16), (16, 80), (112, 64), (128, 128)]
)
def test_output_side_is_input_side(
    structures: int, log_variance: bool, height: int, width: int
) -> None:
    model = small(structures, log_variance=log_variance)
    with torch.inference_mode():
        features = model.encode(torch.randn(2, 1, height, width))
        output = model.decode(features, noise(model, height, width, batch=2))
    planes = 2 * structures if log_variance else structures
    assert output.shape == (2, planes, height, width)
    assert model.means(output).shape == (2, structures, height, width)
    torch.testing.assert_close(model.means(output), output[:, :structures], rtol=0, atol=0)
    shapes = model.latent_shapes(height, width)
    assert [s[1:] for s in shapes] == [tuple(f.shape[2:]) for f in features]


@pytest.mark.parametrize(("levels", "side"), [(1, 6), (3, 24), (6, 64)])
def test_output_side_is_input_side_at_other_depths(levels: int, side: int) -> None:
    model = small(1, levels=levels, patch=2**levels, blocks_per_level=2, final_blocks=2)
    assert model.stride == 2**levels
    with torch.inference_mode():
        output = model.decode(
            model.encode(torch.zeros(1, 1, side, 2 * side)), noise(model, side, 2 * side)
        )
    assert output.shape == (1, 1, side, 2 * side)


@pytest.mark.parametrize(("height", "width"), [(40, 32), (32, 33), (8, 16)])
def test_sizes_off_the_stride_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{height} x {width} px.*stride 16"):
        small().encode(torch.zeros(1, 1, height, width))


def test_a_patch_off_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="patch is 40 px.*16"):
        VSE(filters=4, latents=3, patch=40)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_core_on_the_stride_sees_239_px_around_it(transposed: bool) -> None:
    """So a halo of 240 makes tiles exact; cores off the stride would see up to 242 px."""
    model = small().double()
    eps = [e.double() for e in noise(model, 16, 1024)]
    x = torch.randn(1, 1, 16, 1024, dtype=torch.float64)
    if transposed:
        x, eps = x.mT, [e.mT for e in eps]
    x.requires_grad_()
    output = model.decode(model.encode(x), eps)
    core = (output.mT if transposed else output)[..., 512:528]
    (gradient,) = torch.autograd.grad((core * torch.randn_like(core)).sum(), x)
    seen = (gradient.mT if transposed else gradient).abs().sum(dim=(0, 1, 2)).nonzero()
    assert (512 - int(seen.min()), int(seen.max()) - 527) == (238, 239)


# ---------------------------------------------------------------- encode, decode, forward


@pytest.mark.parametrize("settings", [{}, {"log_variance": True}, {"structures": 3}])
def test_decoding_what_was_encoded_is_forward(settings: dict[str, Any]) -> None:
    model = small(**settings)
    x, eps = torch.randn(2, 1, 32, 32), noise(model, 32, 32, batch=2)
    with torch.no_grad():
        whole = model(x, eps)
        apart = model.decode(model.encode(x), eps)
    torch.testing.assert_close(apart, whole.output, rtol=0, atol=0)
    # and the latents are the draws that led there
    for latent, noise_of_level in zip(whole.latents, eps, strict=True):
        q = latent.posterior
        torch.testing.assert_close(latent.eps, noise_of_level, rtol=0, atol=0)
        torch.testing.assert_close(latent.z, q.mean + torch.sqrt(q.var) * noise_of_level)


def test_latents_lie_in_the_order_of_the_levels() -> None:
    model = small(levels=3)
    with torch.no_grad():
        latents = model(torch.randn(2, 1, 32, 32), noise(model, 32, 32, batch=2)).latents
    assert [tuple(latent.z.shape) for latent in latents] == [(2, 3, s, s) for s in (16, 8, 4)]


@pytest.mark.parametrize("level", range(4))
def test_the_noise_of_every_level_reaches_the_output(level: int) -> None:
    model = small()
    x, eps = torch.randn(1, 1, 32, 32), noise(model, 32, 32)
    other = [e + (1.0 if i == level else 0.0) for i, e in enumerate(eps)]
    with torch.no_grad():
        features = model.encode(x)
        assert not torch.equal(model.decode(features, eps), model.decode(features, other))


def test_one_encoding_serves_many_samples() -> None:
    # below the top the features are repeated, at the top they stay one: predictions rely on it
    model = small()
    eps = noise(model, 32, 32, batch=3)
    with torch.no_grad():
        *features, top = model.encode(torch.randn(1, 1, 32, 32))
        together = model.decode([*(f.expand(3, -1, -1, -1) for f in features), top], eps)
        alone = [model.decode([*features, top], [e[[k]] for e in eps]) for k in range(3)]
    # a batch of three and three batches of one differ by the rounding of the convolutions
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_decoding_needs_no_prior() -> None:
    model = small()
    x, eps = torch.randn(1, 1, 32, 32), noise(model, 32, 32)
    with torch.no_grad():
        before = model.decode(model.encode(x), eps)
        model.decoder.top.prior_parameters.fill_(float("nan"))
        for level in model.decoder.levels:
            level.prior_conv.weight.fill_(float("nan"))
        torch.testing.assert_close(model.decode(model.encode(x), eps), before, rtol=0, atol=0)


def test_every_parameter_gets_a_gradient_from_output_and_prior() -> None:
    model = small()
    output, latents = model(torch.randn(2, 1, 32, 32), noise(model, 32, 32, batch=2))
    priors = sum(p.mean.square().sum() + p.var.square().sum() for _, p, _, _ in latents)
    (output.square().sum() + priors).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


# ---------------------------------------------------------------- mean and variance


def test_the_top_prior_starts_as_the_standard_normal() -> None:
    prior = VSE(filters=4, latents=3, patch=32).decoder.top.prior()
    assert prior.mean.shape == prior.var.shape == (1, 3, 2, 2)
    assert (prior.mean == 0).all()
    # exp(0) + 1e-6, which float32 rounds by at most 6e-8
    torch.testing.assert_close(prior.var, torch.full_like(prior.var, 1 + 1e-6), rtol=0, atol=1.2e-7)
    assert (prior.var > 1).all()


def test_soft_exp_by_its_formula() -> None:
    x = torch.tensor([-80.0, -3.0, -1.0, 0.0, 1.0, 19.0])
    expected = torch.tensor([math.exp(-80), math.exp(-3), math.exp(-1), 1.0, 2.0, 20.0])
    torch.testing.assert_close(soft_exp(x), expected)


def test_soft_exp_is_continuous_with_continuous_slope() -> None:
    h = 1e-6
    x = torch.tensor([-h, 0.0, h], dtype=torch.float64, requires_grad=True)
    y = soft_exp(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    # |soft_exp(x) - (1 + x)| <= x^2 / 2 and |slope - 1| <= |x| around 0
    torch.testing.assert_close(y.detach(), 1 + x.detach(), rtol=0, atol=h**2)
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=0, atol=1.01 * h)


def test_soft_exp_has_finite_gradients_far_out() -> None:
    # torch.where passes NaN of the branch not taken unless that branch is kept finite
    x = torch.tensor([-200.0, 200.0], requires_grad=True)
    (slope,) = torch.autograd.grad(soft_exp(x).sum(), x)
    assert slope.tolist() == [0.0, 1.0]


def test_variance_of_the_published_network() -> None:
    raw = torch.tensor([-100.0, -2.0, 0.0, 5.0, 20.0, 25.0]).reshape(1, 6, 1, 1)
    means = torch.arange(6.0).reshape(raw.shape)
    gaussian = ToGaussian("soft_exp", 20.0)(torch.cat((means, raw), 1))
    assert gaussian.mean.flatten().tolist() == [0, 1, 2, 3, 4, 5]  # means first
    # clipped at 20 from above, not from below: only the constant 1e-6 holds a variance up
    expected = torch.tensor([1e-6, math.exp(-2) + 1e-6, 1 + 1e-6, 6 + 1e-6, 21, 21])
    torch.testing.assert_close(gaussian.var.flatten(), expected, rtol=1e-6, atol=0)


def test_the_clip_of_the_log_variance_stops_the_gradient() -> None:
    raw = torch.tensor([-30.0, 0.0, 19.9, 20.1]).reshape(1, 4, 1, 1)
    parameters = torch.cat((torch.zeros_like(raw), raw), 1).requires_grad_()
    ToGaussian("soft_exp", 20.0)(parameters).var.sum().backward()
    slopes = parameters.grad.flatten()[4:]
    torch.testing.assert_close(slopes, torch.tensor([math.exp(-30), 1.0, 1.0, 0.0]))


def test_variance_of_hdn_is_the_plain_exponential() -> None:
    raw = torch.tensor([-10.0, 0.0, 3.0, 25.0]).reshape(1, 4, 1, 1)
    gaussian = ToGaussian("exp", None)(torch.cat((torch.zeros_like(raw), raw), 1))
    # float32 exp is good to a few units in the last place
    torch.testing.assert_close(gaussian.var, torch.exp(raw.double()).float(), rtol=1e-6, atol=0)


def test_variances_are_float32_under_autocast() -> None:
    model = small()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.randn(1, 1, 32, 32), noise(model, 32, 32))
    assert output.output.dtype == torch.bfloat16  # autocast was on
    for latent in output.latents:
        for gaussian in (latent.posterior, latent.prior):
            assert gaussian.mean.dtype == gaussian.var.dtype == torch.float32
        assert latent.z.dtype == torch.float32


def test_an_unknown_variance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'softplus'.*soft_exp.*exp"):
        ToGaussian("softplus", None)


# ---------------------------------------------------------------- normalisation


def test_normalisation_is_stored_with_the_weights_and_undone() -> None:
    model = small(3)
    model.input_mean.fill_(100.0)
    model.input_std.fill_(8.0)
    model.target_mean.copy_(torch.tensor([10.0, 20.0, 30.0]))
    model.target_std.copy_(torch.tensor([2.0, 4.0, 8.0]))
    assert model.normalise(torch.tensor([92.0, 108.0])).tolist() == [-1.0, 1.0]
    raw = torch.tensor([14.0, 12.0, 46.0]).reshape(1, 3, 1, 1)
    normalised = model.normalise_targets(raw)
    assert normalised.flatten().tolist() == [2.0, -2.0, 2.0]  # powers of two: exact
    assert model.to_raw(normalised).flatten().tolist() == raw.flatten().tolist()
    assert model.to_raw(normalised.bfloat16()).dtype == torch.float32

    twin = small(3)
    twin.load_state_dict(model.state_dict())
    assert twin.target_std.tolist() == [2.0, 4.0, 8.0]
    assert twin.input_mean.item() == 100.0
