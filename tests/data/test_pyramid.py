"""Planes of context: their scale, their centre, their surroundings."""

from __future__ import annotations

import numpy as np
import pytest

from denoisplit.data.pyramid import Pyramid, halved

P = 16


def test_halving_is_the_mean_of_four() -> None:
    frame = np.arange(35, dtype=np.uint16).reshape(5, 7)
    small = halved(frame)
    assert small.dtype == np.float32 and small.shape == (2, 3)
    assert small[1, 2] == frame[2:4, 4:6].mean()
    assert halved(np.ones((1, 9))).shape == (1, 4)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (40, 48), (37, 51), (84, 112)])
def test_planes_share_their_centre(y: int, x: int) -> None:
    """On a ramp a pixel tells its place; the centre is halved with floor at each scale."""
    for axis, start in enumerate((y, x)):
        ramp = np.mgrid[:200, :300][axis].astype(np.float32)
        planes = Pyramid(ramp, planes=4, patch=P).cut(y, x)
        assert planes.shape == (4, P, P)
        np.testing.assert_array_equal(planes[0], ramp[y : y + P, x : x + P])
        for k, plane in enumerate(planes):
            line = np.moveaxis(plane, axis, 0)[:, P // 2]
            first = ((start + P // 2) >> k) - P // 2
            # of the mean of 2^k pixels
            place = (first + np.arange(P)) * 2**k + (2**k - 1) / 2
            inside = (place >= 0) & (place < ramp.shape[axis] // 2**k * 2**k)
            assert inside.sum() >= P // 2
            np.testing.assert_allclose(line[inside], place[inside])


def test_outside_is_reflected_as_often_as_needed() -> None:
    frame = np.random.default_rng(0).random((20, 33)).astype(np.float32)
    planes = Pyramid(frame, planes=5, patch=P).cut(4, 10)
    level = frame
    for k in range(1, 5):
        level = halved(level)
        wide = np.pad(level, 3 * P, mode="reflect")
        y, x = (((start + P // 2) >> k) - P // 2 + 3 * P for start in (4, 10))
        np.testing.assert_array_equal(planes[k], wide[y : y + P, x : x + P])


def test_a_patch_may_reach_beyond_the_frame() -> None:
    frame = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    planes = Pyramid(frame, planes=3, patch=P, margin=P).cut(-4, 36)
    assert planes.shape == (3, P, P) and np.isfinite(planes).all()
    np.testing.assert_array_equal(planes[0], np.pad(frame, P, mode="reflect")[12:28, 52:68])
