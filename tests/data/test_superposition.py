"""Sum and mean of structures are one input to the network; camera offsets count once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from denoisplit.data.superposition import Superposition


def structures(n: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4096, (n, 20, 30)).astype(dtype)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_sum_and_mean(n: int) -> None:
    y = structures(n)
    zero = (0.0,) * n
    np.testing.assert_array_equal(Superposition("sum", zero)(y), y.sum(axis=0))
    mean = Superposition("mean", zero)(y)
    np.testing.assert_allclose(mean, y.astype(np.float64).mean(axis=0), rtol=1e-6)
    assert mean.dtype == np.float32
    assert mean.shape == (20, 30)


def test_mean_of_two_is_exact() -> None:
    """The input equals the mean of the targets, bit by bit."""
    a, b = structures(2) / np.float32(7)
    np.testing.assert_array_equal(Superposition("mean", (0, 0))([a, b]), (a + b) / np.float32(2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_integers_do_not_wrap_around(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    y = [np.full((4, 4), top, dtype=dtype)] * 3
    assert (Superposition("sum", (0.0,) * 3)(y) == 3 * top).all()


def test_a_list_of_images_is_an_array_of_them() -> None:
    y = structures(3)
    of = Superposition("sum", (1.0, 2.0, 3.0))
    np.testing.assert_array_equal(of(list(y)), of(y))


def test_leading_axes_stay() -> None:
    y = structures(2).reshape(2, 5, 4, 30)
    assert Superposition("sum", (0.0, 0.0))(y).shape == (5, 4, 30)


def test_a_sum_holds_one_camera_offset() -> None:
    """What one camera of offset o records of all structures at once."""
    light = structures(3).astype(np.float64)
    same = light + 100
    recorded = light.sum(axis=0) + 100
    found = Superposition("sum", (100.0, 100.0, 100.0))(same)
    np.testing.assert_array_equal(found, recorded)
    different = light + np.array([90, 100, 110])[:, None, None]
    found = Superposition("sum", (90.0, 100.0, 110.0))(different)
    np.testing.assert_allclose(found, recorded, rtol=1e-6)  # their mean stands for the camera's


def test_a_mean_holds_one_camera_offset_anyway() -> None:
    light = structures(2)
    found = Superposition("mean", (100.0, 100.0))(light + 100)
    np.testing.assert_array_equal(found, light.mean(axis=0) + 100)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_the_network_sees_the_same_numbers_of_sum_and_mean(n: int, offset: float) -> None:
    """(mean_k y_k - pooled mean) / pooled std, by either way."""
    y = structures(n) + np.float32(offset)
    m, s = float(y.mean()), float(y.std())
    offsets = tuple(offset + 5.0 * k for k in range(n))
    expected = (y.astype(np.float64).mean(axis=0) - m) / s
    for kind in ("sum", "mean"):
        of = Superposition(kind, offsets)
        mean, std = of.input_statistics(m, s)
        # float32 of values up to 12 288, in units of s = 1200: a few times 1e-6
        np.testing.assert_allclose((of(y) - mean) / std, expected, rtol=0, atol=1e-5)


def test_input_statistics_of_a_sum() -> None:
    # two structures: twice mean and std, and an offset of 10 too many is taken away
    assert Superposition("sum", (10.0, 10.0)).input_statistics(50.0, 4.0) == (90.0, 8.0)
    assert Superposition("mean", (10.0, 10.0)).input_statistics(50.0, 4.0) == (50.0, 4.0)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'product'.*sum.*mean"):
        Superposition("product", (0.0, 0.0))
