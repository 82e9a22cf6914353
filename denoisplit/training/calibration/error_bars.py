"""Fit error map and intervals of a trained network to its validation and training frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.groups import IntensityGroups, intensity_groups, local_intensities
from denoisplit.evaluation.judge import Array, DecodedFrames, Judge, decoded_means
from denoisplit.evaluation.noise_level import NoiseLevel
from denoisplit.evaluation.risk import SquaredErrors, estimate, squared_errors
from denoisplit.network.error_map import ErrorMap
from denoisplit.progress import logger
from denoisplit.training.calibration.error_map import fit_error_map
from denoisplit.training.calibration.intervals import (
    correct_error_map,
    error_stds,
    renoised,
    tabulate_intervals,
)

TOLERATED = 0.2  # share of the squared error of validation frames that a map may miss


@dataclass(frozen=True)
class Fitted:
    """What was fitted to the errors of decoded means.

    Attributes
    ----------
    error_map : ErrorMap
        With its intervals.
    groups : list of IntensityGroups
        One per structure.
    frames : str
        Which frames it holds for.
    levels : list of NoiseLevel or None
        Noise of recorded frames against the noise models, measured on all of them.
    decoded : list of array (C, Y, X)
        Decoded means of the validation and then the training frames.
    """

    error_map: ErrorMap
    groups: list[IntensityGroups]
    frames: str
    levels: list[NoiseLevel] | None
    decoded: list[Array]


def fit_error_bars(
    judge: Judge,
    training: EvaluationFrames | None,
    validation: EvaluationFrames,
    *,
    steps: int,
) -> Fitted:
    """Fit error map, groups and intervals to the errors of decoded means.

    Training frames are used beside the validation frames where their errors agree.

    Parameters
    ----------
    training : EvaluationFrames, optional
        None if they cannot be superposed.
    steps : int
        Of the training of the error map.
    """
    known = validation if training is None else validation.joined(training)
    inputs, means = decoded_means(judge, known.inputs, "decoding")
    probes = None if known.has_truth else judge.probe(known, judge.sampling(0), means)
    levels = None if probes is None else judge.noise_levels(known, means, probes)
    both = DecodedFrames(inputs, means, squared_errors(known, means, probes, levels))
    frames, origin = both.first(len(validation)), "validation frames"
    error_map = None
    if training is not None:
        error_map = _fitted(judge, both, steps)
        if _explains(error_map, frames):
            frames, origin = both, "validation and training frames, whose errors agree"
        else:
            error_map = None
    if error_map is None:
        error_map = _fitted(judge, frames, steps)
    intensities = local_intensities(frames.means)
    groups = [intensity_groups(intensities, k) for k in range(len(judge.names))]
    error_map = correct_error_map(error_map, frames, groups)
    if validation.has_truth:
        differences = [np.sqrt(e.values) for e in frames.errors]
        tabulate_intervals(
            error_map, frames.inputs, frames.means, differences, groups, scaled=False
        )
    else:
        again = [
            renoised(m, judge.noise_models, judge.superposition, seed=judge.seed, frame=j)
            for j, m in enumerate(frames.means)
        ]
        inputs, means = decoded_means(judge, again, "intervals")
        differences = [np.abs(new - old) for new, old in zip(means, frames.means, strict=True)]
        tabulate_intervals(error_map, inputs, means, differences, groups, scaled=True)
    logger.info("error map: fitted to %s", origin)
    error_map = error_map.to(judge.model.input_mean.device)
    return Fitted(error_map, groups, origin, levels, both.means)


def _fitted(judge: Judge, frames: DecodedFrames, steps: int) -> ErrorMap:
    """Fit an error map."""
    inputs, means, errors = frames.inputs, frames.means, frames.errors
    return fit_error_map(judge.model, inputs, means, errors, seed=judge.seed, steps=steps)


def _explains(error_map: ErrorMap, held_out: DecodedFrames) -> bool:
    """Return whether an error map of mostly training frames explains the held-out frames' errors.

    It does not if they are larger, because the network has learnt its training frames by heart.
    Errors are compared with the map, because they depend on what a frame shows.
    """
    stds = error_stds(error_map, held_out.inputs, held_out.means)
    unexplained = [
        SquaredErrors(e.values - std**2, e.inside)
        for e, std in zip(held_out.errors, stds, strict=True)
    ]
    for k in range(error_map.structures):
        usual, beyond = estimate(held_out.errors, k), estimate(unexplained, k)
        if beyond.value > max(2 * beyond.standard_error, TOLERATED * abs(usual.value)):
            return False
    return True
