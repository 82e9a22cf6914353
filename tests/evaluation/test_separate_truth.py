"""Truth that was recorded apart: whatever its units, the images decide what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from denoisplit.data.simulation import simulate
from denoisplit.data.superposition import Superposition
from denoisplit.errors import InputError
from denoisplit.evaluation.scoring import score_predictions
from denoisplit.evaluation.separate_truth import (
    RecordedFrames,
    frames_from_mixed,
    frames_from_structures,
    linear_fit,
    share_offset,
    unsaturated,
)
from denoisplit.prediction.frame import Prediction
from denoisplit.prediction.sampling import Sampling

Stacks = tuple[tuple[np.ndarray, ...], ...]
NAMES = ("ER", "MT", "CCP")
KINDS = ("mesh", "filaments", "puncta")
SIGMA = 20.0
GAINS, OFFSETS = (0.3, 7.0, 2.0), (100.0, -50.0, 32768.0)  # of the truth's own units
MIXES = [
    Superposition("sum", (0.0, 0.0)),
    Superposition("mean", (0.0, 0.0)),
    Superposition("sum", (40.0, 10.0)),
    Superposition("sum", (0.0,)),
    Superposition("mean", (5.0, 6.0, 7.0)),
]


def clean_structures(count: int, size: int = 96) -> Stacks:
    return tuple(tuple(simulate(k, frames=3, size=size, seed=2)) for k in KINDS[:count])


def noisy(clean: Stacks, sigma: float = SIGMA) -> Stacks:
    rng = np.random.default_rng(0)
    return tuple(
        tuple(np.float32(image + rng.normal(0, sigma, image.shape)) for image in frames)
        for frames in clean
    )


def in_other_units(clean: Stacks) -> Stacks:
    """Another gain and offset for every structure."""
    return tuple(
        tuple(gain * image.astype(np.float64) + offset for image in frames)
        for frames, gain, offset in zip(clean, GAINS, OFFSETS, strict=False)
    )


def mixed_of(structures: Stacks, mix: Superposition) -> list[np.ndarray]:
    return [mix(frame) for frame in zip(*structures, strict=True)]


def predicted(clean: Stacks, brighter: float = 0.0) -> list[Prediction]:
    """Means with errors of the size of their std; every sample is the mean."""
    rng = np.random.default_rng(1)
    predictions = []
    for frame in zip(*clean, strict=True):
        std = rng.uniform(2, 6, np.shape(frame))
        mean = np.float32(frame + std * rng.standard_normal(std.shape) + brighter)
        predictions.append(Prediction(mean, np.float32(std), mean[None]))
    return predictions


def judged(frames: RecordedFrames, predictions: list[Prediction]) -> dict[str, Any]:
    names = NAMES[: len(frames.truth[0])]
    scalars = dict.fromkeys(names, 1.0)
    return score_predictions(frames, predictions, names, scalars, Sampling(4, keep=1))


def check_equal(a: dict[str, Any], b: dict[str, Any], *, within: float) -> None:
    """Every metric has a value in both, and these are equal."""
    for column in (*a["structures"], "mean"):
        one, other = ((m["structures"] | {"mean": m["mean"]})[column] for m in (a, b))
        assert set(one) == set(other)
        for metric in set(one) - {"ms_ssim", "ms_ssim_aligned"}:
            value = one[metric]["mean"]
            assert other[metric]["mean"] == pytest.approx(value, abs=within), metric


# ---------------------------------------------------------------- the fit


@pytest.mark.parametrize("kind", [np.float64, np.uint16])
def test_a_sum_without_noise_is_found_again(kind: type) -> None:
    truth = tuple(tuple(i.astype(kind) for i in frames) for frames in clean_structures(3))
    images = [
        sum(g * i for g, i in zip(GAINS, f, strict=True)) + 32768 for f in zip(*truth, strict=True)
    ]
    fit = linear_fit(truth, images)
    assert fit.gains == pytest.approx(GAINS, rel=1e-9)
    assert fit.offset == pytest.approx(32768, rel=1e-9)
    assert fit.correlation == pytest.approx(1)


def test_noise_of_the_images_leaves_the_gain_unbiased_that_of_the_truth_does_not() -> None:
    clean = clean_structures(1, size=192)
    assert linear_fit(clean, noisy(clean)[0]).gains[0] == pytest.approx(1, abs=0.02)
    variance = np.var(clean[0])
    expected = variance / (variance + SIGMA**2)
    assert linear_fit(noisy(clean), clean[0]).gains[0] == pytest.approx(expected, abs=0.02)


def test_frames_of_different_sizes_are_one_fit() -> None:
    frames = clean_structures(1)[0]
    truth = (frames[0], frames[1][:64], frames[2][:, :70])
    fit = linear_fit((truth,), [2 * image + 3 for image in truth])
    assert (fit.gains[0], fit.offset) == pytest.approx((2, 3), rel=1e-4)


def saturated(frames: tuple[np.ndarray, ...], share: float) -> tuple[np.ndarray, ...]:
    """8-bit frames of which the brightest pixels are at 255."""
    limit = np.quantile(np.stack(frames), 1 - share)
    return tuple((image / limit * 255).clip(0, 255).astype(np.uint8) for image in frames)


def test_pixels_at_which_a_truth_is_saturated_do_not_count_in_the_fit() -> None:
    clean = clean_structures(2)
    truth = tuple(saturated(frames, 0.05) for frames in clean)
    where = unsaturated(truth)
    for mask, *frame in zip(where, *truth, strict=True):
        np.testing.assert_array_equal(mask, (frame[0] < 255) & (frame[1] < 255))
    for frames, full in zip(truth, clean, strict=True):
        limit = np.quantile(np.stack(full), 0.95)
        assert linear_fit((frames,), full, where).gains[0] == pytest.approx(limit / 255, rel=0.01)
        assert linear_fit((frames,), full).gains[0] > 1.02 * limit / 255


@pytest.mark.parametrize("columns", [3, 20, 40])
def test_a_mask_is_not_taken_for_saturated(columns: int) -> None:
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[:, :columns] = 255
    assert all(found.all() for found in unsaturated(((mask, mask),)))
    fit = linear_fit(((mask,),), [3.0 * mask + 1], unsaturated(((mask,),)))
    assert fit.gains == pytest.approx((3.0,))


def test_a_truth_of_one_value_is_refused() -> None:
    flat, image = np.full((32, 32), 7.0), clean_structures(1)[0][0][:32, :32]
    with pytest.raises(InputError, match="truth: some images are constant, apart from saturated"):
        linear_fit(((flat,),), [image])
    with pytest.raises(InputError, match="truth: some images are constant, apart from saturated"):
        linear_fit(((image,),), [image], [np.zeros((32, 32), dtype=bool)])


def test_what_a_saturated_truth_lacks_is_not_taken_for_noise() -> None:
    """A perfect prediction is right where the truth is cut off, and so is the input."""
    mix = MIXES[0]
    clean = clean_structures(2)
    truth = tuple(saturated(frames, 0.1) for frames in clean)
    exact = [
        Prediction(np.float32(f), np.ones_like(f, dtype=np.float32), np.float32(f)[None])
        for f in map(np.stack, zip(*clean, strict=True))
    ]
    recorded = frames_from_structures(noisy(clean), truth, mix)
    for name in NAMES[:2]:
        found = judged(recorded, exact)["structures"][name]["noise_correlation"]["mean"]
        assert abs(found) < 0.05
    recorded.unsaturated = [np.ones_like(where) for where in recorded.unsaturated]
    counted = judged(recorded, exact)["structures"]
    assert max(counted[name]["noise_correlation"]["mean"] for name in NAMES[:2]) > 0.2


def test_truths_that_depend_on_each_other_are_refused() -> None:
    er, mt = clean_structures(2)
    both = tuple(a + b for a, b in zip(er, mt, strict=True))
    for truth in ((er, er), (er, tuple(2 * image + 5 for image in er)), (er, mt, both)):
        with pytest.raises(InputError, match="truth: some images are multiples or sums of others"):
            linear_fit(truth, er)


# ---------------------------------------------------------------- structures


def test_the_truth_of_structures_comes_into_their_units() -> None:
    clean = clean_structures(2)
    mix = Superposition("sum", (0.0, 0.0))
    recorded = frames_from_structures(noisy(clean), in_other_units(clean), mix)
    assert recorded.has_truth and len(recorded) == 3
    for j, (truth, seen) in enumerate(zip(recorded.truth, recorded.clean_inputs, strict=True)):
        # the fit of 27 648 pixels errs by SIGMA / sqrt(27 648) = 0.1 or so
        np.testing.assert_allclose(truth, [frames[j] for frames in clean], atol=2)
        assert abs(truth.mean() - np.mean([frames[j] for frames in clean])) < 0.5
        np.testing.assert_allclose(seen, mix(truth), rtol=1e-6)
    np.testing.assert_array_equal(recorded.inputs, mixed_of(noisy(clean), mix))


@pytest.mark.parametrize("mixed", [False, True], ids=["structures", "mixed"])
def test_gain_and_offset_of_the_truth_change_no_metric(mixed: bool) -> None:
    clean = clean_structures(2)
    mix = Superposition("sum", (0.0, 0.0))
    found = []
    for truth in (clean, in_other_units(clean)):
        if mixed:
            recorded = frames_from_mixed(mixed_of(noisy(clean), mix), truth, mix)
            share_offset(recorded, [p.mean for p in predicted(clean)])
        else:
            recorded = frames_from_structures(noisy(clean), truth, mix)
        found.append(judged(recorded, predicted(clean)))
    check_equal(*found, within=1e-3)
    # errors of the size of the std, whatever the units of the truth
    assert found[1]["mean"]["calibration_error"]["mean"] < 0.1
    # the errors were drawn apart from the noise
    assert abs(found[1]["mean"]["noise_correlation"]["mean"]) < 0.03


def test_a_prediction_that_keeps_the_noise_is_seen_in_other_units_too() -> None:
    clean = clean_structures(2)
    recorded = frames_from_structures(
        noisy(clean), in_other_units(clean), Superposition("sum", (0.0, 0.0))
    )
    kept = []
    for j, x in enumerate(recorded.inputs):
        noise = x - sum(frames[j] for frames in clean)
        mean = np.float32(np.stack([frames[j] for frames in clean]) + noise / 2)
        kept.append(Prediction(mean, None, mean[None]))
    assert judged(recorded, kept)["mean"]["noise_correlation"]["mean"] > 0.99


def test_the_clip_of_a_run_holds_for_both() -> None:
    clean = clean_structures(2)
    mix = Superposition("sum", (0.0, 0.0))
    recorded = frames_from_structures(noisy(clean), in_other_units(clean), mix, clip=60.0)
    assert max(t.max() for t in recorded.truth) == max(o.max() for o in recorded.observed) == 60
    # the fit is that of the whole range
    assert recorded.fits[0].gains[0] == pytest.approx(1 / GAINS[0], rel=0.02)


# ---------------------------------------------------------------- mixed images


@pytest.mark.parametrize("mix", MIXES, ids=str)
def test_the_truth_of_mixed_images_comes_into_the_units_of_the_structures(
    mix: Superposition,
) -> None:
    clean = clean_structures(len(mix.offsets))
    mixed = mixed_of(noisy(clean), mix)
    recorded = frames_from_mixed(mixed, in_other_units(clean), mix)
    np.testing.assert_allclose(recorded.clean_inputs, mixed_of(clean, mix), atol=3)
    before = np.array(recorded.clean_inputs)
    share_offset(recorded, [p.mean for p in predicted(clean)])
    truth = np.swapaxes(recorded.truth, 0, 1)
    np.testing.assert_allclose(truth, np.array(clean), atol=6)
    np.testing.assert_allclose(truth.mean(axis=(1, 2, 3)), np.mean(clean, axis=(1, 2, 3)), atol=1)
    # sharing the offset moves none of it into or out of the sum
    again = mixed_of(tuple(tuple(frames) for frames in truth), mix)
    np.testing.assert_allclose(again, before, atol=1e-3)


def test_mixed_images_and_their_structures_give_the_same_metrics() -> None:
    """Up to the fit: each structure for itself, or all together."""
    clean = clean_structures(2, size=128)
    mix = Superposition("sum", (12.0, 8.0))
    truth = in_other_units(clean)
    apart = frames_from_structures(noisy(clean, 10), truth, mix)
    together = frames_from_mixed(mixed_of(noisy(clean, 10), mix), truth, mix)
    share_offset(together, [p.mean for p in predicted(clean)])
    np.testing.assert_array_equal(apart.inputs, together.inputs)
    check_equal(judged(apart, predicted(clean)), judged(together, predicted(clean)), within=0.05)


def test_a_prediction_that_is_too_bright_stays_so() -> None:
    """Predictions have no part in the fit but for the share of the one offset."""
    clean = clean_structures(2)
    mix = Superposition("sum", (0.0, 0.0))
    bright = [p.mean for p in predicted(clean, brighter=10)]
    recorded = frames_from_mixed(mixed_of(noisy(clean), mix), in_other_units(clean), mix)
    share_offset(recorded, bright)
    errors = np.mean(np.array(bright) - recorded.truth, axis=(0, 2, 3))
    np.testing.assert_allclose(errors, 10, atol=0.5)
