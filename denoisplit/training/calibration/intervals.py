"""Correction of the error map and its intervals, group by group of local intensity.

With a truth both rest on true errors: the intervals are conformal per group (Mondrian; Angelopoulos
et al. 2022), and approximate, because they are interpolated between groups and because the pixels
of a frame are not independent. From noisy images alone, the size of the error is Stein's estimate,
and the shape of its distribution that of re-noised predictions (parametric bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.data.superposition import Superposition
from denoisplit.evaluation.groups import IntensityGroups, local_intensities
from denoisplit.evaluation.judge import DecodedFrames
from denoisplit.evaluation.risk import SquaredErrors, estimate
from denoisplit.machine.memory import release_freed_memory
from denoisplit.network.error_map import ErrorMap
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.intervals import COVERAGES

Array = npt.NDArray[np.float32]
Flat = npt.NDArray[np.float64]

# share of the noise's std: a smaller squared error, less than a hundredth of the variance of the
# noise, cannot be distinguished from noise whose variance is not known any better
RESOLUTION = 0.1
ROUNDS = 3  # of the correction, which is interpolated between the groups that it is fitted to
FACTORS = 0.1, 100.0  # on the variance of a group, per round
LEAST_VARIANCE = 1e-12  # raw intensity squared
USUAL = 0.99  # quantile at which ratios of error and error bar are cut off for their mean square
LEAST_WIDTH = 1e-3  # of an interval, in units of the error bar


def correct_error_map(
    error_map: ErrorMap, frames: DecodedFrames, groups: Sequence[IntensityGroups]
) -> ErrorMap:
    """Return the error map with groups, in which its mean variance is the mean squared error.

    From noisy images alone no pixel claims less than what can be distinguished from noise, and all
    of a group whose error cannot claim that upper bound.

    Parameters
    ----------
    groups : sequence of IntensityGroups
        One per structure.
    """
    size = max(map(len, groups))
    with torch.random.fork_rng(devices=[]):  # its initial weights are not used
        corrected = ErrorMap(error_map.structures, groups=size, coverages=len(COVERAGES))
    state = error_map.state_dict()
    own = ("centres", "correction", "floor", "coverages", "quantiles")
    kept = {name: value for name, value in state.items() if name not in own}
    corrected.load_state_dict({**corrected.state_dict(), **kept})
    corrected.coverages.copy_(torch.tensor(COVERAGES))
    unit = corrected.target_std.double().numpy() ** 2
    intensities = local_intensities(frames.means)
    for k, group in enumerate(groups):
        corrected.centres[k] = torch.from_numpy(_padded(group.centres, size, rising=True))
        index = [group.index(intensity[k]) for intensity in intensities]
        inside = [
            [(i == g) & e.inside[k] for i, e in zip(index, frames.errors, strict=True)]
            for g in range(len(group))
        ]
        targets = [_target(frames.errors, k, where) for where in inside]
        for g, target in enumerate(targets):
            corrected.floor[k, g] = 0.0 if target is None else target.floor / unit[k]
        for number in range(ROUNDS):
            claimed = [std[k] ** 2 for std in error_stds(corrected, frames.inputs, frames.means)]
            for g, target in enumerate(targets):
                if target is None:
                    continue
                mean = _mean(claimed, inside[g])
                if not target.is_bound:
                    # the squares of variance and floor are added
                    wanted, given = (v**2 - target.floor**2 for v in (target.variance, mean))
                    factor = math.sqrt(max(wanted, 0.0) / max(given, LEAST_VARIANCE))
                    corrected.correction[k, g] *= min(max(factor, FACTORS[0]), FACTORS[1])
                elif number == 0:
                    # where the map claims more it is kept, as it still ranks the pixels
                    corrected.correction[k, g] *= min(1.0, target.variance / mean)
        for table in (corrected.correction, corrected.floor):
            table[k, len(group) :] = table[k, len(group) - 1]
    return corrected.eval().requires_grad_(False)


class _Target(NamedTuple):
    """Variance that the pixels of a group should claim on average, raw intensity squared."""

    variance: float
    floor: float  # the least variance of a pixel; 0 with a truth
    is_bound: bool  # whether it is an upper bound, as the error cannot be distinguished from noise


def _target(
    errors: Sequence[SquaredErrors], k: int, where: Sequence[npt.NDArray[np.bool_]]
) -> _Target | None:
    """Return what a group of pixels should claim; None if there is no pixel."""
    if not any(w.any() for w in where):
        return None
    error = estimate(errors, k, where)
    if errors[0].noise is None:
        return _Target(max(error.value, LEAST_VARIANCE), 0.0, is_bound=False)
    floor = RESOLUTION**2 * _mean([e.noise[k] for e in errors if e.noise is not None], where)
    bound = error.value + error.standard_error
    return _Target(max(bound, floor, LEAST_VARIANCE), floor, is_bound=bound < floor)


def _mean(values: Sequence[Array], where: Sequence[npt.NDArray[np.bool_]]) -> float:
    """Return the mean over chosen pixels of all frames."""
    total = sum(float(v[w].sum(dtype=np.float64)) for v, w in zip(values, where, strict=True))
    return total / sum(int(w.sum()) for w in where)


def error_stds(error_map: ErrorMap, inputs: Sequence[Array], means: Sequence[Array]) -> list[Array]:
    """Return the std of the error (C, Y, X) of every frame, raw intensity."""
    device = error_map.centres.device
    release_freed_memory()  # whole frames at once come after small crops
    with torch.inference_mode():
        return [
            error_map(
                torch.from_numpy(x)[None, None].to(device), torch.from_numpy(m)[None].to(device)
            )[0]
            .cpu()
            .numpy()
            for x, m in zip(inputs, means, strict=True)
        ]


def tabulate_intervals(
    error_map: ErrorMap,
    inputs: Sequence[Array],
    means: Sequence[Array],
    differences: Sequence[Array],
    groups: Sequence[IntensityGroups],
    *,
    scaled: bool,
) -> None:
    """Store the half-widths of all intervals in a corrected error map, in place.

    Parameters
    ----------
    inputs, means : sequences of array
        As in `DecodedFrames`.
    differences : sequence of array (C, Y, X)
        Absolute errors of the means, true or of re-noised predictions.
    groups : sequence of IntensityGroups
        One per structure.
    scaled : bool
        Whether only the shape of the distribution counts, because its size is that of the error
        map already.
    """
    stds, intensities = error_stds(error_map, inputs, means), local_intensities(means)
    size = error_map.centres.shape[1]
    for k, group in enumerate(groups):
        index = np.concatenate([group.index(i[k]).ravel() for i in intensities])
        error, std = (
            np.concatenate([frame[k].ravel() for frame in frames]).astype(np.float64)
            for frames in (differences, stds)
        )
        used = np.isfinite(error)
        for q, coverage in enumerate(COVERAGES):
            widths = np.ones(len(group))
            for g in range(len(group)):
                inside = used & (index == g)
                if inside.any():
                    ratio = error[inside] / std[inside]
                    widths[g] = conformal_quantile(ratio, coverage)
                    if scaled:
                        # a few ratios are huge, where the error bar is tiny
                        usual = np.minimum(ratio, np.quantile(ratio, USUAL))
                        widths[g] /= max(math.sqrt(float(np.mean(usual**2))), 1e-12)
            padded = _padded(np.maximum(widths, LEAST_WIDTH), size)
            error_map.quantiles[q, k] = torch.from_numpy(padded)


def conformal_quantile(values: Flat, coverage: float) -> float:
    """Return the value that covers a new one with at least this probability, if exchangeable."""
    rank = min(math.ceil((values.size + 1) * coverage), values.size)
    return float(np.partition(values, rank - 1)[rank - 1])


def renoised(
    means: Array,
    noise_models: Sequence[GaussianMixture],
    superposition: Superposition,
    *,
    seed: int,
    frame: int,
) -> Array:
    """Superpose predictions (C, Y, X) with fresh noise from the noise models, (Y, X)."""
    noisy = []
    for k, model in enumerate(noise_models):
        device = model.weight.device
        address = np.random.SeedSequence((seed, frame, k)).generate_state(1)[0]
        generator = torch.Generator(device).manual_seed(int(address))
        signal = torch.from_numpy(means[k]).to(device)
        with torch.inference_mode():
            noisy.append(model.sample(signal, generator).cpu().numpy())
    return superposition(noisy)


def _padded(values: Flat, size: int, *, rising: bool = False) -> npt.NDArray[np.float32]:
    """Return values of G groups for ``size`` groups, repeating the last one, or rising from it."""
    extra = size - len(values)
    step = max(abs(float(values[-1])), 1.0) if rising else 0.0
    more = values[-1] + step * np.arange(1, extra + 1)
    return np.concatenate([values, more]).astype(np.float32)
