"""Judging predictions that are known: the truth, the input, error bars of a known size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.data.simulation import simulate
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.metrics import blur
from denoisplit.evaluation.risk import Probe, SquaredErrors, squared_errors
from denoisplit.evaluation.scoring import fit_calibration, predict_frames, score_predictions
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import Prediction, predict_frame
from denoisplit.prediction.sampling import Sampling

NAMES = ("ER", "MT", "CCP")
KINDS = ("mesh", "filaments", "puncta")
SIGMA = 20.0


def frames_of(
    structures: int = 2,
    *,
    size: int = 64,
    frames: int = 3,
    noise: SyntheticNoise | None = None,
    kind: str = "sum",
) -> EvaluationFrames:
    truth = tuple(tuple(simulate(k, frames=frames, size=size, seed=2)) for k in KINDS[:structures])
    if noise is None:
        noise = SyntheticNoise(0.0, SIGMA)
    mix = Superposition(kind, (0.0,) * structures)
    return EvaluationFrames(truth, noise, mix, seed=0, part="evaluation")


def predicted(means: list[np.ndarray], std: float | None = 1.0) -> list[Prediction]:
    """Predictions of these means; every sample is the mean."""
    return [
        Prediction(
            np.float32(mean), None if std is None else np.full(mean.shape, std, np.float32),
            np.float32(mean)[None],
        )
        for mean in means
    ]  # fmt: skip


def judged(
    made: EvaluationFrames, predictions: list[Prediction], **scalars: float
) -> dict[str, Any]:
    names = NAMES[: made.truth[0].shape[0]]
    sampling = Sampling(4, keep=1)
    scalars = dict.fromkeys(names, 1.0) | scalars
    return score_predictions(made, predictions, names, scalars, sampling)


def inputs_for_all(made: EvaluationFrames) -> list[np.ndarray]:
    """The input in place of every structure."""
    return [np.stack([x] * len(t)) for x, t in zip(made.inputs, made.truth, strict=True)]


# ---------------------------------------------------------------- score_predictions


@pytest.mark.parametrize("structures", [1, 2, 3])
def test_the_input_itself_is_the_naive_answer(structures: int) -> None:
    made = frames_of(structures)
    found = judged(made, predicted(inputs_for_all(made)))
    assert found["frames"] == 3 and found["samples"] == 4
    assert list(found["structures"]) == list(NAMES[:structures])
    for scores in (*found["structures"].values(), found["mean"]):
        assert scores["psnr"] == scores["psnr_naive"] == scores["psnr_single_sample"]
        assert scores["psnr"]["mean"] < scores["psnr_blur"]["mean"]


def test_the_clean_input_is_the_clean_mixture() -> None:
    made = frames_of()
    clean = [np.stack([x, x]) for x in made.clean_inputs]
    found = judged(made, predicted(clean))["mean"]
    assert found["psnr"]["mean"] == pytest.approx(found["psnr_clean_mixture"]["mean"])
    assert found["psnr_clean_mixture"]["mean"] > found["psnr_naive"]["mean"]


def test_of_one_structure_the_clean_input_is_the_truth() -> None:
    """Which has no finite PSNR, and JSON no infinity."""
    found = judged(frames_of(1), predicted(frames_of(1).truth))["structures"]["ER"]
    nothing = {"mean": None, "sem": None}
    assert found["psnr"] == found["psnr_clean_mixture"] == nothing
    assert found["calibration_error"]["mean"] == 1.0  # no error at all, and a std


def test_the_best_blur_is_that_of_all_frames() -> None:
    made = frames_of()
    blurred = {
        sigma: judged(made, predicted([np.stack([blur(x, sigma)] * 2) for x in made.inputs]))
        for sigma in (1, 2, 3, 4)
    }
    for name in NAMES[:2]:
        best = max(b["structures"][name]["psnr"]["mean"] for b in blurred.values())
        # the blurred images are rounded to float32 here
        assert blurred[1]["structures"][name]["psnr_blur"]["mean"] == pytest.approx(best, abs=1e-4)


def test_what_is_after_the_last_cell_does_not_count() -> None:
    """Of 88 x 88 px the first 64 x 64 with cells of 32 px, however wrong the others are."""
    made = frames_of(size=88)
    rng = np.random.default_rng(0)
    near = [np.float32(t + rng.normal(0, 1, t.shape)) for t in made.truth]
    wrong = [image.copy() for image in near]
    for image in wrong:
        image[:, 64:] = image[:, :, 64:] = 1e4
    names, sampling = NAMES[:2], Sampling(4, keep=1)
    scalars = dict.fromkeys(names, 1.0)
    found, expected = (
        score_predictions(made, predicted(means), names, scalars, sampling, cell=32)
        for means in (wrong, near)
    )
    assert found == expected
    assert found != score_predictions(made, predicted(near), names, scalars, sampling)
    small = frames_of(size=48, noise=SyntheticNoise()).cropped(64)
    assert small.truth[0].shape == (2, 48, 48)  # no cell fits: all of it


def test_less_error_is_a_better_value() -> None:
    made = frames_of(size=192, frames=2)
    rng = np.random.default_rng(0)
    errors = [rng.normal(0, 1, t.shape) for t in made.truth]
    values = []
    for size in (1.0, 5.0, 25.0):
        means = [t + size * e for t, e in zip(made.truth, errors, strict=True)]
        values.append(judged(made, predicted(means), ER=1.0)["mean"])
    for name in ("psnr", "ms_ssim", "ms_ssim_aligned"):
        found = [value[name]["mean"] for value in values]
        assert found == sorted(found, reverse=True)
        assert found[0] - found[-1] > 0.05
    # five times the error, about 14 dB: the fitted scale hides a little of it
    assert values[0]["psnr"]["mean"] - values[1]["psnr"]["mean"] == pytest.approx(14, abs=0.3)
    assert values[0]["psnr_naive"] == values[2]["psnr_naive"]


def test_scale_and_offset_of_a_prediction_count_only_where_they_should() -> None:
    made = frames_of(size=192, frames=1)
    rng = np.random.default_rng(0)
    means = [t + rng.normal(0, 5, t.shape) for t in made.truth]
    plain = judged(made, predicted(means))["mean"]
    moved = judged(made, predicted([30 + 2 * m for m in means]))["mean"]
    for name in ("psnr", "ms_ssim_aligned"):
        assert moved[name]["mean"] == pytest.approx(plain[name]["mean"], rel=1e-4)
    assert moved["ms_ssim"]["mean"] < plain["ms_ssim"]["mean"] - 0.05


def test_means_and_errors_are_over_frames() -> None:
    made = frames_of()
    found = judged(made, predicted(inputs_for_all(made)))
    single = []
    for number in range(3):
        one = frames_of()
        for name in ("truth", "observed", "inputs", "clean_inputs", "unsaturated"):
            setattr(one, name, getattr(made, name)[number : number + 1])
        single.append(judged(one, predicted(inputs_for_all(one)))["structures"]["MT"])
    values = [score["psnr"]["mean"] for score in single]
    average = found["structures"]["MT"]["psnr"]
    assert average["mean"] == pytest.approx(np.mean(values))
    assert average["sem"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))
    assert single[0]["psnr"]["sem"] is None


def test_the_calibration_error_is_that_of_the_scaled_std() -> None:
    """A std of half the error, in bins of its own size: 100 % off, and 0 with the scalar 2."""
    made = frames_of(frames=2, size=128)
    rng = np.random.default_rng(0)
    predictions = []
    for truth in made.truth:
        std = rng.uniform(1, 4, truth.shape)
        mean = truth + 2 * std * rng.standard_normal(truth.shape)
        predictions.append(Prediction(np.float32(mean), np.float32(std), np.float32(mean)[None]))
    found = judged(made, predictions, ER=2.0, MT=1.0)["structures"]
    assert found["ER"]["calibration_error"]["mean"] < 0.05
    for name in ("ER", "MT"):
        assert found[name]["calibration_error_unscaled"]["mean"] == pytest.approx(1, abs=0.03)
    assert found["MT"]["calibration_error"] == found["MT"]["calibration_error_unscaled"]


@pytest.mark.parametrize("structures", [1, 3])
@pytest.mark.parametrize(("kept", "own"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (-0.3, 0.4)])
def test_noise_of_the_input_is_found_in_the_prediction(
    structures: int, kept: float, own: float
) -> None:
    """Errors that hold a share of the input's noise, and others of their own."""
    made = frames_of(structures, noise=SyntheticNoise(2.0, SIGMA))
    rng = np.random.default_rng(0)
    means = []
    for truth, x, clean in zip(made.truth, made.inputs, made.clean_inputs, strict=True):
        noise = x - clean
        means.append(truth + kept * noise + own * rng.normal(0, noise.std(), truth.shape))
    found = judged(made, predicted(means))
    for scores in (*found["structures"].values(), found["mean"]):
        expected = kept / math.hypot(kept, own)
        assert scores["noise_correlation"]["mean"] == pytest.approx(expected, abs=0.04)


def test_recorded_images_are_no_truth() -> None:
    """A comparison with them would reward a prediction that keeps their noise."""
    made = frames_of(noise=SyntheticNoise())
    found = judged(made, predicted([t + np.arange(64) for t in made.truth]))
    for scores in (*found["structures"].values(), found["mean"]):
        assert set(scores) == set(judged(frames_of(), predicted(frames_of().truth))["mean"])
        assert all(score == {"mean": None, "sem": None} for score in scores.values())


def test_one_sample_has_no_calibration_error() -> None:
    made = frames_of()
    found = judged(made, predicted(inputs_for_all(made), std=None))
    for scores in (*found["structures"].values(), found["mean"]):
        assert scores["calibration_error"] == {"mean": None, "sem": None}
        assert scores["psnr"]["mean"] is not None


def test_a_constant_frame_has_no_psnr_and_spoils_no_other() -> None:
    truth = tuple(tuple(simulate(k, frames=3, size=64, seed=2)) for k in KINDS[:2])
    flat = (truth[0], (np.full((64, 64), 9, np.float32), *truth[1][1:]))
    made = EvaluationFrames(
        flat, SyntheticNoise(0, SIGMA), Superposition("sum", (0.0, 0.0)), seed=0, part="evaluation"
    )
    found = judged(made, predicted(inputs_for_all(made)))
    whole = judged(frames_of(), predicted(inputs_for_all(frames_of())))
    assert found["structures"]["MT"]["psnr"]["mean"] is not None
    # the mean over structures has two frames: a frame without one structure's value has none
    assert found["mean"]["psnr"]["sem"] != whole["mean"]["psnr"]["sem"]


def test_frames_superpose_what_they_observe() -> None:
    for kind, scale in (("sum", 1.0), ("mean", 0.5)):
        made = frames_of(kind=kind, noise=SyntheticNoise(2.0, SIGMA))
        assert made.has_truth and len(made) == 3
        for truth, observed, seen, clean in zip(
            made.truth, made.observed, made.inputs, made.clean_inputs, strict=True
        ):
            np.testing.assert_allclose(seen, scale * observed.sum(axis=0), rtol=1e-5)
            np.testing.assert_allclose(clean, scale * truth.sum(axis=0), rtol=1e-5)
    assert not frames_of(noise=SyntheticNoise()).has_truth


def test_the_truth_is_clipped_as_the_noise_is() -> None:
    made = frames_of(noise=SyntheticNoise(0.0, 0.0, clip=50.0))
    assert max(truth.max() for truth in made.truth) == 50


def test_frames_are_predicted_one_by_one() -> None:
    torch.manual_seed(0)
    model = VSE(2, filters=4, latents=2, levels=2, patch=16).eval()
    made = frames_of(frames=2)
    sampling = Sampling(2, keep=1)
    found = predict_frames(model, made, sampling, tile=64, halo=16, label="")
    model = inference_form(model)
    for one, frame in zip(found, made.inputs, strict=True):
        np.testing.assert_array_equal(
            one.mean, predict_frame(model, frame, sampling, tile=64, halo=16).mean
        )


# ---------------------------------------------------------------- fit_calibration


def with_error_bars(made: EvaluationFrames, scalars: tuple[float, ...]) -> list[Prediction]:
    """Means whose errors are ``scalar * std``, Gaussian, independent of the noise."""
    rng = np.random.default_rng(1)
    factor = np.reshape(scalars, (-1, 1, 1))
    predictions = []
    for truth in made.truth:
        std = rng.uniform(2, 6, truth.shape)
        mean = truth + factor * std * rng.standard_normal(truth.shape)
        predictions.append(Prediction(np.float32(mean), np.float32(std), np.float32(mean)[None]))
    return predictions


def estimated(
    made: EvaluationFrames, predictions: list[Prediction], sigmas: tuple[float, ...]
) -> list[SquaredErrors]:
    """Estimates for predictions that share nothing with the noise, by models of these sigmas."""
    variance = np.float32(np.reshape(sigmas, (-1, 1, 1))) ** 2
    shapes = [p.mean.shape for p in predictions]
    probes = [
        Probe(np.broadcast_to(variance, s), np.zeros(s, "f4"), np.zeros(s, "f4")) for s in shapes
    ]
    return squared_errors(made, [p.mean for p in predictions], probes)


@pytest.mark.parametrize("scalars", [(1.7,), (0.5, 3.0), (0.5, 1.0, 3.0)])
@pytest.mark.parametrize("samples", [4, 50])
def test_scalars_of_a_noise_free_reference(scalars: tuple[float, ...], samples: int) -> None:
    names = NAMES[: len(scalars)]
    made = frames_of(len(scalars), size=128)
    predictions = with_error_bars(made, scalars)
    rng = np.random.default_rng(2)
    for p in predictions:  # the stds of antithetic samples: one degree of freedom per pair
        assert p.spread is not None
        p.spread[:] *= np.sqrt(rng.chisquare(samples / 2, p.spread.shape) / (samples / 2))
    found = fit_calibration(made, predictions, None, names, samples)
    assert found["reference"] == "noise-free" and found["samples"] == samples
    for name, scalar in zip(names, scalars, strict=True):
        assert found["closed"][name] == pytest.approx(scalar, rel=0.02)
        assert found["ratio"][name] == pytest.approx(scalar, rel=0.02)
    # few samples: the form that bears them
    assert found["scalars"] == found["closed"]
    assert (found["closed"] == found["ratio"]) == (samples == 4)


@pytest.mark.parametrize("scalars", [(1.7,), (1.0, 3.0), (1.0, 2.0, 3.0)])
def test_scalars_of_a_noisy_reference(scalars: tuple[float, ...]) -> None:
    """The reference is recorded with a noise of four times the error; the estimate is without."""
    names = NAMES[: len(scalars)]
    made = frames_of(len(scalars), size=192)
    predictions = with_error_bars(made, scalars)
    rng = np.random.default_rng(2)
    made.observed = [t + np.float32(rng.normal(0, SIGMA, t.shape)) for t in made.truth]
    made.truth, made.has_truth = made.observed, False
    errors = estimated(made, predictions, (SIGMA,) * len(scalars))
    found = fit_calibration(made, predictions, errors, names, 50)
    assert "estimated without truth" in found["reference"]
    for name, scalar in zip(names, scalars, strict=True):
        assert found["scalars"][name] == pytest.approx(scalar, rel=0.12)


def test_without_truth_and_estimate_the_scalar_is_1() -> None:
    made = frames_of(noise=SyntheticNoise())
    found = fit_calibration(made, with_error_bars(made, (2.0, 3.0)), None, NAMES[:2], 50)
    assert found["scalars"] == {"ER": 1.0, "MT": 1.0}
    assert found["reference"].startswith("none")


def test_errors_below_the_noise_leave_the_scalar_at_1() -> None:
    """A noise model of more noise than there is explains every error."""
    made = frames_of(noise=SyntheticNoise())
    predictions = with_error_bars(made, (2.0, 3.0))
    errors = estimated(made, predictions, (1000.0, 1.0))
    found = fit_calibration(made, predictions, errors, NAMES[:2], 50)
    assert found["scalars"]["ER"] == 1.0
    assert found["scalars"]["MT"] == pytest.approx(3.0, rel=0.05)
