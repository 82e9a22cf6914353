"""Calibration: the closed form is the fit, perfect uncertainty needs none, no pixel is lost."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from denoisplit.evaluation.calibration import (
    CalibrationCurve,
    binned_errors,
    calibrate,
    calibration_curve,
    calibration_error,
    calibration_scalar,
    closed_form_bias,
    degrees_of_freedom,
)
from denoisplit.prediction.moments import RunningMoments

Array = NDArray[np.float64]
Form = Literal["closed", "ratio"]


def perfect(
    seed: int = 0, shape: tuple[int, ...] = (4, 200, 250), scale: float = 1.0
) -> tuple[Array, Array, Array]:
    """Reference, mean and std whose errors are as large as the std says."""
    rng = np.random.default_rng(seed)
    std = scale * rng.uniform(0.5, 3.0, shape)
    mean = scale * rng.normal(100, 20, shape)
    return mean + std * rng.normal(size=shape), mean, std


@pytest.mark.parametrize("form", ["closed", "ratio"])
def test_perfect_uncertainty_gives_one(form: Form) -> None:
    assert calibration_scalar(*perfect(), form=form) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("form", ["closed", "ratio"])
def test_a_third_of_the_std_gives_three_times_the_scalar(form: Form) -> None:
    reference, mean, std = perfect()
    whole = calibration_scalar(reference, mean, std, form=form)
    third = calibration_scalar(reference, mean, std / 3, form=form)
    assert third == pytest.approx(3 * whole)
    assert third == pytest.approx(3, abs=0.03)


def test_closed_form_equals_the_gradient_fit() -> None:
    """The fit of Levi et al.: Adam on v = a^2 from 2.0 with rate 0.1, here on all pixels."""
    import torch

    reference, mean, std = perfect(1, (2, 40, 50))
    std = std / 1.7
    error2 = torch.from_numpy((reference - mean) ** 2)
    var = torch.from_numpy(std**2)
    v = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([v], lr=0.1)
    for _ in range(500):
        loss = 0.5 * (error2 / (v * var) + torch.log(v * var) + math.log(2 * math.pi)).mean()
        (v.grad,) = torch.autograd.grad(loss, v)
        adam.step()
    assert calibration_scalar(reference, mean, std) == pytest.approx(math.sqrt(v.item()), rel=1e-4)


def test_both_forms_by_hand() -> None:
    reference, mean, std = np.array([2.0, 6.0]), np.array([0.0, 0.0]), np.array([1.0, 2.0])
    # closed: (4/1 + 36/4) / 2 = 6.5; ratio: (4 + 36) / (1 + 4) = 8
    assert calibration_scalar(reference, mean, std) == pytest.approx(math.sqrt(6.5))
    assert calibration_scalar(reference, mean, std, form="ratio") == pytest.approx(math.sqrt(8))


def test_floor_keeps_a_few_tiny_std_from_ruling() -> None:
    reference, mean, std = perfect()
    std.flat[::1000] = 1e-9
    assert calibration_scalar(reference, mean, std) < 1.6
    # the floor by hand: median 1, so 0.001 counts as 0.05; (1 + 1 + (1 / 0.05)^2) / 3
    ones = np.ones(3)
    found = calibration_scalar(ones, 0 * ones, np.array([1.0, 1.0, 0.001]))
    assert found == pytest.approx(math.sqrt((1 + 1 + 400) / 3))


def test_pixels_that_never_vary_do_not_break_the_closed_form() -> None:
    # three of five std are 0, so the median is; the floor is 0.05 of the varying ones
    error, std = np.array([0.0, 0.0, 0.0, 2.0, 2.0]), np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    assert calibration_scalar(error, 0 * error, std) == pytest.approx(math.sqrt(8 / 5))


def test_frames_of_different_sizes_are_pooled() -> None:
    reference, mean, std = perfect(2, (1000,))
    parts = tuple(
        [a[:300].reshape(20, 15), a[300:].reshape(7, 100)] for a in (reference, mean, std)
    )
    whole = calibration_scalar(reference, mean, std)
    assert calibration_scalar(parts[0], parts[1], parts[2]) == pytest.approx(whole)
    np.testing.assert_allclose(
        calibration_curve(parts[0], parts[1], parts[2]).rmse,
        calibration_curve(reference, mean, std).rmse,
    )


def test_bad_input_is_refused() -> None:
    reference, mean, std = perfect(0, (8, 8))
    with pytest.raises(ValueError, match="zero everywhere"):
        calibration_scalar(reference, mean, 0 * std)
    with pytest.raises(ValueError, match="same frames"):
        calibration_scalar(reference, mean[1:], std)
    with pytest.raises(ValueError, match="same frames"):
        calibration_scalar(reference, mean, std.T.reshape(64))
    with pytest.raises(ValueError, match="never negative"):
        calibration_scalar(reference, mean, -std)
    with pytest.raises(ValueError, match="not finite"):
        calibration_scalar(reference, mean * np.nan, std)
    with pytest.raises(ValueError, match="there are no pixels"):
        calibration_scalar(reference[:0], mean[:0], std[:0])
    with pytest.raises(ValueError, match="'closed' or 'ratio'"):
        calibration_scalar(reference, mean, std, form="best")  # type: ignore[arg-type]


def test_estimated_errors_give_the_curve_of_true_ones() -> None:
    reference, mean, std = perfect(3)
    squared = (reference - mean).ravel() ** 2
    noisy = squared + np.random.default_rng(4).normal(0, 1, squared.shape)
    known, estimated = (binned_errors(e, std.ravel(), 2.0, bins=5) for e in (squared, noisy))
    curve = calibration_curve(reference, mean, std, 2.0, bins=5)
    np.testing.assert_array_equal(known.rmse, curve.rmse)
    np.testing.assert_array_equal(estimated.rmv, curve.rmv)
    np.testing.assert_allclose(estimated.rmse, curve.rmse, rtol=0.05)
    assert set(binned_errors(-squared, std.ravel(), bins=5).rmse) == {0.0}


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("samples", [10, 50])
def test_the_scalar_is_right_for_stds_of_few_samples(samples: int, antithetic: bool) -> None:
    """Errors of a known scale, and stds as the prediction computes them from samples."""
    rng = np.random.default_rng(samples)
    sigma = rng.uniform(1, 8, (2, 1, 150, 200))
    scalar, moments = 1.7, RunningMoments()
    for _ in range(samples // 2):
        first = rng.normal(0, sigma)
        second = -first if antithetic else rng.normal(0, sigma)
        moments.add(torch.from_numpy(first))
        moments.add(torch.from_numpy(second))
    std = moments.std(antithetic=antithetic).numpy()
    error = scalar * sigma * rng.normal(size=sigma.shape)
    found = calibrate(error, np.zeros_like(error), std, samples, antithetic=antithetic)
    assert found[0].scalar == found[0].closed
    assert found[0].closed == pytest.approx(scalar, rel=0.02)
    assert found[0].ratio == pytest.approx(scalar, rel=0.02)
    bias = calibration_scalar(error, np.zeros_like(error), std) / scalar
    freedom = degrees_of_freedom(samples, antithetic=antithetic)
    assert bias == pytest.approx(closed_form_bias(freedom), rel=0.02)


@pytest.mark.parametrize(
    ("samples", "antithetic", "closed"),
    [
        (2, True, False),
        (8, True, False),
        (10, True, True),
        (50, True, True),
        (5, False, False),
        (6, False, True),
    ],
)
def test_the_form_follows_the_number_of_samples(
    samples: int, antithetic: bool, closed: bool
) -> None:
    reference, mean, std = perfect(6, (3, 2, 20, 30))
    factor = np.array([2.0, 5.0])[:, None, None]
    found = calibrate(reference, mean, std / factor, samples, antithetic=antithetic)
    bias = closed_form_bias(degrees_of_freedom(samples, antithetic=antithetic)) if closed else 1.0
    assert len(found) == 2
    for k, one in enumerate(found):
        args = reference[:, k], mean[:, k], (std / factor)[:, k]
        form = "closed" if closed else "ratio"
        assert one.closed == pytest.approx(calibration_scalar(*args, form=form) / bias)
        assert one.ratio == pytest.approx(calibration_scalar(*args, form="ratio"))
        assert one.scalar == one.closed
    for chosen in ("closed", "ratio"):
        given = calibrate(reference, mean, std / factor, samples, chosen, antithetic=antithetic)
        assert [c.scalar for c in given] == [getattr(c, chosen) for c in found]
    assert found[0].ratio == pytest.approx(2, rel=0.1)
    assert found[1].ratio == pytest.approx(5, rel=0.1)


def test_calibrate_takes_lists_and_refuses_what_does_not_fit() -> None:
    reference, mean, std = perfect(6, (3, 2, 20, 30))
    in_pairs = functools.partial(calibrate, antithetic=True)
    assert in_pairs(list(reference), list(mean), list(std), 50) == in_pairs(
        reference, mean, std, 50
    )
    with pytest.raises(ValueError, match="draw 2 or more"):
        in_pairs(reference, mean, std, 1)
    with pytest.raises(ValueError, match="same number of structures"):
        in_pairs(list(reference), [mean[0], mean[1], mean[2, :1]], list(std), 50)
    with pytest.raises(ValueError, match=r"\(C, Y, X\)"):
        in_pairs(reference[0], mean[0], std[0], 50)
    with pytest.raises(ValueError, match=r"\(C, Y, X\)"):
        in_pairs([], [], [], 50)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_perfect_uncertainty_lies_on_the_identity(scale: float) -> None:
    curve = calibration_curve(*perfect(scale=scale))
    assert curve.rmv.size == 30
    np.testing.assert_allclose(curve.rmse, curve.rmv, rtol=0.06)
    assert calibration_error(curve) < 0.02


def test_the_scalar_brings_the_curve_to_the_identity() -> None:
    reference, mean, std = perfect()
    a = calibration_scalar(reference, mean, std / 3)
    assert calibration_error(calibration_curve(reference, mean, std / 3)) == pytest.approx(2, 0.02)
    assert calibration_error(calibration_curve(reference, mean, std / 3, a)) < 0.02


@pytest.mark.parametrize("bins", [1, 7, 30])
def test_every_pixel_is_counted_once(bins: int) -> None:
    reference, mean, std = perfect(7, (999,))
    curve = calibration_curve(reference, mean, std, bins=bins, keep=(0, 1))
    assert curve.count.sum() == 999
    assert len(curve.count) == bins
    # the sums over all bins are those over all pixels: none is lost, none is counted twice
    assert np.dot(curve.count, curve.rmv**2) == pytest.approx(np.sum(std**2))
    assert np.dot(curve.count, curve.rmse**2) == pytest.approx(np.sum((reference - mean) ** 2))


def test_bins_are_half_open_and_the_last_one_closed() -> None:
    std = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    curve = calibration_curve(std, 0 * std, std, bins=4, keep=(0, 1))
    np.testing.assert_array_equal(curve.count, [1, 1, 1, 2])
    np.testing.assert_allclose(curve.rmv, [0, 1, 2, math.sqrt(12.5)])
    np.testing.assert_allclose(curve.rmse, curve.rmv)
    # the bin at zero has no relative error and takes no part
    assert calibration_error(curve) == 0


def test_empty_bins_are_dropped() -> None:
    std = np.array([1.0, 1.0, 9.0])
    curve = calibration_curve(2 * std, 0 * std, std, bins=8, keep=(0, 1))
    np.testing.assert_array_equal(curve.count, [2, 1])
    np.testing.assert_allclose(curve.rmse, [2, 18])


def test_rare_pixels_at_both_ends_are_dropped() -> None:
    std = np.concatenate([[0.0], np.full(4999, 4.5), np.full(4999, 5.5), [10.0]])
    reference = std.copy()
    curve = calibration_curve(reference, 0 * std, std, bins=10)
    np.testing.assert_array_equal(curve.count, [4999, 4999])
    np.testing.assert_allclose(curve.rmv, [4.5, 5.5])
    everything = calibration_curve(reference, 0 * std, std, bins=10, keep=(0, 1))
    np.testing.assert_array_equal(everything.count, [1, 4999, 4999, 1])


def test_constant_std_makes_one_bin() -> None:
    curve = calibration_curve(np.ones(50), np.zeros(50), np.full(50, 0.1), 10)
    np.testing.assert_array_equal(curve.count, [50])
    assert calibration_error(curve) == pytest.approx(0, abs=1e-12)


def test_calibration_error_by_hand() -> None:
    curve = CalibrationCurve(np.array([1.0, 2.0]), np.array([1.5, 1.0]), np.array([3.0, 1.0]))
    assert calibration_error(curve) == pytest.approx((3 * 0.5 + 1 * 0.5) / 4)
    with pytest.raises(ValueError, match="zero uncertainty"):
        calibration_error(CalibrationCurve(np.zeros(1), np.ones(1), np.ones(1)))


def test_curve_refuses_impossible_settings() -> None:
    args = perfect(0, (10, 10))
    with pytest.raises(ValueError, match="finite and positive"):
        calibration_curve(*args, 0.0)
    with pytest.raises(ValueError, match="one bin or more"):
        calibration_curve(*args, bins=0)
    with pytest.raises(ValueError, match=r"keep\[0\] < keep\[1\]"):
        calibration_curve(*args, keep=(0.9, 0.1))
