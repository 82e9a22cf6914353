"""The inference graph: what ``predict --noise-address content`` computes, at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from denoisplit_zoo.exporting.graph import Moments, Sampler
from denoisplit_zoo.exporting.weights import build_graph, graph_arguments

from denoisplit.network.addressed_noise import channel_keys, standard_normal
from denoisplit.prediction.moments import RunningMoments
from denoisplit.prediction.sampling import Sampling, sample_patch
from denoisplit.run import Run, load


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return load(run_folder, device="cpu")


def graph_of(run: Run, **changes: Any) -> Sampler:
    arguments = graph_arguments(run, samples=3, seed=5)
    return build_graph(run, arguments | changes)


def raw(*shape: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(200, 60, shape)
    return torch.from_numpy(values.astype(np.float32))


@torch.inference_mode()
def compute(graph: Sampler, image: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = graph(image)
    return out


# ---------------------------------------------------------------- against the Python package


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("samples", [2, 3, 4])
def test_mean_and_std_of_the_packages_own_samples(run: Run, samples: int, antithetic: bool) -> None:
    graph = graph_of(run, samples=samples, antithetic=antithetic)
    image = raw(64, 96)
    sampling = Sampling(samples, 5, antithetic, "content", run.config.facts.content_quantum)
    drawn = torch.stack(list(sample_patch(run.model, image.numpy(), sampling, y=0, x=0))).double()
    divisor = samples - 1
    if antithetic:
        divisor = samples if samples % 2 == 0 else samples - 1 / samples
    mean = drawn.mean(dim=0)
    std = ((drawn - mean) ** 2).sum(dim=0).div(divisor).sqrt()
    scalars = torch.tensor(list(run.calibration.values()))[:, None, None]
    found = compute(graph, image[None, None])[0].double()
    # values of some 100; another memory layout sums in another order
    torch.testing.assert_close(found[:2], mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[2:], std * scalars, atol=1e-3, rtol=0)
    assert found[2:].mean() > 1  # the samples differ


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_other_kinds_return_the_same_samples(run: Run, samples: int) -> None:
    """Single ones, or their mean."""
    image = raw(1, 1, 50, 61)
    single, mean = (
        compute(
            build_graph(
                run, graph_arguments(run, samples=samples, seed=5, kind=kind), kind
            ),
            image,
        )
        for kind in ("samples", "split")
    )  # fmt: skip
    assert single.shape == (1, 2 * samples, 50, 61)
    each = single.reshape(1, samples, 2, 50, 61)
    torch.testing.assert_close(mean, each.mean(dim=1), atol=1e-3, rtol=0)
    if samples > 1:
        both = compute(graph_of(run, samples=samples), image)
        torch.testing.assert_close(mean, both[:, :2], atol=0, rtol=0)
        assert (each[:, 0] - each[:, 1]).std() > 1


def test_another_seed_gives_other_samples_of_the_same_posterior(run: Run) -> None:
    image = raw(1, 1, 48, 48)
    a, b = (compute(graph_of(run, seed=seed, samples=4), image)[0] for seed in (0, 1))
    difference, spread = (a - b)[:2].std(), a[2:].mean()
    assert 0.001 * spread < difference < 3 * spread


def test_a_batch_is_its_images(run: Run) -> None:
    graph = graph_of(run)
    images = raw(3, 1, 48, 64)
    singly = torch.cat([compute(graph, image[None]) for image in images])
    torch.testing.assert_close(compute(graph, images), singly, atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(48, 64), (49, 64), (63, 33), (17, 50)])
def test_odd_sizes_are_reflected_at_right_and_bottom(run: Run, shape: tuple[int, int]) -> None:
    graph = graph_of(run)
    image = raw(*shape)
    beyond = [(0, -side % 16) for side in shape]
    padded = torch.from_numpy(np.pad(image.numpy(), beyond, mode="reflect"))
    whole = compute(graph, padded[None, None])[..., : shape[0], : shape[1]]
    found = compute(graph, image[None, None])
    assert found.shape == (1, 4, *shape)
    torch.testing.assert_close(found, whole, atol=0, rtol=0)


# ---------------------------------------------------------------- noise


def test_noise_of_a_tile_is_that_of_the_whole_image(run: Run) -> None:
    """Bit for bit, but for the outermost cells, whose neighbours the tile does not see."""
    graph = graph_of(run)
    image = raw(1, 160, 192)
    y, x, side = 32, 64, 96
    whole = graph.content_keys(image)
    tile = graph.content_keys(image[:, y : y + side, x : x + side].contiguous())
    for level, (a, b) in enumerate(zip(whole, tile, strict=True)):
        n = 16 >> (level + 1)
        a = a[:, y >> (level + 1) :, x >> (level + 1) :][..., : b.shape[1], : b.shape[2]]
        inside = (..., slice(n, -n), slice(n, -n))
        eps = [standard_normal(k[inside], graph.channels[0, level], graph.table) for k in (a, b)]
        assert torch.equal(*eps)
        assert not torch.equal(a, b)


def test_channel_keys_are_those_of_the_package(run: Run) -> None:
    graph = graph_of(run, samples=5)
    assert graph.channels.shape == (3, 4, 4)
    for draw in range(3):
        for level in range(4):
            assert torch.equal(graph.channels[draw, level], channel_keys(5, draw, level, 4))


@pytest.mark.parametrize("antithetic", [True, False])
def test_moments_are_the_packages(antithetic: bool) -> None:
    ours, theirs = Moments(torch.zeros(())), RunningMoments()
    for k in range(5):
        ours.add(raw(3, 3, seed=k))
        theirs.add(raw(3, 3, seed=k))
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.std(antithetic=antithetic), theirs.std(antithetic=antithetic))
