"""Cores cover every pixel once; what a tile sees is cut from the reflected frame."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.images.tiling import cut, tile_frame
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction import tiles
from denoisplit.prediction.tiles import tile_side

Array = NDArray[np.float32]


def frame_of(height: int, width: int, seed: int = 0) -> Array:
    """Integers: exact in float32 under all that the stub does."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1000, (height, width)).astype(np.float32)


def frames_to_cut(n: int = 400) -> list[tuple[int, int, int, int]]:
    rng = np.random.default_rng(0)
    return [
        (*(int(v) for v in rng.integers(1, 700, 2)), int(rng.integers(1, 300)), 2 ** int(s))
        for s in rng.integers(0, 7, n)
    ]


def test_cores_cover_every_pixel_once_and_start_on_the_stride() -> None:
    for height, width, tile, stride in frames_to_cut():
        written = np.zeros((height, width), dtype=int)
        cores = tile_frame(height, width, tile=tile, stride=stride)
        for core in cores:
            assert core.y % stride == core.x % stride == 0
            assert core.height > 0
            assert core.width > 0
            assert core.y + core.height <= height
            assert core.x + core.width <= width
            written[core.y : core.y + core.height, core.x : core.x + core.width] += 1
        assert (written == 1).all(), (height, width, tile, stride)


def test_cores_are_about_as_large_as_asked_for() -> None:
    for height, width, tile, stride in frames_to_cut():
        cores = tile_frame(height, width, tile=tile, stride=stride)
        for sides, whole in (
            ([c.height for c in cores], height),
            ([c.width for c in cores], width),
        ):
            # one and a half of the tile, and what rounding up to the stride adds
            assert max(sides) <= max(1.5 * tile, 1.25 * tile + stride)
            # no slivers: half a tile, less what rounding took from the last one; or the whole
            inner = sorted(set(sides))[-1]
            assert inner >= min(whole, tile / 2)
            # all but the last of a row are equal
            assert len(set(sides)) <= 2


def test_a_frame_within_a_tile_is_one_core() -> None:
    assert tile_frame(256, 37, tile=256, stride=16) == [(0, 0, 256, 37)]


@pytest.mark.parametrize(("height", "width"), [(60, 47), (5, 90), (3, 2)])
def test_a_cut_is_that_of_the_reflected_frame(height: int, width: int) -> None:
    image = frame_of(height, width)
    whole = np.pad(image, 50, mode="reflect")
    for y, x, bottom, right in itertools.product((-50, -3, 0, 2), (-7, 0, 1), (3, 40, 51), (2, 49)):
        expected = whole[y + 50 : bottom + 50, x + 50 : right + 50]
        np.testing.assert_array_equal(cut(image, y, x, bottom, right), expected)


GB = 2**30


@pytest.mark.parametrize(
    ("memory", "filters", "halo", "side"),
    [(24, 32, 96, 512), (24, 64, 96, 512), (8, 64, 96, 384), (4, 32, 96, 384), (4, 32, 48, 448),
     (1, 32, 96, 64), (0, 64, 240, 64)],
)  # fmt: skip
def test_tiles_are_as_large_as_memory_allows(
    memory: int, filters: int, halo: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "memory_at_most", lambda: memory * GB)
    assert tile_side(VSE(2, filters=filters, latents=4, levels=2), halo) == side


def test_processes_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "memory_at_most", lambda: 32 * GB)
    model = VSE(2, filters=64, latents=4, levels=2)
    sides = [tile_side(model, 96, processes=n) for n in (1, 4, 16)]
    assert sides == [512, 384, 64]
    monkeypatch.setattr(tiles, "memory_at_most", lambda: 8 * GB)
    assert tile_side(model, 96) == sides[1]  # a fourth of it


@pytest.mark.parametrize(("memory", "side"), [(141, 2048), (24, 1024), (8, 512), (4, 320)])
def test_tiles_of_a_gpu_go_by_its_own_memory(
    memory: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the published network, with a stand-in for the device."""
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory * GB)
    )
    model = SimpleNamespace(
        input_mean=SimpleNamespace(device=torch.device("cuda", 0)),
        output=SimpleNamespace(in_channels=64),
    )
    assert tile_side(model, 96) == side  # type: ignore[arg-type]


def test_prepared_network_has_the_tiles_of_the_plain_one() -> None:
    model = VSE(2, filters=8, latents=4, levels=2).eval()
    assert tile_side(inference_form(model), 48) == tile_side(model, 48)
