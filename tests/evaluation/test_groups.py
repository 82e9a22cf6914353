"""Groups of pixels by local intensity: one for every pixel, in order, and none too narrow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from denoisplit.evaluation.groups import (
    NARROWEST,
    QUANTILES,
    IntensityGroups,
    intensity_groups,
    local_intensities,
)

Array = np.ndarray[Any, Any]


def frames(*planes: Array) -> list[Array]:
    return [np.float32(plane)[None] for plane in planes]


def random(count: int = 3, side: int = 64) -> list[Array]:
    rng = np.random.default_rng(0)
    return frames(*(rng.gamma(2, 10, (side, side)) for _ in range(count)))


def test_every_pixel_is_in_one_group() -> None:
    made = random()
    groups = intensity_groups(made, 0)
    index = np.concatenate([groups.index(frame[0]).ravel() for frame in made])
    values = np.concatenate([frame[0].ravel() for frame in made])
    assert len(groups) == len(QUANTILES) + 1 == 11
    share = np.bincount(index, minlength=len(groups)) / index.size
    np.testing.assert_allclose(share, [0.1] * 9 + [0.05] * 2, atol=1e-3)
    assert (np.diff(groups.edges) > 0).all() and (np.diff(groups.centres) > 0).all()
    for g in range(len(groups)):
        own = values[index == g]
        assert groups.centres[g] == pytest.approx(own.mean(), rel=1e-5)
        assert g == 0 or own.min() >= groups.edges[g - 1]
        assert g == len(groups) - 1 or own.max() < groups.edges[g]
    # new images may be darker or brighter
    assert groups.index(np.array([-1e9, 1e9])).tolist() == [0, len(groups) - 1]


def test_an_image_of_one_intensity_is_one_group() -> None:
    groups = intensity_groups(frames(np.full((16, 16), 7.0)), 0)
    assert len(groups) == 1 and groups.edges.size == 0
    assert groups.centres.tolist() == [7.0]
    assert (groups.index(np.array([[-5.0, 7.0, 1e6]])) == 0).all()


def test_groups_that_are_too_close_are_merged() -> None:
    """Most pixels are background, whose intensities differ by less than the least width."""
    rng = np.random.default_rng(0)
    plane = 10 + 0.02 * rng.random((64, 64))
    plane[:, :8] = np.linspace(20, 110, 8)
    groups = intensity_groups(frames(plane), 0)
    assert 2 <= len(groups) < 5
    assert (np.diff(groups.centres) > NARROWEST * np.ptp(plane)).all()
    assert groups.edges[0] > 10.01  # the background is one group
    assert groups.index(plane[:, 8:]).max() <= 1


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_two_intensities_are_two_groups_or_one(share: float) -> None:
    plane = np.zeros((50, 50))
    plane.flat[: int(share * plane.size)] = 100
    groups = intensity_groups(frames(plane), 0)
    index = groups.index(np.float32(plane))
    counts = np.bincount(index.ravel(), minlength=len(groups))
    assert (counts > 0).all()
    # no quantile falls between them if less than 5 % are bright
    assert len(groups) == (1 if share < 0.05 else 2)
    assert (np.diff(groups.centres) > 0).all()


def test_groups_are_those_of_one_structure() -> None:
    (a,), (b,) = (frame for frame in random(2))
    both = [np.stack([a, 100 * b])]
    assert intensity_groups(both, 1).centres == pytest.approx(
        100 * intensity_groups([b[None]], 0).centres
    )


def test_the_unit_does_not_matter() -> None:
    made = random()
    plain = intensity_groups(made, 0)
    moved = intensity_groups([8 * frame + 64 for frame in made], 0)
    np.testing.assert_allclose(moved.edges, 8 * plain.edges + 64, rtol=1e-5)
    np.testing.assert_allclose(moved.centres, 8 * plain.centres + 64, rtol=1e-5)


def test_groups_return_from_json() -> None:
    for groups in (intensity_groups(random(), 0), intensity_groups(frames(np.ones((4, 4))), 0)):
        stored = json.loads(json.dumps(groups.as_dict()))
        again = IntensityGroups.from_dict(stored)
        np.testing.assert_array_equal(again.edges, groups.edges)
        np.testing.assert_array_equal(again.centres, groups.centres)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"edges": [1.0]},
        {"edges": [1.0], "centres": [0.0]},
        {"edges": [1.0], "centres": [0.0, 2.0, 3.0]},
        {"edges": [2.0, 1.0], "centres": [0.0, 1.5, 3.0]},
        {"edges": [1.0, 1.0], "centres": [0.0, 1.0, 3.0]},
        {"edges": [float("nan")], "centres": [0.0, 2.0]},
        {"edges": [1.0], "centres": [0.0, float("inf")]},
        {"edges": [1.0], "centres": [2.0, 0.0]},
        {"edges": 1.0, "centres": [0.0, 2.0]},
        {"edges": ["dark"], "centres": [0.0, 2.0]},
        {"edges": None, "centres": [0.0, 2.0]},
        {"edges": [], "centres": []},
    ],
)
def test_damaged_groups_are_refused(stored: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        IntensityGroups.from_dict(stored)


def test_local_intensities_average_noise_but_keep_the_mean() -> None:
    rng = np.random.default_rng(0)
    noise = np.float32(rng.normal(50, 10, (2, 96, 96)))
    (blurred,) = local_intensities([noise])
    assert blurred.shape == noise.shape
    assert blurred.mean() == pytest.approx(noise.mean(), abs=0.1)
    # a Gaussian of 2 px averages over about 4 pi 2^2 pixels
    expected = 10 / np.sqrt(4 * np.pi * 4)
    assert blurred.std() == pytest.approx(expected, rel=0.2)
    flat = np.full((1, 20, 30), 3, np.float32)
    np.testing.assert_allclose(local_intensities([flat])[0], flat, rtol=1e-6)
