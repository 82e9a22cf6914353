"""Scores of error bars whose right values are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from denoisplit.evaluation.error_bars import (
    REMOVED,
    rank_correlation,
    score_error_bars,
    sparsification_curve,
)
from denoisplit.evaluation.groups import intensity_groups, local_intensities
from denoisplit.evaluation.risk import SquaredErrors
from denoisplit.prediction.frame import ErrorBars

NAMES = ("ER", "MT")
NORMAL_90 = 1.6449  # half-width of the 90 % interval of a standard normal variable
NOISE = 6.0  # std, of recorded images


class Made:
    """Frames whose errors are normal, of a std that grows with the intensity."""

    def __init__(self, *, claimed: float = 1.0, frames: int = 5, side: int = 160) -> None:
        rng = np.random.default_rng(0)
        ramp = np.linspace(0, 100, side, dtype=np.float32)
        self.decoded = [np.stack([np.tile(ramp, (side, 1))] * 2) for _ in range(frames)]
        self.std = [1 + mean / 25 for mean in self.decoded]
        self.signed = [
            (std * rng.standard_normal(std.shape)).astype(np.float32) for std in self.std
        ]
        self.bars = [
            ErrorBars(mean, claimed * std, NORMAL_90 * claimed * std)
            for mean, std in zip(self.decoded, self.std, strict=True)
        ]
        inside = np.ones(self.std[0].shape, dtype=bool)
        self.true = [SquaredErrors(e**2, inside) for e in self.signed]
        noise = [np.full(e.shape, NOISE**2, np.float32) for e in self.signed]
        self.estimated = [
            # errors that are independent of the noise of the reference
            SquaredErrors((e - NOISE * rng.standard_normal(e.shape)) ** 2 - n, inside, n)
            for e, n in zip(self.signed, noise, strict=True)
        ]
        intensities = local_intensities(self.decoded)
        self.groups = [intensity_groups(intensities, k) for k in range(2)]

    def scores(self, errors: list[SquaredErrors] | None = None, **options: Any) -> dict[str, Any]:
        errors = self.true if errors is None else errors
        return score_error_bars(self.bars, errors, self.groups, NAMES, **options)


def parts(scores: dict[str, Any]) -> list[dict[str, Any]]:
    return [scores, *scores["groups"], scores["brightest"], scores["background"]]


def test_calibrated_normal_errors() -> None:
    scores = Made().scores()
    assert list(scores) == list(NAMES)
    for found in scores.values():
        assert not found["estimated"] and len(found["groups"]) == 11
        for part in parts(found):
            ratio = part["error_over_claimed"]
            assert ratio["value"] == pytest.approx(1, abs=0.03)
            assert ratio["low"] <= ratio["value"] <= ratio["high"]
            assert part["coverage"] == pytest.approx(0.9, abs=0.01)
        assert sum(group["share"] for group in found["groups"]) == pytest.approx(1)
        assert all(group["judged"] for group in found["groups"])
        assert len(found["frames"]["coverage"]) == 5
        # frames scatter as independent pixels do
        assert found["frames"]["sd"] < 3 * math.sqrt(0.09 / 160**2)
        assert np.mean(found["frames"]["coverage"]) == pytest.approx(found["coverage"])


@pytest.mark.parametrize("claimed", [0.5, 2.0])
def test_error_bars_of_a_wrong_size(claimed: float) -> None:
    found = Made(claimed=claimed).scores()["ER"]
    outside = math.erfc(claimed * NORMAL_90 / math.sqrt(2))
    for part in parts(found):
        assert part["error_over_claimed"]["value"] == pytest.approx(1 / claimed, rel=0.03)
        assert part["coverage"] == pytest.approx(1 - outside, abs=0.015)
    # the size of the error bars does not change how they rank
    assert found["ause"] == Made().scores()["ER"]["ause"]


def test_means_of_estimated_errors_tell_the_size() -> None:
    made = Made()
    for found in made.scores(made.estimated).values():
        assert found["estimated"]
        for part in parts(found):
            ratio = part["error_over_claimed"]
            assert part["coverage"] is None
            # two standard errors over five frames do not always reach
            assert ratio["low"] < 1.1 and ratio["high"] > 0.9
        overall = found["error_over_claimed"]
        assert overall["low"] <= 1 <= overall["high"]
        assert overall["value"] == pytest.approx(1, abs=0.05)
        for key in ("ause", "ause_spread", "spearman", "spearman_spread", "interval_score",
                    "sparsification"):  # fmt: skip
            assert found[key] is None
        assert found["frames"] == {"coverage": [], "sd": None}
        assert found["mean_width"] == pytest.approx(2 * NORMAL_90 * np.mean(made.std), rel=1e-4)


def test_an_error_far_below_the_noise_is_only_bounded() -> None:
    made = Made()
    rng = np.random.default_rng(1)
    shape = made.decoded[0].shape
    noise = np.full(shape, 1e4, np.float32)
    inside = np.ones(shape, dtype=bool)
    tiny = [
        SquaredErrors(noise * (rng.standard_normal(shape) ** 2 - 1), inside, noise)
        for _ in made.decoded
    ]
    ratio = made.scores(tiny)["ER"]["error_over_claimed"]
    assert ratio["value"] is None and ratio["low"] == 0
    assert ratio["high"] is None or ratio["high"] > 0


def test_an_uncertain_noise_model_widens_the_range() -> None:
    made = Made()
    unsure = [replace(e, doubt=np.full(e.values.shape, 2.0)) for e in made.estimated]
    (a, b) = (made.scores(e)["MT"]["error_over_claimed"] for e in (made.estimated, unsure))
    assert a["value"] == b["value"] and a["low"] == b["low"]
    mean = float(np.mean([std**2 for std in made.std]))
    assert b["high"] ** 2 == pytest.approx(a["high"] ** 2 + 2 / mean, rel=1e-4)


def test_clipped_pixels_do_not_count() -> None:
    made = Made()
    expected = made.scores()
    for frame in made.true:
        frame.inside[:, :, :2] = False
        frame.values[:, :, :2] = 1e6
    found = made.scores()
    for name in NAMES:
        assert found[name]["coverage"] == pytest.approx(expected[name]["coverage"], abs=0.005)
        assert found[name]["error_over_claimed"]["value"] == pytest.approx(1, abs=0.03)
        assert found[name]["ause"] == pytest.approx(expected[name]["ause"], abs=0.02)


def test_small_groups_are_shown_and_not_judged() -> None:
    made = Made()
    bright = [np.maximum(mean, 99.5) for mean in made.decoded]
    made.bars = [b._replace(decoded=mean) for b, mean in zip(made.bars, bright, strict=True)]
    *others, last = made.scores()["ER"]["groups"]
    assert last["judged"] and last["share"] == 1 and last["coverage"] is not None
    for group in others:
        assert not group["judged"] and group["share"] == 0
        assert group["coverage"] is None and group["error_over_claimed"]["value"] is None


def test_interval_score_of_a_normal_error() -> None:
    """Of the central interval of a normal distribution the score is 2 phi(z) / 0.05 std."""
    made = Made()
    density = math.exp(-(NORMAL_90**2) / 2) / math.sqrt(2 * math.pi)
    expected = 2 * density / 0.05 * float(np.mean(made.std))
    best = made.scores()["ER"]["interval_score"]
    assert best == pytest.approx(expected, rel=0.01)
    for claimed in (0.7, 1.4):
        assert Made(claimed=claimed).scores()["ER"]["interval_score"] > 1.01 * best


def test_ranking_by_the_error_itself_has_no_area() -> None:
    made = Made()
    by_error = [np.abs(e) for e in made.signed]
    constant = [np.ones_like(e) for e in made.signed]
    perfect = made.scores(spreads=by_error)["ER"]
    assert perfect["ause_spread"] == pytest.approx(0, abs=1e-6)
    assert perfect["spearman_spread"] == pytest.approx(1)
    useless = made.scores(spreads=constant)["ER"]
    assert useless["spearman_spread"] is None
    curves = perfect["sparsification"]
    assert curves["removed"][0] == 0 and len(curves["removed"]) == len(curves["oracle"]) == 20
    assert curves["scaled_spread"] == curves["oracle"]
    # a constant uncertainty removes pixels in proportion: the error stays the same
    assert set(useless["sparsification"]["scaled_spread"]) == {1.0}
    assert 0 < perfect["ause"] < useless["ause_spread"]


def test_spreads_rank_errors_of_their_own() -> None:
    made = Made()
    mean_errors = [SquaredErrors(4 * e.values, e.inside) for e in made.true]
    options = {"spreads": [np.abs(e) for e in made.signed], "spread_errors": mean_errors}
    assert made.scores(**options)["ER"]["ause_spread"] == pytest.approx(0, abs=1e-6)


def test_without_an_interval_there_is_no_coverage() -> None:
    made = Made()
    made.bars = [bar._replace(half_width=None) for bar in made.bars]
    found = made.scores()["ER"]
    assert found["coverage"] is found["mean_width"] is found["interval_score"] is None
    assert found["error_over_claimed"]["value"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("estimated", [False, True])
def test_scores_are_plain_json(estimated: bool) -> None:
    made = Made(frames=1, side=48)
    found = made.scores(made.estimated if estimated else None, spreads=made.std)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# ---------------------------------------------------------------- curves


def test_sparsification_of_a_known_error() -> None:
    """Squared errors of 1 to n in order of their uncertainty: means of the first ones."""
    n = 1000
    squared = np.arange(1, n + 1, dtype=np.float64)
    curve = sparsification_curve(squared, squared)
    left = (1 - REMOVED) * n
    np.testing.assert_allclose(curve, np.sqrt((left + 1) / 2))
    shuffled = np.random.default_rng(0).permutation(n)
    np.testing.assert_allclose(sparsification_curve(squared[shuffled], squared[shuffled]), curve)


def test_pixels_of_one_uncertainty_are_removed_in_proportion() -> None:
    uncertainty = np.repeat([1.0, 2.0], 500)
    squared = np.concatenate([np.zeros(500), np.repeat([0.0, 8.0], 250)])
    curve = sparsification_curve(uncertainty, squared)
    np.testing.assert_allclose(curve[[0, 25, 50, 99]], [math.sqrt(2), math.sqrt(4 / 3), 0, 0])


def test_rank_correlation_ignores_scale() -> None:
    error = np.random.default_rng(0).exponential(size=1000)
    assert rank_correlation(error**3, error**2) == pytest.approx(1)
    assert rank_correlation(-error, error**2) == pytest.approx(-1)
    assert rank_correlation(np.ones(10), np.arange(10.0)) is None
