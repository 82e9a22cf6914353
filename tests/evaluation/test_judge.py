"""Judging predictions of a tiny network, with a truth and from noisy images alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.groups import intensity_groups, local_intensities
from denoisplit.evaluation.judge import (
    DecodedFrames,
    Judge,
    decoded_means,
    judge_frames,
    posterior_probes,
    score_judged,
)
from denoisplit.evaluation.risk import squared_errors
from denoisplit.evaluation.separate_truth import frames_from_mixed
from denoisplit.network.error_map import ErrorMap
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import ErrorMapping

Array = np.ndarray[Any, Any]
Make = Callable[..., Any]

NAMES = ("ER", "MT", "CCP")
WITHOUT_TRUTH = (
    "psnr", "psnr_naive", "psnr_blur", "psnr_single_sample", "psnr_clean_mixture",
    "ms_ssim", "noise_correlation",
)  # fmt: skip
ESTIMATED = ("psnr_estimated", "psnr_estimated_blur", "psnr_estimated_unsplit")


def judge_of(noise_models: list[GaussianMixture], structures: int = 2, kind: str = "sum") -> Judge:
    """A network with random weights, in the units of the frames."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VSE(structures, filters=4, latents=2, levels=2, patch=16).eval()
    model.input_mean.fill_(60.0)
    model.input_std.fill_(30.0)
    model.target_mean.fill_(60.0)
    model.target_std.fill_(30.0)
    mix = Superposition(kind, (0.0,) * structures)
    none = [(0.0, 0.0)] * structures
    return Judge(
        model, NAMES[:structures], noise_models, none, mix, 0, antithetic=True, tile=64, halo=16
    )


def frames_with_truth(truth: list[Array], structures: int) -> EvaluationFrames:
    group = tuple(tuple(t[k] for t in truth) for k in range(structures))
    mix = Superposition("sum", (0.0,) * structures)
    return EvaluationFrames(group, SyntheticNoise(0.0, 10.0), mix, seed=0, part="evaluation")


def error_bars(judge_: Judge, frames: EvaluationFrames) -> tuple[ErrorMapping, list[Any]]:
    """An error map with an interval, and groups of the decoded means."""
    _, means = decoded_means(judge_, frames.inputs, "")
    intensities = local_intensities(means)
    groups = [intensity_groups(intensities, k) for k in range(len(judge_.names))]
    error_map = ErrorMap(len(judge_.names), coverages=1)
    error_map.target_std.fill_(30.0)
    error_map.coverages.fill_(0.9)
    return ErrorMapping(error_map.eval().requires_grad_(False), 0), groups


@pytest.mark.parametrize("structures", [1, 2, 3])
def test_noisy_images_give_estimates_and_no_comparison(recorded: Make, structures: int) -> None:
    made = recorded(structures, frames=2, side=64)
    judge_ = judge_of(made.noise_models, structures)
    mapping, groups = error_bars(judge_, made.frames)
    sampling = judge_.sampling(4, keep=1)
    judged = judge_frames(judge_, made.frames, sampling, mapping, groups)
    assert judged.errors is not None and judged.decoded_errors is not None
    assert all(error.noise is not None for error in judged.errors + judged.decoded_errors)
    scalars = dict.fromkeys(judge_.names, 1.0)
    scores = score_judged(judge_, made.frames, judged, scalars, sampling)
    json.dumps(scores, allow_nan=False)
    assert [verdict["structure"] for verdict in scores["verdicts"]] == list(judge_.names)
    for name in judge_.names:
        values = scores["structures"][name]
        for key in WITHOUT_TRUTH:
            assert values[key] == {"mean": None, "sem": None}, key
        for key in ESTIMATED:
            there = structures > 1 or key != "psnr_estimated_unsplit"
            assert (key in values) == there, key
            assert not there or set(values[key]) == {"value", "low", "high"}
        assert scores["error_bars"][name]["estimated"]
        assert scores["error_bars"][name]["coverage"] is None
    allowed = {"denoised", "not usable"} if structures == 1 else {
        "split", "denoised, not split", "not usable"
    }  # fmt: skip
    assert {verdict["verdict"] for verdict in scores["verdicts"]} <= allowed


@pytest.mark.parametrize("structures", [1, 2])
def test_a_truth_gives_comparisons_and_no_estimate(recorded: Make, structures: int) -> None:
    frames = frames_with_truth(recorded(structures, frames=2, side=64).truth, structures)
    judge_ = judge_of([], structures)  # needs no noise model
    assert posterior_probes(judge_, frames, []) is None
    mapping, groups = error_bars(judge_, frames)
    sampling = judge_.sampling(4, keep=1)
    judged = judge_frames(judge_, frames, sampling, mapping, groups)
    assert judged.errors is not None and judged.decoded_errors is not None
    for error, prediction, t in zip(judged.errors, judged.predictions, frames.truth, strict=True):
        np.testing.assert_array_equal(error.values, (prediction.mean - t) ** 2)
        assert error.noise is None
    for error, prediction, t in zip(
        judged.decoded_errors, judged.predictions, frames.truth, strict=True
    ):
        assert prediction.bars is not None
        np.testing.assert_allclose(error.values, (prediction.bars.decoded - t) ** 2, rtol=1e-4)
    scores = score_judged(judge_, frames, judged, dict.fromkeys(judge_.names, 1.0), sampling)
    json.dumps(scores, allow_nan=False)
    for name in judge_.names:
        values = scores["structures"][name]
        assert all(values[key]["mean"] is not None for key in ("psnr", "psnr_naive", "psnr_blur"))
        assert not set(ESTIMATED) & set(values)
        assert not scores["error_bars"][name]["estimated"]
        assert 0 <= scores["error_bars"][name]["coverage"] <= 1


def test_estimates_agree_with_the_truth(recorded: Make, predicts: Make) -> None:
    """The same predictions of the same noisy images, judged in both ways."""
    from denoisplit.evaluation import judge, risk, scoring

    made = recorded(2, frames=6, side=96)
    period = np.fft.fftfreq(96)

    def predict(x: Array) -> Array:
        blurred = np.fft.ifft2(np.fft.fft2(x) * np.exp(-40 * (period**2 + period[:, None] ** 2)))
        return np.stack([0.4 * blurred.real + 12, 0.6 * blurred.real - 12])

    predicts(predict, risk, judge, scoring)
    judge_ = judge_of(made.noise_models)
    sampling = judge_.sampling(0)
    noisy = judge_frames(judge_, made.frames, sampling, None, [])
    known = frames_with_truth(made.truth, 2)
    known.inputs, known.observed = made.frames.inputs, made.frames.observed
    exact = judge_frames(judge_, known, sampling, None, [])
    assert noisy.errors is not None and exact.errors is not None
    for k in range(2):
        off = [
            (a.values - b.values)[k].mean() for a, b in zip(noisy.errors, exact.errors, strict=True)
        ]
        assert abs(np.mean(off)) < 3 * np.std(off, ddof=1) / np.sqrt(6)
        assert noisy.judgements[k].verdict.verdict == exact.judgements[k].verdict.verdict
    assert noisy.decoded_errors is None


def test_without_noise_models_nothing_is_judged(recorded: Make) -> None:
    made = recorded(2, frames=2, side=64)
    judge_ = judge_of([])
    assert not judge_.can_judge(made.frames)
    assert judge_.can_judge(frames_with_truth(made.truth, 2))
    sampling = judge_.sampling(4, keep=1)
    judged = judge_frames(judge_, made.frames, sampling, None, [])
    assert judged.errors is None and judged.decoded_errors is None and judged.judgements == []
    scores = score_judged(judge_, made.frames, judged, {"ER": 1.0, "MT": 1.0}, sampling)
    assert scores["verdicts"] == [] and "error_bars" not in scores
    for name in ("ER", "MT"):
        assert scores["structures"][name]["psnr"] == {"mean": None, "sem": None}
        assert not set(ESTIMATED) & set(scores["structures"][name])


def test_images_that_are_clipped_everywhere_are_not_judged(recorded: Make) -> None:
    """As a dark channel whose offset was subtracted: half of its pixels are zero."""
    made = recorded(2, frames=2, side=64)
    dark = np.random.default_rng(0).normal(0, 10, (2, 64, 64))
    group = (
        tuple(np.float32(y[0]) for y in made.frames.observed),
        tuple(np.uint16(np.clip(np.rint(dark), 0, None))),
    )
    frames = EvaluationFrames(
        group, SyntheticNoise(), made.frames.superposition, seed=0, part="evaluation"
    )
    assert not any(inside[1].any() for inside in frames.within_limits)
    judge_ = judge_of(made.noise_models)
    assert not judge_.can_judge(frames)
    sampling = judge_.sampling(4, keep=1)
    judged = judge_frames(judge_, frames, sampling, None, [])
    assert judged.errors is None and judged.judgements == []
    scores = score_judged(judge_, frames, judged, {"ER": 1.0, "MT": 1.0}, sampling)
    assert scores["structures"]["MT"]["psnr"] == {"mean": None, "sem": None}
    # one frame of several is enough
    frames.within_limits[1] = np.ones((2, 64, 64), dtype=bool)
    assert judge_.can_judge(frames)
    assert len(judge_frames(judge_, frames, sampling, None, []).judgements) == 2


def test_judging_twice_is_the_same(recorded: Make) -> None:
    made = recorded(2, frames=2, side=64)
    judge_ = judge_of(made.noise_models)
    state = torch.get_rng_state()
    one, two = (judge_frames(judge_, made.frames, judge_.sampling(4), None, []) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert [j.verdict for j in one.judgements] == [j.verdict for j in two.judgements]
    assert one.errors is not None and two.errors is not None
    for a, b in zip(one.errors, two.errors, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_the_offset_of_mixed_images_is_distributed(recorded: Make) -> None:
    """Only the sum was recorded: which structure the offset belongs to, nobody knows."""
    made = recorded(2, frames=2, side=64)
    group = tuple(tuple(t[k] for t in made.truth) for k in range(2))
    frames = frames_from_mixed(made.frames.inputs, group, made.frames.superposition)
    judge_ = judge_of([])
    judged = judge_frames(judge_, frames, judge_.sampling(4), None, [])
    assert judged.errors is not None and len(judged.judgements) == 2
    off = [
        np.mean(
            [(p.mean - t)[k].mean() for p, t in zip(judged.predictions, frames.truth, strict=True)]
        )
        for k in range(2)
    ]
    assert off[0] == pytest.approx(off[1], abs=1e-2)


def test_decoded_frames_are_those_of_the_error_map(recorded: Make) -> None:
    made = recorded(2, frames=2, side=64)
    judge_ = judge_of(made.noise_models)
    mapping, _ = error_bars(judge_, made.frames)
    inputs, means = decoded_means(judge_, made.frames.inputs, "")
    probes = judge_.probe(made.frames, judge_.sampling(0))
    decoded = DecodedFrames(inputs, means, squared_errors(made.frames, means, probes))
    for mean, x, p in zip(
        decoded.means,
        decoded.inputs,
        judge_.predict(made.frames, judge_.sampling(4), "", mapping),
        strict=True,
    ):
        assert p.bars is not None
        np.testing.assert_allclose(mean, p.bars.decoded, atol=1e-3)
        std = mapping.error_map(torch.from_numpy(x)[None, None], torch.from_numpy(mean)[None])[0]
        inner = np.s_[:, 8:-8, 8:-8]
        np.testing.assert_allclose(std.numpy()[inner], p.bars.std[inner], rtol=1e-3)
    first = decoded.first(1)
    assert [len(v) for v in (first.inputs, first.means, first.errors)] == [1, 1, 1]
    assert first.means[0] is decoded.means[0]


def test_another_seed_is_another_probe(recorded: Make) -> None:
    made = recorded(1, frames=1, side=64)
    judge_ = judge_of(made.noise_models, 1)
    (one,), (two,) = (
        replace(judge_, seed=seed).probe(made.frames, judge_.sampling(0)) for seed in (0, 1)
    )
    assert np.abs(one.noise - two.noise).max() > 1
