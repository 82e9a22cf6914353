"""Splits: in file order, disjoint, frames that are cut leave gaps; every refusal is one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from denoisplit.data.simulation import simulate
from denoisplit.data.splits import GAP, Splits, frames_held_out, rule_for, split
from denoisplit.errors import InputError

Image = NDArray[np.int64]


def frames(n: int, height: int = 64, width: int = 80, first: int = 0) -> list[Image]:
    """Frames whose pixels are all different: a value says where it comes from."""
    size = height * width
    return [
        np.arange((first + j) * size, (first + j + 1) * size).reshape(height, width)
        for j in range(n)
    ]


def cut(
    *structures: list[Image], pairing: str = "co-registered", rule: str = "rounded", patch: int = 16
) -> Splits:
    names = [f"s{k}" for k in range(len(structures))]
    return split(structures, names=names, pairing=pairing, rule=rule, patch=patch)


def counts(splits: Splits) -> tuple[int, int, int]:
    """Frames of the first structure in training, validation, test."""
    return len(splits.training[0]), len(splits.validation[0]), len(splits.test[0])


# ---------------------------------------------------------------- whole frames


@pytest.mark.parametrize(
    ("n", "held"), [(3, 1), (4, 1), (10, 1), (14, 1), (16, 2), (20, 2), (26, 3), (54, 5), (100, 10)]
)
@pytest.mark.parametrize("rule", ["rounded", "spread"])
def test_a_tenth_rounded_is_held_back(n: int, held: int, rule: str) -> None:
    assert counts(cut(frames(n), rule=rule)) == (n - 2 * held, held, held)


@pytest.mark.parametrize("n", [3, 5, 15, 36, 101])
def test_spread_frames_are_evenly_far_apart_and_none_is_lost_or_doubled(n: int) -> None:
    result = cut(frames(n), rule="spread")
    size = result.test[0][0].size
    training, validation, test = ([int(f.flat[0]) // size for f in part[0]] for part in result)
    assert sorted([*training, *validation, *test]) == list(range(n))
    assert training == sorted(training)
    for held in (validation, test):
        gaps = np.diff([*held, held[0] + n])  # around the end: no part of the files is left out
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("n", "held"), [(10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (54, 5), (70, 7), (100, 10)]
)
def test_truncated_rule_of_the_paper(n: int, held: int) -> None:
    # 54 frames of BioSR: 44, 5, 5; 100 frames of Hagen: 80, 10, 10
    assert counts(cut(frames(n, 32, 32), rule="truncated")) == (n - 2 * held, held, held)


@pytest.mark.parametrize("rule", ["rounded", "truncated"])
def test_frames_stay_in_file_order_and_none_is_lost_or_doubled(rule: str) -> None:
    given = frames(25)
    result = cut(given, rule=rule)
    held = len(result.test[0])
    ordered = [*result.test[0], *result.validation[0], *result.training[0]]
    assert len(ordered) == 25
    for a, b in zip(ordered, given, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(result.test[0][0], given[0])
    np.testing.assert_array_equal(result.validation[0][0], given[held])


def test_co_registered_frames_stay_pairs() -> None:
    given = frames(12), frames(12, first=100)
    for group in cut(*given):
        for a, b in zip(*group, strict=True):
            assert (b - a == 100 * a.size).all()


# ---------------------------------------------------------------- the rule that frames ask for


def noisy(images: NDArray[np.float32], seed: int) -> list[NDArray[np.float32]]:
    """With noise as strong as the contrast."""
    rng = np.random.default_rng(seed)
    return [image + rng.normal(0, images.std(), image.shape) for image in images]


@pytest.mark.parametrize("kind", ["mesh", "filaments", "puncta"])
def test_unlike_frames_are_spread_and_a_time_series_is_not(kind: str) -> None:
    """Noise or not; one structure that moves little is enough."""
    cells = simulate(kind, frames=10, size=128, seed=3)
    series = np.stack([np.roll(cells[0], (j, 2 * j), (0, 1)) for j in range(10)])
    assert rule_for([list(cells)], "auto") == "spread"
    assert rule_for([noisy(cells, 0), noisy(cells, 1)], "auto") == "spread"
    assert rule_for([list(series)], "auto") == "rounded"
    assert rule_for([noisy(cells, 0), noisy(series, 1)], "auto") == "rounded"


def test_a_rule_that_is_asked_for_stands() -> None:
    cells = list(simulate("mesh", frames=4, size=64, seed=3))
    for rule in ("rounded", "spread", "truncated"):
        assert rule_for([cells], rule) == rule


def test_frames_that_cannot_be_compared_are_spread() -> None:
    constant = [np.zeros((64, 64))] * 5
    sizes = [np.random.default_rng(j).random((64 + j, 64)) for j in range(5)]
    assert rule_for([constant], "auto") == rule_for([sizes], "auto") == "spread"


@pytest.mark.parametrize("rule", ["rounded", "spread"])
@pytest.mark.parametrize("pairing", ["co-registered", "in-order", "unrelated"])
def test_the_numbers_of_the_frames_held_out(rule: str, pairing: str) -> None:
    n = (25, 25) if pairing == "co-registered" else (25, 14)
    given = [frames(count, first=1000 * k) for k, count in enumerate(n)]
    result = cut(*given, pairing=pairing, rule=rule)
    found = frames_held_out(n, pairing=pairing, rule=rule)
    for k, numbers in enumerate(found):
        for part, group in (("validation", result.validation[k]), ("test", result.test[k])):
            first = [int(frame.flat[0]) for frame in group]
            assert first == [int(given[k][j].flat[0]) for j in numbers[part]]
    assert frames_held_out((2, 2), pairing="co-registered", rule=rule) == [{}, {}]


def test_a_structure_of_one_frame_beside_one_of_many() -> None:
    """Of the former a part is held out, of the latter a frame."""
    given = frames(1, 400, 80), frames(25)
    (_, validation), (_, test) = cut(*given, pairing="unrelated")[1:]
    one, many = frames_held_out((1, 25), pairing="unrelated", rule="rounded")
    assert one == {}
    assert many == {"validation": [2], "test": [0]}
    assert test[0].flat[0] == given[1][many["test"][0]].flat[0]
    assert validation[0].flat[0] == given[1][many["validation"][0]].flat[0]


# ---------------------------------------------------------------- frames that are cut


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    ("height", "width"), [(100, 300), (300, 100), (290, 290), (64, 401), (333, 40)]
)
def test_one_or_two_frames_are_cut_along_the_longer_side(n: int, height: int, width: int) -> None:
    result = cut(frames(n, height, width))
    assert counts(result) == (n, n, n)
    axis = int(width >= height)
    longer, shorter = max(height, width), min(height, width)
    for j in range(n):
        parts = [group[0][j] for group in result]
        places = []
        for part in parts:
            assert part.shape[1 - axis] == shorter
            where = part - j * height * width
            along = where % width if axis else where // width
            places.append((int(along.min()), int(along.max())))
            assert along.max() - along.min() + 1 == part.shape[axis]
        # disjoint, in the order training, validation, test, at least 32 px apart
        (_, a), (b, c), (d, _) = places
        assert b - a - 1 >= GAP == 32
        assert d - c - 1 >= GAP
        assert places[0][0] == 0
        assert places[2][1] == longer - 1  # nothing wasted but the gaps
        usable = longer - 64
        for part, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
            # rounded to a pixel each, the last takes what two roundings left
            assert part.shape[axis] == pytest.approx(share * usable, abs=1)


def test_co_registered_frames_are_cut_alike() -> None:
    for group in cut(frames(1, 200, 300), frames(1, 200, 300, first=7)):
        assert (group[1][0] - group[0][0] == 7 * 200 * 300).all()


def test_the_rule_of_the_paper_cuts_no_frame() -> None:
    with pytest.raises(InputError, match="at least 10"):
        cut(frames(2, 400, 400), rule="truncated")


# ---------------------------------------------------------------- other pairings


def test_in_order_stacks_are_cut_to_the_shortest_before_splitting() -> None:
    a, b = frames(30), frames(22)
    result = cut(a, b, pairing="in-order")
    assert [len(group[k]) for group in result for k in (0, 1)] == [18, 18, 2, 2, 2, 2]
    np.testing.assert_array_equal(result.training[0][-1], a[21])
    np.testing.assert_array_equal(result.training[1][-1], b[21])


def test_in_order_frames_are_cut_to_one_size() -> None:
    result = cut(frames(5, 64, 80), frames(5, 70, 60), pairing="in-order")
    for group in result:
        assert {image.shape for structure in group for image in structure} == {(64, 60)}


def test_unrelated_structures_are_split_each_for_itself() -> None:
    a, b = frames(30, 64, 80), frames(10, 90, 50)
    result = cut(a, b, pairing="unrelated")
    # training keeps all frames of their own sizes
    assert [len(s) for s in result.training] == [24, 8]
    assert [s[0].shape for s in result.training] == [(64, 80), (90, 50)]
    # validation and test are superposed: as many frames, of one size
    for group in (result.validation, result.test):
        assert [len(s) for s in group] == [1, 1]
        assert [s[0].shape for s in group] == [(64, 50), (64, 50)]
    np.testing.assert_array_equal(result.test[0][0], a[0][:, :50])


def test_unrelated_structures_may_be_whole_and_cut() -> None:
    whole, single = frames(10, 128, 128), frames(1, 300, 128)
    result = cut(whole, single, pairing="unrelated")
    assert [len(s) for s in result.training] == [8, 1]
    for group in (result.validation, result.test):
        assert group[0][0].shape == group[1][0].shape


@pytest.mark.parametrize("pairing", ["co-registered", "in-order", "unrelated"])
@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_no_pixel_is_in_two_splits(pairing: str, n: int) -> None:
    result = cut(frames(n, 200, 320), frames(n, 200, 320), pairing=pairing)
    for k in (0, 1):
        seen = [np.concatenate([f.ravel() for f in group[k]]) for group in result]
        total = np.concatenate(seen)
        assert np.unique(total).size == total.size


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("structures", "settings", "words"),
    [
        ((frames(5), frames(4)), {}, ["s1", "4 frames", "5", "s0"]),
        (
            (frames(3), [*frames(2), *frames(1, 64, 81)]),
            {},
            ["s1, frame 2", "64 x 81 px", "64 x 80 px"],
        ),
        (
            (frames(9),),
            {"rule": "truncated"},
            ["s0", "9 frames", "at least 10 for the split rule truncated"],
        ),
        ((frames(1, 60, 66),), {}, ["s0", "60 x 66 px is too small to be cut", "larger frames"]),
        ((frames(3, 64, 40),), {"patch": 48}, ["s0", "64 x 40 px", "48 x 48", "network.patch"]),
        # the parts of 300 px are 165, 35 and 36 px wide: validation cannot hold a patch
        ((frames(1, 300, 300),), {"patch": 64}, ["s0", "validation", "64 x 64"]),
        ((frames(4, 24, 24),), {"patch": 16}, ["s0", "24 x 24 px for test", "32 x 32"]),
    ],
    ids=["number", "size", "few", "tiny", "patch", "part", "test"],
)
def test_unsuitable_frames_are_refused_in_one_line(
    structures: tuple[list[Image], ...], settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        cut(*structures, **settings)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_the_second_structure_is_refused_too() -> None:
    with pytest.raises(InputError, match="structure s1: found a frame of 40 x 200 px for training"):
        cut(frames(3, 128, 128), frames(3, 40, 200), pairing="unrelated", patch=64)
