"""Correction of error maps and their intervals on errors of a known distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.data.superposition import Superposition
from denoisplit.evaluation.groups import IntensityGroups, intensity_groups, local_intensities
from denoisplit.evaluation.judge import DecodedFrames
from denoisplit.evaluation.risk import SquaredErrors
from denoisplit.network.error_map import ErrorMap, error_map_of
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.intervals import COVERAGES, interval_number
from denoisplit.training.calibration.intervals import (
    RESOLUTION,
    conformal_quantile,
    correct_error_map,
    error_stds,
    renoised,
    tabulate_intervals,
)

Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

SIDE = 96
NORMAL_90 = 1.6449


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def laplace(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Of unit variance; its 90 % interval is that of 1.63 standard deviations."""
    return rng.laplace(0, math.sqrt(0.5), shape)


class Made:
    """Decoded means with errors of a std that grows with the intensity; map and groups of them."""

    def __init__(
        self,
        seed: int = 0,
        *,
        frames: int = 8,
        structures: int = 2,
        draw: Draw = normal,
        least: float = 1.0,
        noise: float | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:SIDE, :SIDE]
        self.means, self.signed, self.std = [], [], []
        for j in range(frames):
            waves = [np.sin(x / (17 + 4 * k) + j) * np.cos(y / 23 - j) for k in range(structures)]
            mean = 50 + 45 * np.stack(waves)
            self.means.append(np.float32(mean))
            std = least + 4 * (mean / 100) ** 2
            self.std.append(np.float32(std))
            self.signed.append(np.float32(std * draw(rng, std.shape)))
        inside = np.ones(self.std[0].shape, dtype=bool)
        if noise is None:
            self.errors = [SquaredErrors(e**2, inside.copy()) for e in self.signed]
        else:
            variance = np.full(inside.shape, noise**2, np.float32)
            self.errors = [
                SquaredErrors(
                    np.float32((e - noise * rng.standard_normal(e.shape)) ** 2 - variance),
                    inside.copy(),
                    variance,
                )
                for e in self.signed
            ]
        self.inputs = [np.float32(m.sum(axis=0)) for m in self.means]
        self.frames = DecodedFrames(self.inputs, self.means, self.errors)
        self.intensities = local_intensities(self.means)

    @property
    def groups(self) -> list[IntensityGroups]:
        return [intensity_groups(self.intensities, k) for k in range(len(self.means[0]))]

    def where(self, groups: list[IntensityGroups], k: int) -> list[list[Array]]:
        """Pixels of each group, in every frame."""
        index = [groups[k].index(frame[k]) for frame in self.intensities]
        return [[i == g for i in index] for g in range(len(groups[k]))]


def flat_map(structures: int = 2) -> ErrorMap:
    """The same variance everywhere, in another unit than raw intensities."""
    error_map = ErrorMap(structures)
    for parameter in error_map.parameters():
        torch.nn.init.zeros_(parameter)
    error_map.target_std.fill_(10.0)
    error_map.level.fill_(0.3)
    return error_map.eval().requires_grad_(False)


def pooled(values: list[Array], k: int, where: list[Array]) -> Array:
    return np.concatenate([v[k][w] for v, w in zip(values, where, strict=True)]).astype(np.float64)


# ---------------------------------------------------------------- correction


@pytest.mark.parametrize("structures", [1, 2])
def test_a_corrected_map_claims_the_error_of_every_group(structures: int) -> None:
    made = Made(structures=structures)
    groups = made.groups
    error_map = correct_error_map(flat_map(structures), made.frames, groups)
    stds = error_stds(error_map, made.inputs, made.means)
    for k in range(structures):
        assert len(groups[k]) == 11
        for where in made.where(groups, k):
            claimed = (pooled(stds, k, where) ** 2).mean()
            assert claimed == pytest.approx((pooled(made.signed, k, where) ** 2).mean(), rel=0.03)
    # so it does in new frames
    other = Made(1, structures=structures)
    stds = error_stds(error_map, other.inputs, other.means)
    for k in range(structures):
        for where in other.where(groups, k):
            ratio = pooled(other.signed, k, where) ** 2
            assert math.sqrt(ratio.mean() / (pooled(stds, k, where) ** 2).mean()) == pytest.approx(
                1, abs=0.1
            )


def test_a_correction_changes_neither_the_map_before_nor_what_it_ranks_by() -> None:
    made, before = Made(frames=2), flat_map()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.nn.init.normal_(before.layers[-1].weight, std=0.3)
    state = {name: value.clone() for name, value in before.state_dict().items()}
    random = torch.get_rng_state()
    error_map = correct_error_map(before, made.frames, made.groups)
    for name, value in before.state_dict().items():
        assert torch.equal(value, state[name]), name
    for name in ("level", "target_std", *(n for n in state if n.startswith("layers"))):
        assert torch.equal(error_map.state_dict()[name], state[name]), name
    again = correct_error_map(before, made.frames, made.groups)
    for name, value in error_map.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert torch.equal(torch.get_rng_state(), random)
    # it can be stored and read again
    assert error_map_of(error_map.state_dict(), 2).coverages.tolist() == pytest.approx(COVERAGES)


def test_noisy_estimates_correct_as_well_where_errors_stand_out() -> None:
    """From noise of up to five times the error."""
    made = Made(frames=24, noise=5.0)
    groups = made.groups
    error_map = correct_error_map(flat_map(), made.frames, groups)
    stds = error_stds(error_map, made.inputs, made.means)
    for k in range(2):
        for where in made.where(groups, k):
            true = math.sqrt((pooled(made.signed, k, where) ** 2).mean())
            claimed = math.sqrt((pooled(stds, k, where) ** 2).mean())
            assert true > 0.15 * 5.0
            assert 0.7 < true / claimed < 1.4


@pytest.mark.parametrize("noise", [60.0, 200.0])
def test_where_errors_do_not_stand_out_the_claim_is_an_upper_bound(noise: float) -> None:
    """Errors of less than a hundredth of the noise's variance: a bar may be too long there."""
    made = Made(frames=8, noise=noise, least=0.01)
    groups = made.groups
    error_map = correct_error_map(flat_map(), made.frames, groups)
    stds = error_stds(error_map, made.inputs, made.means)
    for k in range(2):
        for where in made.where(groups, k):
            true = math.sqrt((pooled(made.signed, k, where) ** 2).mean())
            claimed = math.sqrt((pooled(stds, k, where) ** 2).mean())
            # centres of groups are interpolated, so that a dark group may claim a little less
            assert claimed >= 0.9 * RESOLUTION * noise and claimed >= true / 1.4
    assert (error_map.floor > 0).any()


def test_the_order_of_pixels_is_kept_above_the_floor() -> None:
    made = Made(frames=8, noise=60.0)
    before = flat_map()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.nn.init.normal_(before.layers[-1].weight, std=0.5)
    before.level.fill_(10.0)
    groups = [IntensityGroups(np.empty(0), np.array([50.0]))] * 2
    error_map = correct_error_map(before, made.frames, groups)
    (one, two) = (error_stds(m, made.inputs[:1], made.means[:1])[0] for m in (before, error_map))
    for k in range(2):
        low = two[k].min()
        assert (np.diff(two[k].ravel()[np.argsort(one[k].ravel())]) >= -1e-4 * low).all()


def test_pixels_that_do_not_count_correct_nothing() -> None:
    made = Made(frames=4)
    for frame in made.errors:
        frame.inside[:, 30:50] = False
    plain = correct_error_map(flat_map(), made.frames, made.groups)
    for frame in made.errors:
        frame.values[:, 30:50] = 1e6
    spoilt = correct_error_map(flat_map(), made.frames, made.groups)
    for name, value in plain.state_dict().items():
        assert torch.equal(spoilt.state_dict()[name], value), name


def test_structures_have_groups_of_their_own_number() -> None:
    made = Made(frames=4)
    first = made.groups[0]
    groups = [first, IntensityGroups(np.array([50.0]), np.array([30.0, 70.0]))]
    error_map = correct_error_map(flat_map(), made.frames, groups)
    assert error_map.centres.shape == (2, len(first))
    assert (error_map.centres.diff(dim=1) > 0).all()
    differences = [np.abs(e) for e in made.signed]
    tabulate_intervals(error_map, made.inputs, made.means, differences, groups, scaled=False)
    # beyond the last group its values stay
    for table in (error_map.correction[1], *error_map.quantiles[:, 1]):
        assert (table[2:] == table[1]).all()


def test_a_perfect_group_claims_a_positive_error() -> None:
    made = Made(frames=2)
    for frame, mean in zip(made.errors, made.means, strict=True):
        frame.values[mean < 50] = 0
    error_map = correct_error_map(flat_map(), made.frames, made.groups)
    assert all((std > 0).all() for std in error_stds(error_map, made.inputs, made.means))
    error_map_of(error_map.state_dict(), 2)


# ---------------------------------------------------------------- intervals


def covered(error_map: ErrorMap, made: Made, coverage: float) -> list[Array]:
    number = interval_number(error_map, coverage)
    inside = []
    with torch.inference_mode():
        for x, m, e in zip(made.inputs, made.means, made.signed, strict=True):
            mean = torch.from_numpy(m)[None]
            std = error_map(torch.from_numpy(x)[None, None], mean)
            inside.append(np.abs(e) <= error_map.half_width(number, mean, std)[0].numpy())
    return inside


def assert_covered(
    error_map: ErrorMap,
    new: Made,
    groups: list[IntensityGroups],
    coverage: float,
    *,
    overall: float = 0.02,
    group: float = 0.05,
) -> None:
    found = covered(error_map, new, coverage)
    everywhere = [np.ones((SIDE, SIDE), dtype=bool)] * len(found)
    for k in range(len(groups)):
        assert pooled(found, k, everywhere).mean() == pytest.approx(coverage, abs=overall)
        for where in new.where(groups, k):
            assert pooled(found, k, where).mean() == pytest.approx(coverage, abs=group)


@pytest.mark.parametrize("draw", [normal, laplace])
def test_intervals_of_true_errors_cover_new_frames(draw: Draw) -> None:
    made, new = Made(draw=draw), Made(1, draw=draw)
    groups = made.groups
    error_map = correct_error_map(flat_map(), made.frames, groups)
    differences = [np.abs(e) for e in made.signed]
    tabulate_intervals(error_map, made.inputs, made.means, differences, groups, scaled=False)
    for coverage in (0.5, 0.9, 0.99):
        assert_covered(error_map, new, groups, coverage)
    assert (error_map.quantiles.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("draw", [normal, laplace])
def test_intervals_of_a_bootstrap_take_its_shape_alone(draw: Draw) -> None:
    """Errors of re-noised predictions that are three times too small."""
    made, new = Made(draw=draw, frames=16, noise=4.0), Made(1, draw=draw)
    groups = made.groups
    error_map = correct_error_map(flat_map(), made.frames, groups)
    again = Made(2, draw=draw)
    differences = [np.abs(e) / 3 for e in again.signed]
    tabulate_intervals(error_map, again.inputs, again.means, differences, groups, scaled=True)
    assert_covered(error_map, new, groups, 0.9, overall=0.05, group=0.1)
    if draw is normal:
        widths = error_map.quantiles[interval_number(error_map, 0.9)]
        np.testing.assert_allclose(widths, NORMAL_90, rtol=0.1)


def test_errors_that_are_no_numbers_are_left_out() -> None:
    made = Made(frames=4)
    groups = made.groups
    error_map = correct_error_map(flat_map(), made.frames, groups)
    differences = [np.abs(e) for e in made.signed]
    differences[0][:, :10] = np.nan
    differences[1][:] = np.inf
    tabulate_intervals(error_map, made.inputs, made.means, differences, groups, scaled=False)
    assert torch.isfinite(error_map.quantiles).all()
    assert_covered(error_map, Made(1, frames=4), groups, 0.9)


# ---------------------------------------------------------------- conformal quantile


@pytest.mark.parametrize(
    ("n", "coverage", "rank"),
    [(9, 0.9, 9), (10, 0.9, 10), (19, 0.9, 18), (99, 0.5, 50), (3, 0.9, 3)],
)
def test_the_quantile_is_a_value_of_its_rank(n: int, coverage: float, rank: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    kept = values.copy()
    assert conformal_quantile(values, coverage) == rank
    assert (values == kept).all()


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (99, 0.9), (39, 0.95), (9, 0.5)])
def test_a_new_value_is_covered(n: int, coverage: float) -> None:
    """With a probability of at least the coverage, and of 1 / (n + 1) more at most."""
    rng = np.random.default_rng(0)
    draws = 4000
    inside = 0
    for _ in range(draws):
        values = rng.exponential(size=n + 1)
        inside += values[-1] <= conformal_quantile(values[:-1], coverage)
    scatter = 3 * math.sqrt(coverage * (1 - coverage) / draws)
    assert coverage - scatter < inside / draws < coverage + 1 / (n + 1) + scatter


# ---------------------------------------------------------------- bootstrap


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_renoised_predictions_have_the_noise_of_the_models(kind: str) -> None:
    """Of a variance of 4 + 2 s at signal s."""
    lines = np.array([[0, 0], [math.log(4), math.log(2 * 200)], [0, 0]])
    models = [GaussianMixture(lines, 0.0, 200.0, 1e-6)] * 2
    means = np.stack([np.full((256, 256), 50.0), np.full((256, 256), 150.0)]).astype(np.float32)
    mix = Superposition(kind, (0.0, 0.0))
    state = torch.get_rng_state()
    one, again, other = (
        renoised(means, models, mix, seed=seed, frame=frame)
        for seed, frame in ((3, 0), (3, 0), (3, 1))
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert one.shape == (256, 256) and np.array_equal(one, again)
    expected = mix.scale**2 * (4 + 2 * 50 + 4 + 2 * 150)
    assert one.mean() == pytest.approx(mix.scale * 200, abs=0.3)
    assert one.var() == pytest.approx(expected, rel=0.03)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02
