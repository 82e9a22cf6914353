"""The inference graph: what ``predict --noise-address content`` computes, at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from denoisplit_zoo.exporting.graph import Moments, Sampler, Splitter
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS
from denoisplit_zoo.exporting.weights import build_graph, graph_arguments

from denoisplit.network.addressed_noise import channel_keys, standard_normal
from denoisplit.prediction.frame import Prediction, predict_frame
from denoisplit.prediction.moments import RunningMoments
from denoisplit.prediction.sampling import Sampling, sample_patch
from denoisplit.run import Run, load


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return load(run_folder, device="cpu")


@pytest.fixture(scope="module")
def mapped(mapped_folder: Path) -> Run:
    """The same run with an error map."""
    return load(mapped_folder, device="cpu")


def graph_of(run: Run, **changes: Any) -> Sampler:
    graph = build_graph(run, graph_arguments(run, samples=3, seed=5) | changes)
    assert isinstance(graph, Sampler)
    return graph


def graph_of_kind(run: Run, kind: str, **options: Any) -> Splitter:
    arguments = graph_arguments(run, kind=kind, **{"samples": 3, "seed": 5} | options)
    return build_graph(run, arguments, kind)


def raw(*shape: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(200, 60, shape)
    return torch.from_numpy(values.astype(np.float32))


@torch.inference_mode()
def compute(graph: Splitter, image: torch.Tensor) -> torch.Tensor:
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


@pytest.mark.parametrize("kind", PACKAGE_KINDS)
def test_a_batch_is_its_images(mapped: Run, kind: str) -> None:
    graph = graph_of_kind(mapped, kind)
    images = raw(3, 1, 48, 64)
    singly = torch.cat([compute(graph, image[None]) for image in images])
    torch.testing.assert_close(compute(graph, images), singly, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["mmse", "interval"])
@pytest.mark.parametrize("shape", [(48, 64), (49, 64), (63, 33), (17, 50)])
def test_odd_sizes_are_reflected_at_right_and_bottom(
    mapped: Run, shape: tuple[int, int], kind: str
) -> None:
    graph = graph_of_kind(mapped, kind)
    image = raw(*shape)
    beyond = [(0, -side % graph.network.stride) for side in shape]
    padded = torch.from_numpy(np.pad(image.numpy(), beyond, mode="reflect"))
    whole = compute(graph, padded[None, None])[..., : shape[0], : shape[1]]
    found = compute(graph, image[None, None])
    assert found.shape == (1, {"mmse": 4, "interval": 6}[kind], *shape)
    torch.testing.assert_close(found, whole, atol=0, rtol=0)


# ---------------------------------------------------------------- error map


def predicted(run: Run, image: torch.Tensor, samples: int, coverage: float = 0.9) -> Prediction:
    """What ``predict`` computes; the image in one tile."""
    sampling = Sampling(samples, 5, True, "content", run.config.facts.content_quantum)
    return predict_frame(
        run.model, image.numpy(), sampling, tile=512, halo=32, mapping=run.mapping(coverage)
    )


def inside(values: Any) -> torch.Tensor:
    """The middle, in which it does not matter how the two fill the border."""
    return torch.as_tensor(values)[..., 240:-240, 240:-240]


@pytest.mark.parametrize("kind", ["mmse", "fast", "interval"])
def test_error_bars_are_those_of_predict(mapped: Run, kind: str) -> None:
    image = raw(544, 560)
    found = inside(compute(graph_of_kind(mapped, kind), image[None, None])[0])
    split = predicted(mapped, image, 3 if kind == "mmse" else 0)
    assert split.bars is not None and split.bars.half_width is not None
    decoded, half = split.bars.decoded, split.bars.half_width
    planes = {
        "mmse": (split.mean, split.bars.std),
        "fast": (decoded, split.bars.std),
        "interval": (decoded, decoded - half, decoded + half),
    }[kind]
    expected = inside(np.concatenate(planes))
    difference = (found - expected).abs().amax(dim=(1, 2))
    assert difference.max() < 1e-4 * np.ptp(image.numpy())
    assert (expected.std(dim=(1, 2)) > 100 * difference).all()  # the planes are not constant


def test_the_error_map_is_one_whatever_the_samples(mapped: Run) -> None:
    """It belongs to the decoded means; the mean of the samples is another image."""
    image = raw(1, 1, 50, 61)
    fast = compute(graph_of_kind(mapped, "fast"), image)
    for samples in (1, 4):
        mmse = compute(graph_of_kind(mapped, "mmse", samples=samples), image)
        torch.testing.assert_close(mmse[:, 2:], fast[:, 2:], atol=1e-4, rtol=0)
        assert (mmse[:, :2] - fast[:, :2]).std() > 0.1


def test_another_coverage_is_another_interval_around_the_same_means(mapped: Run) -> None:
    image = raw(1, 1, 50, 61)
    narrow, wide = (
        compute(graph_of_kind(mapped, "interval", coverage=coverage), image).split(2, dim=1)
        for coverage in (0.5, 0.9)
    )
    assert torch.equal(narrow[0], wide[0])
    assert (wide[1] < narrow[1]).all() and (narrow[2] < wide[2]).all()
    middle = (wide[1] + wide[2]) / 2
    torch.testing.assert_close(middle, wide[0], atol=1e-3, rtol=0)


def test_a_lower_end_may_be_negative(mapped: Run) -> None:
    graph = graph_of_kind(mapped, "interval")
    graph.get_buffer("error_map.level").fill_(100)
    means, low, high = compute(graph, raw(1, 1, 48, 48)).split(2, dim=1)
    assert low.max() < 0 and (low < means).all() and (means < high).all()


@pytest.mark.parametrize("kind", ["fast", "interval"])
def test_one_pass_stores_no_noise(mapped: Run, kind: str) -> None:
    graph = graph_of_kind(mapped, kind)
    assert {key.split(".")[0] for key in graph.state_dict()} == {"network", "error_map"}
    assert not any("content_keys" in name or "table" in name for name, _ in graph.named_buffers())
    image = raw(1, 1, 48, 48)
    for seed in (1, 2):
        other = compute(graph_of_kind(mapped, kind, seed=seed), image)
        assert torch.equal(other, compute(graph, image))


# ---------------------------------------------------------------- noise


def test_noise_of_a_tile_is_that_of_the_whole_image(run: Run) -> None:
    """Bit for bit, but for the outermost cells, whose neighbours the tile does not see."""
    graph = graph_of(run)
    image = raw(1, 160, 192)
    y, x, side = 32, 64, 96
    whole = graph.content_keys(image)
    tile = graph.content_keys(image[:, y : y + side, x : x + side].contiguous())
    for level, (a, b) in enumerate(zip(whole, tile, strict=True)):
        n = 8 >> level
        a = a[:, y >> (level + 1) :, x >> (level + 1) :][..., : b.shape[1], : b.shape[2]]
        inside = (..., slice(n, -n), slice(n, -n))
        eps = [standard_normal(k[inside], graph.channels[0, level], graph.table) for k in (a, b)]
        assert torch.equal(*eps)
        assert not torch.equal(a, b)


def test_channel_keys_are_those_of_the_package(run: Run) -> None:
    graph = graph_of(run, samples=5)
    levels = run.config.settings.network.levels
    assert graph.channels.shape == (3, levels, 4)
    for draw in range(3):
        for level in range(levels):
            assert torch.equal(graph.channels[draw, level], channel_keys(5, draw, level, 4))


@pytest.mark.parametrize("antithetic", [True, False])
def test_moments_are_the_packages(antithetic: bool) -> None:
    ours, theirs = Moments(torch.zeros(())), RunningMoments()
    for k in range(5):
        ours.add(raw(3, 3, seed=k))
        theirs.add(raw(3, 3, seed=k))
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.std(antithetic=antithetic), theirs.std(antithetic=antithetic))
