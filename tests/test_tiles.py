"""Cores cover every pixel once; what a tile sees is cut from the reflected frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from denoisplit import tiles
from denoisplit.engine import inference_form
from denoisplit.network import VSE
from denoisplit.tiles import cut, tile_frame, tile_side

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


def test_side_of_tiles_is_the_largest_that_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = VSE(2, filters=8, latents=4, levels=2), VSE(2, filters=64, latents=4, levels=2)

    def sides(memory: int) -> list[int]:
        monkeypatch.setattr(tiles, "_memory", lambda: memory)
        return [tile_side(model, halo) for model in (small, large) for halo in (48, 240)]

    assert sides(2**40) == 4 * [max(tiles.SIDES)]
    assert sides(1) == 4 * [min(tiles.SIDES)]  # no machine is too small to try
    for memory in (2**30, 2**32, 2**33):
        for side, (model, halo) in zip(
            sides(memory), itertools.product((small, large), (48, 240)), strict=True
        ):
            each = tiles.PER_PIXEL * model.output.in_channels
            fitting = [s for s in tiles.SIDES if each * (s + 2 * halo) ** 2 <= memory // 6]
            assert side == max([*fitting, min(tiles.SIDES)])
    found = sides(2**32)
    assert found[0] > found[3]


def test_prepared_network_has_the_tiles_of_the_plain_one() -> None:
    model = VSE(2, filters=8, latents=4, levels=2).eval()
    assert tile_side(inference_form(model), 48) == tile_side(model, 48)
