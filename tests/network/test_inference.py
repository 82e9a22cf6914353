"""The network as prediction runs it: the same function, in float32, bfloat16 and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from denoisplit.network.addressed_noise import (
    addressed_noise,
    channel_keys,
    normal_table,
    position_keys,
)
from denoisplit.network.addressed_noise import standard_normal as drawn_in_graphs
from denoisplit.network.context import ContextVSE
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling

SMALL = {"filters": 8, "latents": 4, "patch": 32}


def trained(model: VSE) -> VSE:
    """Weights and running statistics that are not those of the start."""
    torch.manual_seed(1)
    for name, buffer in model.named_buffers():
        if "running_mean" in name:
            buffer.normal_(0, 0.3)
        if "running_var" in name:
            buffer.uniform_(0.5, 2)
    for parameter in model.parameters():
        parameter.data.mul_(1 + 0.3 * torch.randn_like(parameter))
    return model.eval()


NETWORKS: dict[str, Callable[[], VSE]] = {
    "denoiSplit": lambda: VSE(2, **SMALL),
    "three structures, log-variances": lambda: VSE(3, log_variance=True, **SMALL),
    "HDN": lambda: VSE(
        1, levels=3, blocks_per_level=3, final_blocks=2, variance="exp", log_variance_max=None,
        **SMALL,
    ),
    "lean context": lambda: ContextVSE(2, context="lean", **SMALL),
    "regular context": lambda: ContextVSE(2, context="regular", **SMALL),
    # from five levels on it scales the features of its posteriors
    "deep context": lambda: ContextVSE(2, context="deep", levels=5, **SMALL),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> VSE:
    return trained(NETWORKS[request.param]())


@torch.inference_mode()
def sampled(model: VSE, seed: int = 0) -> Tensor:
    """Two samples of one image, as prediction draws them."""
    generator = torch.Generator().manual_seed(seed)
    side = model.fixed_patch or 64
    x = torch.randn(1, model.input_planes, side, side, generator=generator)
    eps = [torch.randn(2, *s, generator=generator) for s in model.latent_shapes(side, side)]
    *features, top = model.encode(x)
    return model.decode([*(f.expand(2, -1, -1, -1) for f in features), top], eps)


def largest(a: Tensor, b: Tensor) -> float:
    """Difference, as a share of the range."""
    return float((a - b).abs().max() / (b.max() - b.min()))


def test_the_same_function_in_float32(network: VSE) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fast = inference_form(network)
    expected = sampled(network)
    assert largest(sampled(fast), expected) < 2e-6
    assert sampled(fast).shape == expected.shape and sampled(fast).dtype == torch.float32
    for name, value in network.state_dict().items():  # the network itself is as it was
        assert torch.equal(value, before[name])
    assert inference_form(fast) is fast


def test_bfloat16_is_near_and_draws_in_float32(network: VSE, monkeypatch: Any) -> None:
    fast = inference_form(network, torch.bfloat16)
    seen = []
    gauss = type(fast.decoder.top.gauss)
    forward = gauss.forward
    monkeypatch.setattr(
        gauss, "forward", lambda self, p: seen.append(forward(self, p)) or seen[-1]
    )  # fmt: skip
    found = sampled(fast)
    assert {q.mean.dtype for q in seen} | {q.var.dtype for q in seen} == {torch.float32}
    assert found.dtype == torch.bfloat16
    assert 1e-6 < largest(found.float(), sampled(network)) < 0.02


def test_every_block_is_folded_and_every_weight_in_its_type(network: VSE) -> None:
    fast = inference_form(network, torch.bfloat16)
    kinds = {type(module).__name__ for module in fast.modules()}
    assert not {"BatchNorm2d", "Dropout2d", "ResBlock"} & kinds
    # those of the encoder join patch and context, once per tile
    assert "Merge" not in {type(module).__name__ for module in fast.decoder.modules()}
    weights = [p for name, p in fast.named_parameters()]
    assert {p.dtype for p in weights} == {torch.bfloat16}
    assert not any(p.requires_grad for p in weights)


def test_frames_are_split_alike(network: VSE) -> None:
    """Through tiles, batches and addressed noise."""
    frame = np.random.default_rng(0).normal(size=(70, 54)).astype(np.float32)
    sampling = Sampling(3, seed=4, keep=3)
    expected = predict_frame(network, frame, sampling, tile=32, halo=32)
    found = predict_frame(inference_form(network), frame, sampling, tile=32, halo=32)
    span = np.ptp(expected.samples)
    assert np.abs(found.samples - expected.samples).max() / span < 2e-6
    assert np.abs(found.mean - expected.mean).max() / span < 2e-6
    assert np.abs(found.spread - expected.spread).max() / span < 2e-6


def test_what_depends_on_the_image_alone_is_computed_once() -> None:
    """The encoder's convolutions, and of the top level the posterior's, are not in the decoder."""
    model = trained(NETWORKS["denoiSplit"]())
    fast = inference_form(model)

    def convolutions(network: VSE) -> int:
        calls: list[str] = []
        features = network.encode(torch.zeros(1, 1, 32, 32))
        hooks = [
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
            for name, module in network.named_modules()
            if isinstance(module, torch.nn.Conv2d) and "gates.1" not in name
        ]
        network.decode(features, [torch.zeros(1, *s) for s in network.latent_shapes(32, 32)])
        for hook in hooks:
            hook.remove()
        return len(calls)

    # one at the top; elsewhere the latents' own is one with its share of the merge; gates have two
    assert convolutions(fast) == convolutions(model) - 1


def test_noise_by_blocks_is_the_noise_of_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "denoisplit.network.addressed_noise.CACHED", 100
    )  # several blocks, the last a part
    keys = [position_keys(level, -16, 48, 13, 9) for level in range(2)]
    eps = addressed_noise(
        keys, (4, 5, 6), seed=3, channels=6, antithetic=True, table=normal_table()
    )
    for level, found in enumerate(eps):
        assert found.shape == (3, 6, 13, 9)
        assert found.is_contiguous(memory_format=torch.channels_last)
        for k, (draw, sign) in enumerate([(2, 1.0), (2, -1.0), (3, 1.0)]):
            expected = drawn_in_graphs(keys[level], channel_keys(3, draw, level, 6), normal_table())
            assert torch.equal(found[k], sign * expected)
