"""Verdicts on predictions that are known to split, to denoise only, or to be of no use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoisplit.data.simulation import simulate
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.metrics import blur
from denoisplit.evaluation.risk import Probe, squared_errors
from denoisplit.evaluation.verdict import LEAST_GAIN, Judgement, judge

Array = np.ndarray[Any, Any]
Predictor = Callable[[Array, Array], Array]  # input (Y, X) and truth (C, Y, X) -> (C, Y, X)

NAMES = ("ER", "MT", "actin")
SIGMA = 60.0


@pytest.fixture(scope="module")
def images() -> list[Array]:
    """Four frames of each structure, (4, 96, 96)."""
    mesh = simulate("mesh", frames=8, size=96, seed=3)
    return [mesh[:4], simulate("filaments", frames=4, size=96, seed=3), mesh[4:]]


class Case:
    """Frames of some structures, predicted by a function, with truth or from noisy images alone."""

    def __init__(
        self,
        structures: list[Array],
        predict: Predictor,
        *,
        truth: bool,
        kind: str = "sum",
        gain: float = 1.0,
        sigma: float = SIGMA,
    ) -> None:
        rng = np.random.default_rng(1)
        sigma *= gain
        scaled = [np.float32(gain * s) for s in structures]
        mix = Superposition(kind, (0.0,) * len(scaled))
        group = tuple(tuple(s) for s in scaled)
        made = EvaluationFrames(group, SyntheticNoise(0.0, sigma), mix, seed=0, part="evaluation")
        clean = made.truth
        if not truth:
            noisy = tuple(tuple(np.float32(y + rng.normal(0, sigma, y.shape))) for y in scaled)
            made = EvaluationFrames(noisy, SyntheticNoise(), mix, seed=0, part="evaluation")
        self.frames = made
        self.names = NAMES[: len(scaled)]
        self.means = [np.float32(predict(x, t)) for x, t in zip(made.inputs, clean, strict=True)]
        self.probes = None
        if not truth:
            self.probes = []
            for x, t, mean in zip(made.inputs, clean, self.means, strict=True):
                noise = np.float32(rng.normal(0, sigma, mean.shape))
                moved = predict(x + 0.5 * mix.scale * noise.sum(axis=0), t)
                response = np.float32((moved - mean) / 0.5)
                self.probes.append(Probe(np.full_like(mean, sigma**2), noise, response))

    def judged(self) -> list[Judgement]:
        errors = squared_errors(self.frames, self.means, self.probes)
        return judge(self.frames, self.means, errors, self.names, self.probes)

    def results(self) -> list[str]:
        return [one.verdict.verdict for one in self.judged()]


def near_truth(x: Array, truth: Array) -> Array:
    """A good split: the truth with a small error that does not depend on the noise."""
    error = np.random.default_rng(2).normal(0, 6, truth.shape)
    return truth + np.stack([gaussian_filter(e, 1) for e in error])


def unsplit(x: Array, truth: Array) -> Array:
    """The sum, denoised as well, with the slope and offset that fit each structure best."""
    whole = near_truth(x, truth).sum(axis=0)
    lines = [np.polyfit(whole.ravel(), target.ravel(), 1) for target in truth]
    return np.stack([slope * whole + offset for slope, offset in lines])


def blurred(x: Array, truth: Array) -> Array:
    """The input after a blur, from which the noise is not gone."""
    return np.stack([blur(x, 1.0) / len(truth)] * len(truth))


def noise(x: Array, truth: Array) -> Array:
    return np.random.default_rng(3).normal(truth.mean(), 20, truth.shape)


def identity(x: Array, truth: Array) -> Array:
    """The input itself, which copies all noise."""
    return np.stack([x] * len(truth)) / len(truth)


known = pytest.mark.parametrize("truth", [True, False], ids=["truth", "noisy"])


@known
@pytest.mark.parametrize("kind", ["sum", "mean"])
@pytest.mark.parametrize("structures", [2, 3])
@pytest.mark.parametrize(
    ("predict", "result"),
    [
        (near_truth, "split"),
        (unsplit, "denoised, not split"),
        (blurred, "not usable"),
        (noise, "not usable"),
        (identity, "not usable"),
    ],
)
def test_planted_predictions(
    images: list[Array], predict: Predictor, result: str, structures: int, kind: str, truth: bool
) -> None:
    case = Case(images[:structures], predict, truth=truth, kind=kind)
    assert case.results() == [result] * structures


@known
@pytest.mark.parametrize(
    ("predict", "result"),
    [(near_truth, "denoised"), (blurred, "not usable"), (identity, "not usable")],
)
def test_one_structure_can_only_be_denoised(
    images: list[Array], predict: Predictor, result: str, truth: bool
) -> None:
    (judged,) = Case(images[:1], predict, truth=truth).judged()
    assert judged.verdict.verdict == result
    assert judged.verdict.over_unsplit is None and judged.unsplit is None


@known
def test_two_of_three_structures_are_not_split(images: list[Array], truth: bool) -> None:
    """The first is split off; the others share what is left."""

    def predict(x: Array, t: Array) -> Array:
        good = near_truth(x, t)
        return np.concatenate([good[:1], unsplit(x, t[1:])])

    assert Case(images, predict, truth=truth).results() == [
        "split", "denoised, not split", "denoised, not split",
    ]  # fmt: skip


@known
def test_structures_of_one_kind_are_not_split(images: list[Array], truth: bool) -> None:
    """Two structures that cannot be told apart: the best prediction of each is half of the sum."""
    halves = [images[0], images[2]]

    def predict(x: Array, t: Array) -> Array:
        return np.stack([near_truth(x, t).mean(axis=0)] * 2)

    assert Case(halves, predict, truth=truth).results() == ["denoised, not split"] * 2


@known
def test_the_errors_of_simpler_predictions(images: list[Array], truth: bool) -> None:
    """From noisy images the same, within the uncertainty that is given."""

    def predict(x: Array, t: Array) -> Array:
        return t + 4 * (near_truth(x, t) - t)

    case = Case(images[:2], predict, truth=truth, sigma=20.0)
    by_truth = Case(images[:2], predict, truth=True, sigma=20.0)
    for found, expected in zip(case.judged(), by_truth.judged(), strict=True):
        for one, other in (
            (found.blurred, expected.blurred),
            (found.unsplit, expected.unsplit),
        ):
            assert one is not None and other is not None
            assert abs(one.value - other.value) <= max(
                3 * np.hypot(one.standard_error, other.standard_error), 1e-6
            )
        assert found.verdict.over_blur == pytest.approx(expected.verdict.over_blur, abs=1)
        assert found.verdict.over_unsplit == pytest.approx(expected.verdict.over_unsplit, abs=1)


@known
@pytest.mark.parametrize("predict", [near_truth, unsplit, blurred])
def test_numbers_are_in_the_sentence(images: list[Array], predict: Predictor, truth: bool) -> None:
    for (_verdict, *_), name in zip(
        Case(images, predict, truth=truth).judged(), NAMES, strict=True
    ):
        stored = _verdict.as_dict()
        assert set(stored) == {"structure", "verdict", "over_blur", "over_unsplit", "sentence"}
        assert stored["structure"] == name
        sentence = stored["sentence"]
        assert sentence.startswith(f"{name} is {stored['verdict']}: ") and sentence.endswith(".")
        if stored["over_blur"] is not None:  # else even the most that the error can be is negative
            assert f"{abs(stored['over_blur']):.1f} dB" in sentence
        assert "best blurred input" in sentence
        usable = stored["verdict"] != "not usable"
        if usable and stored["over_unsplit"] is not None:
            assert f"{abs(stored['over_unsplit']):.1f} dB" in sentence
        assert ("unsplit mixture" in sentence) == usable
        if stored["verdict"] == "split" and stored["over_blur"] is not None:
            assert min(stored["over_blur"], stored["over_unsplit"]) >= LEAST_GAIN


@known
@pytest.mark.parametrize("predict", [near_truth, unsplit, blurred])
@pytest.mark.parametrize("gain", [0.001, 64.0])
def test_the_unit_of_the_images_does_not_matter(
    images: list[Array], predict: Predictor, gain: float, truth: bool
) -> None:
    def scaled(x: Array, t: Array) -> Array:
        return gain * predict(x / gain, t / gain)

    plain = Case(images[:2], predict, truth=truth).judged()
    other = Case(images[:2], scaled, truth=truth, gain=gain).judged()
    for one, two in zip(plain, other, strict=True):
        assert two.verdict.verdict == one.verdict.verdict
        assert two.verdict.over_blur == pytest.approx(one.verdict.over_blur, abs=0.02)
        assert two.verdict.over_unsplit == pytest.approx(one.verdict.over_unsplit, abs=0.02)


def test_copied_noise_is_no_merit(images: list[Array]) -> None:
    """Against the noisy images the input of a single structure has no error at all."""
    for predict, result in ((identity, "not usable"), (near_truth, "denoised")):
        case = Case(images[:1], predict, truth=False)
        assert case.results() == [result]
        naive = [
            ((m - y) ** 2).mean() for m, y in zip(case.means, case.frames.observed, strict=True)
        ]
        assert (np.mean(naive) < 1) == (predict is identity)


def test_an_error_that_is_not_distinguishable_from_zero_bounds_the_gain(
    images: list[Array],
) -> None:
    """The gain is what it is at least; the difference from simpler predictions is sharp."""

    def predict(x: Array, t: Array) -> Array:
        return t + 0.05 * (near_truth(x, t) - t)

    found = 0
    for one, exact in zip(
        Case(images[:2], predict, truth=False).judged(),
        Case(images[:2], predict, truth=True).judged(),
        strict=True,
    ):
        if one.verdict.over_blur is not None:
            found += 1
            assert 0.5 < one.verdict.over_blur < exact.verdict.over_blur
            assert one.verdict.sentence.count("at least") == 2
        assert one.verdict.verdict == "split"
        assert "at least" not in exact.verdict.sentence
    assert found


def test_a_small_advantage_is_not_enough(images: list[Array]) -> None:
    """Better than the unsplit mixture by less than half a decibel, however certain."""

    def predict(x: Array, t: Array) -> Array:
        half = unsplit(x, t)
        return half + 0.03 * (near_truth(x, t) - half)

    for one in Case(images[:2], predict, truth=True).judged():
        assert one.verdict.verdict == "denoised, not split"
        assert 0 < one.verdict.over_unsplit < LEAST_GAIN
        assert "which is not enough" in one.verdict.sentence


def test_an_advantage_within_its_uncertainty_is_not_enough(images: list[Array]) -> None:
    """Noise far above the structures: nothing is certain, and no split is claimed."""

    def predict(x: Array, t: Array) -> Array:
        return 0.5 * near_truth(x, t) + 0.5 * unsplit(x, t)

    for one in Case(images[:2], predict, truth=False, sigma=2000.0).judged():
        assert one.verdict.verdict != "split"


def test_a_perfect_prediction_is_beyond_measure(images: list[Array]) -> None:
    for one in Case(images[:2], lambda x, t: t, truth=True).judged():
        assert one.verdict.verdict == "split"
        assert one.verdict.over_blur is None and "dB" not in one.verdict.sentence
