"""Capabilities of the networks, also in their form for prediction."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import denoisplit
from denoisplit.config.settings import NetworkSettings
from denoisplit.network.context import ContextVSE
from denoisplit.network.denoised import DenoisedVSE
from denoisplit.network.inference import inference_form
from denoisplit.network.stride import halvings, total_stride
from denoisplit.network.vse import VSE, Denoiser

SMALL = {"filters": 2, "latents": 2, "patch": 32}
DEEP = {"context": "deep", "levels": 5, "planes": 5}
NETWORKS: dict[str, Callable[[], VSE]] = {
    "plain": lambda: VSE(2, **SMALL),
    "lean": lambda: ContextVSE(2, context="lean", **SMALL),
    "regular": lambda: ContextVSE(2, context="regular", **SMALL),
    "deep": lambda: ContextVSE(2, **DEEP, **SMALL),
    "every level": lambda: ContextVSE(2, planes=5, **SMALL),
    "denoised": lambda: DenoisedVSE(2, **SMALL),
}
# of the seed 0, by the first release: trainings of a seed begin with the same network
FIRST = [-0.0024956068955361843, 0.17881453037261963, -0.2743483781814575]
LAST = [0.11239741742610931, -0.14925114810466766, 0.03916802257299423]
# stride, planes
SIZES = {
    "plain": (16, 1), "lean": (16, 3), "regular": (4, 3), "deep": (4, 5), "every level": (4, 5),
    "denoised": (4, 3),
}  # fmt: skip


@pytest.mark.parametrize("form", ["trained", "inference"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_capabilities_of_each_network(kind: str, form: str) -> None:
    model = NETWORKS[kind]().eval()
    if form == "inference":
        model = inference_form(model)
    plain = kind == "plain"
    assert (model.stride, model.input_planes) == SIZES[kind]
    assert model.fixed_patch == (None if plain else 32)
    assert model.supports_tiling == plain
    assert model.supports_content_noise == plain
    assert model.needs_denoised_input == (kind == "denoised")
    assert model.denoiser is None
    sides = [side for _, side, _ in model.latent_shapes(32, 32)]
    with torch.no_grad():
        features = model.encode(torch.zeros(1, model.input_planes, 32, 32))
        out = model.decode(features, [torch.zeros(1, *s) for s in model.latent_shapes(32, 32)])
    assert out.shape == (1, 2, 32, 32)
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize("kind", NETWORKS)
def test_unused_parameters_are_those_without_a_gradient(kind: str) -> None:
    model = NETWORKS[kind]()
    eps = [torch.randn(2, *shape) for shape in model.latent_shapes(32, 32)]
    output, latents = model(torch.randn(2, model.input_planes, 32, 32), eps)
    loss = output.sum() + sum(part.sum() for q in latents for part in (*q.posterior, *q.prior))
    loss.backward()
    assert model.has_unused_parameters == any(p.grad is None for p in model.parameters())


def test_settings_and_networks_have_one_stride() -> None:
    for levels in range(1, 6):
        for planes in range(1, levels + 2):
            for context in ("lean", "regular", "deep"):
                sizes: Any = {"levels": levels, "planes": planes, "context": context}
                settings = NetworkSettings(**SMALL, **sizes)
                model = (VSE if planes == 1 else ContextVSE)(**settings.arguments)
                assert settings.stride == model.stride == total_stride(levels, planes, context)


def test_planes_of_context_keep_the_side_of_the_patch() -> None:
    assert halvings(4) == halvings(4, 3, "lean") == [1, 2, 3, 4]
    assert halvings(4, 3, "regular") == [0, 0, 1, 2]
    assert halvings(8, 5, "deep") == [0, 0, 0, 0, 1, 2, 3, 4]
    assert (total_stride(4), total_stride(8, 5, "deep"), total_stride(4, 5, "regular")) == (
        16,
        16,
        4,
    )


def test_a_denoiser_is_a_part_of_its_splitter() -> None:
    """It follows to another type and mode, and has the form for prediction in a copy alone."""
    model = DenoisedVSE(2, **SMALL)
    denoiser = VSE(1, **SMALL)
    model.denoiser = Denoiser(denoiser, samples=3, tile=32, halo=16)
    model.double().eval()
    assert denoiser.input_mean.dtype == torch.float64 and not denoiser.training
    model.float()
    fast = inference_form(model)
    assert fast.denoiser is not None and fast.denoiser.network is not denoiser
    assert inference_form(fast.denoiser.network) is fast.denoiser.network
    assert (fast.denoiser.samples, fast.denoiser.tile, fast.denoiser.halo) == (3, 32, 16)
    assert model.denoiser.network is denoiser and inference_form(denoiser) is not denoiser


def test_a_seed_gives_the_initial_network_of_earlier_versions() -> None:
    torch.manual_seed(0)
    model = VSE(2, filters=4, latents=3, patch=32)
    assert model.encoder.first[0].weight[0, 0, 0].tolist() == pytest.approx(FIRST, rel=1e-6)
    assert model.output.weight[-1, -1, -1].tolist() == pytest.approx(LAST, rel=1e-6)


def test_nobody_else_asks_for_the_class_of_a_network() -> None:
    asked = re.compile(r"(isinstance|issubclass|type)\([^()]*(\([^()]*\))?[^()]*VSE")
    root = Path(denoisplit.__file__).parents[1]
    files = [*(root / "denoisplit").rglob("*.py"), *(root / "packaging").rglob("*.py")]
    hits = [
        str(path.relative_to(root))
        for path in files
        if asked.search(path.read_text(encoding="utf-8")) and path.parent.name != "network"
    ]
    assert len(files) > 100 and not hits
    assert asked.search("isinstance(run.model, ContextVSE | DenoisedVSE)")
    assert asked.search("isinstance(model_of(run), VSE)") and not asked.search("list[VSE]")
