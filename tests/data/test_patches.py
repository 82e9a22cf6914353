"""Training crops are functions of (seed, number) and reach everywhere; the grid covers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from denoisplit.data.patches import EpochSampler, GridPatches, RandomCrops

Array = NDArray[np.float32]


def frames(n: int, height: int, width: int, first: int = 0) -> tuple[Array, ...]:
    """Frames whose pixels are all different (integers below 2^24: exact in float32)."""
    size = height * width
    return tuple(
        np.arange((first + j) * size, (first + j + 1) * size, dtype=np.float32).reshape(
            height, width
        )
        for j in range(n)
    )


def crops(group: Any, **settings: Any) -> RandomCrops:
    settings = {"patch": 16, "seed": 0, "independent": False, "augment": False} | settings
    return RandomCrops(group, **settings)


# ---------------------------------------------------------------- candidates


def half_empty(height: int = 64, width: int = 256) -> Array:
    """Structure in the left quarter, little else; every pixel of its own value."""
    image = np.random.default_rng(0).random((height, width), dtype=np.float32)
    image[:, : width // 4] *= 100
    return image


def share_on_structure(group: Any, **settings: Any) -> float:
    chosen = crops(group, **settings)
    return float(np.mean([chosen[i][0].max() > 10 for i in range(400)]))


def test_candidates_look_for_structure() -> None:
    """With n candidates a crop misses it only if each of them does."""
    group = ((half_empty(),),)
    one = share_on_structure(group)
    assert one == pytest.approx(64 / 241, abs=0.07)  # 64 places of 241 reach it
    for candidates in (2, 4):
        expected = 1 - (1 - one) ** candidates
        assert share_on_structure(group, candidates=candidates) == pytest.approx(expected, abs=0.07)


def test_every_structure_counts_in_its_own_unit() -> None:
    """A dim one, and a bright one that is flat: what is bright alone does not decide."""
    rng = np.random.default_rng(0)
    flat = np.full((64, 256), 1e6, dtype=np.float32)
    noisy = (1e4 * rng.standard_normal((64, 256))).astype(np.float32)
    mask = np.zeros((64, 256), dtype=bool)
    mask[:, 200:] = rng.random((64, 56)) > 0.5
    for other in (flat, flat + noisy, mask):
        share = share_on_structure(((half_empty(),), (other,)), candidates=4)
        assert share == pytest.approx(1 - (1 - 64 / 241) ** 4, abs=0.07)


def test_candidates_of_unrelated_structures_are_their_own() -> None:
    group = ((half_empty(),), (half_empty()[:, ::-1].copy(),))
    chosen = crops(group, independent=True, candidates=4)
    both = np.mean([float((chosen[i].amax(dim=(1, 2)) > 10).all()) for i in range(400)])
    assert both == pytest.approx((1 - (1 - 64 / 241) ** 4) ** 2, abs=0.08)


def test_crops_of_candidates_are_windows_of_the_frames() -> None:
    (group,) = (frames(2, 40, 50),)
    crop = crops((group,), candidates=3)[5][0].numpy()
    first = int(crop[0, 0])
    frame, y, x = first // 2000, first % 2000 // 50, first % 50
    np.testing.assert_array_equal(crop, group[frame][y : y + 16, x : x + 16])


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("augment", [False, True])
def test_a_crop_is_a_function_of_seed_and_number(independent: bool, augment: bool) -> None:
    group = (frames(3, 64, 80), frames(3, 64, 80, first=3))
    settings: dict[str, Any] = dict(independent=independent, augment=augment)
    forwards = [crops(group, **settings)[i] for i in range(20)]
    one = crops(group, **settings)
    for i in reversed(range(20)):  # whatever was asked before
        assert torch.equal(one[i], forwards[i])
    other = crops(group, seed=1, **settings)
    same = sum(torch.equal(other[i], forwards[i]) for i in range(20))
    assert same <= 1  # places among 3 * 49 * 65: two seeds agree once in 9555
    assert len({c.numpy().tobytes() for c in forwards}) >= 19


def test_global_generators_do_not_matter() -> None:
    group = (frames(2, 64, 64),)
    torch.manual_seed(0)
    first = crops(group, augment=True)[5]
    torch.manual_seed(1)
    torch.rand(3)
    assert torch.equal(crops(group, augment=True)[5], first)


def test_workers_give_the_same_crops_in_the_same_order() -> None:
    data = crops((frames(2, 64, 64),), augment=True)
    alone = torch.cat(list(DataLoader(data, batch_size=4, sampler=EpochSampler(len(data)))))
    assert torch.equal(alone, torch.stack([data[i] for i in range(len(data))]))


def test_epochs_go_on_counting() -> None:
    sampler = EpochSampler(5)
    assert len(sampler) == 5
    assert list(sampler) == [0, 1, 2, 3, 4]
    sampler.set_epoch(3)  # as after a resume
    assert list(sampler) == [15, 16, 17, 18, 19]
    assert list(sampler) == [15, 16, 17, 18, 19]


def test_numbers_far_beyond_the_first_epoch_are_crops_too() -> None:
    data = crops((frames(1, 64, 64),))
    assert not torch.equal(data[10**9], data[10**9 + 1])


# ---------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("n", "height", "width", "patch", "expected"),
    [
        (44, 1004, 1004, 128, 44 * 49),  # T1 of the paper: 2156
        (44, 1004, 1004, 64, 9900),
        (2, 64, 80, 16, 2 * 4 * 5),
        (3, 31, 47, 16, 3 * 1 * 2),
        (1, 16, 16, 16, 1),
    ],
)
def test_length_of_an_epoch(n: int, height: int, width: int, patch: int, expected: int) -> None:
    group = (tuple(np.broadcast_to(np.float32(0), (height, width)) for _ in range(n)),)
    assert len(crops(group, patch=patch)) == expected


def test_length_of_an_epoch_of_unrelated_structures_is_that_of_the_largest() -> None:
    group = (frames(2, 64, 64), frames(5, 64, 64))
    assert len(crops(group, independent=True)) == 5 * 16


def test_crops_are_windows_of_the_frames() -> None:
    (a,) = frames(1, 40, 50)
    data = crops(((a,),))
    for i in range(200):
        (crop,) = data[i].numpy()
        y, x = divmod(int(crop[0, 0]), 50)
        np.testing.assert_array_equal(crop, a[y : y + 16, x : x + 16])


def test_every_place_is_reached_the_last_one_too() -> None:
    data = crops((frames(1, 20, 19),))
    n = 2000
    places = np.array([divmod(int(data[i][0, 0, 0]), 19) for i in range(n)])
    counts = np.zeros((5, 4))
    np.add.at(counts, tuple(places.T), 1)
    # 20 places, evenly: 100 each, binomial with a std of 10
    assert np.abs(counts - n / 20).max() < 5 * 10
    assert counts.min() > 0


def test_frames_are_drawn_by_their_size() -> None:
    group = ((*frames(1, 32, 32), *frames(1, 64, 96, first=10), *frames(1, 12, 64, first=200)),)
    data = crops(group)
    n = 2000
    large = sum(float(data[i].min()) >= 10 * 64 * 96 for i in range(n))
    # 24 tiles of 28; the third frame holds no patch and is never drawn
    assert large / n == pytest.approx(24 / 28, abs=5 * 0.35 / np.sqrt(n))
    assert max(float(data[i].max()) for i in range(n)) < 11 * 64 * 96


def test_a_frame_of_the_size_of_a_patch_is_the_patch() -> None:
    (a,) = frames(1, 16, 16)
    np.testing.assert_array_equal(crops(((a,),))[7][0], a)


# ---------------------------------------------------------------- pairs and augmentation


@pytest.mark.parametrize("augment", [False, True])
def test_co_registered_structures_keep_their_pairing(augment: bool) -> None:
    shift = 3 * 64 * 80
    group = (frames(3, 64, 80), frames(3, 64, 80, first=3), frames(3, 64, 80, first=6))
    data = crops(group, augment=augment)
    for i in range(100):
        a, b, c = data[i]
        assert (b - a == shift).all()
        assert (c - a == 2 * shift).all()


@pytest.mark.parametrize("augment", [False, True])
def test_unrelated_structures_are_drawn_apart(augment: bool) -> None:
    group = (frames(3, 64, 80), frames(3, 64, 80))
    data = crops(group, independent=True, augment=augment)
    n = 300
    first = np.array([[float(data[i][k].min()) for i in range(n)] for k in (0, 1)])
    frame = first // (64 * 80)
    # the same frame once in three, binomial; the same place almost never
    assert (frame[0] == frame[1]).mean() == pytest.approx(1 / 3, abs=5 * 0.47 / np.sqrt(n))
    assert (first[0] == first[1]).mean() < 0.02


def test_unrelated_structures_may_have_other_sizes_and_numbers() -> None:
    group = (frames(2, 40, 90), frames(5, 64, 30, first=50))
    data = crops(group, independent=True, augment=True)
    seen = torch.stack([data[i] for i in range(200)])
    assert seen.shape == (200, 2, 16, 16)
    assert seen[:, 0].max() < 2 * 40 * 90 <= seen[:, 1].min()


@pytest.mark.parametrize("independent", [False, True])
def test_augmentation_is_one_of_the_eight_flips_and_rotations(independent: bool) -> None:
    (a,) = frames(1, 40, 50)
    data = crops(((a,), (a,)), augment=True, independent=independent)
    found: dict[tuple[int, bool], int] = {}
    n = 800
    pairs = 0
    for i in range(n):
        kinds = []
        for crop in data[i].numpy():
            y, x = divmod(int(crop.min()), 50)
            window = a[y : y + 16, x : x + 16]
            match = [
                (turns, flip)
                for turns in range(4)
                for flip in (False, True)
                if np.array_equal(np.rot90(window, turns)[:, :: -1 if flip else 1], crop)
            ]
            assert len(match) == 1  # one of them, and the window was not changed otherwise
            kinds.append(match[0])
            found[match[0]] = found.get(match[0], 0) + 1
        pairs += kinds[0] == kinds[1]
    assert len(found) == 8
    # evenly: 200 of 1600 each; pairs that go together halve the independent draws
    assert max(abs(v - 200) for v in found.values()) < 5 * 2 * np.sqrt(800 / 8)
    if independent:
        assert pairs / n == pytest.approx(1 / 8, abs=5 * 0.33 / np.sqrt(n))
    else:
        assert pairs == n


def test_crops_are_float32_and_do_not_share_memory_with_the_frames() -> None:
    (a,) = frames(1, 32, 32)
    before = a.copy()
    data = crops(((a,),))
    crop = data[0]
    assert crop.dtype == torch.float32
    crop.zero_()
    np.testing.assert_array_equal(a, before)
    assert GridPatches(((a,),), patch=16)[0].dtype == torch.float32


# ---------------------------------------------------------------- grid


@pytest.mark.parametrize(("height", "width"), [(64, 80), (70, 95), (16, 16), (47, 31)])
def test_grid_covers_all_but_the_rest_once(height: int, width: int) -> None:
    group = (frames(3, height, width), frames(3, height, width, first=3))
    grid = GridPatches(group, patch=16)
    rows, columns = height // 16, width // 16
    assert len(grid) == 3 * rows * columns
    seen = torch.stack([grid[i] for i in range(len(grid))]).numpy()
    assert seen.shape == (len(grid), 2, 16, 16)
    expected = np.concatenate([f[: rows * 16, : columns * 16].ravel() for f in group[0]])
    np.testing.assert_array_equal(np.sort(seen[:, 0], axis=None), np.sort(expected))
    assert (seen[:, 1] - seen[:, 0] == 3 * height * width).all()


def test_grid_ends_where_it_ends() -> None:
    grid = GridPatches((frames(1, 32, 32),), patch=16)
    assert len(list(DataLoader(grid, batch_size=3))) == 2
    with pytest.raises(IndexError):
        grid[4]


# ---------------------------------------------------------------- context


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("independent", [False, True])
def test_the_first_plane_is_the_crop_without_context(augment: bool, independent: bool) -> None:
    group = [frames(2, 70, 90), frames(2, 70, 90, first=2)]
    settings = {"augment": augment, "independent": independent, "candidates": 2}
    plain, planes = crops(group, **settings), crops(group, planes=3, **settings)
    for number in range(6):
        assert planes[number].shape == (2, 3, 16, 16)
        assert torch.equal(planes[number][:, 0], plain[number])


def test_structures_show_the_same_context_turned_alike() -> None:
    """Each plane of both structures, which differ by a constant, and its turns."""
    one = frames(1, 70, 90)
    item = crops([one, (one[0] + 7,)], planes=3, augment=True)[3]
    torch.testing.assert_close(item[1], item[0] + 7)
    still = crops([one], planes=3)
    turned = crops([one], planes=3, augment=True)
    for number in range(8):
        a, b = still[number][0], turned[number][0]
        found = [
            (turns, flip)
            for turns in range(4) for flip in (False, True)
            if torch.equal(b, c := torch.rot90(a, turns, (1, 2)).flip(2) if flip
                           else torch.rot90(a, turns, (1, 2))) and c is not None
        ]  # fmt: skip
        assert len(found) == 1


def test_the_grid_has_context_too() -> None:
    group = [frames(1, 40, 48), frames(1, 40, 48, first=1)]
    plain, planes = GridPatches(group, patch=16), GridPatches(group, patch=16, planes=3)
    assert len(plain) == len(planes) == 6
    for number in range(6):
        assert planes[number].shape == (2, 3, 16, 16)
        assert torch.equal(planes[number][:, 0], plain[number])
