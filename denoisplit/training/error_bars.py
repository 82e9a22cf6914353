"""Fit error map and intervals of a trained network to its validation and training frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.groups import IntensityGroups, intensity_groups, local_intensities
from denoisplit.evaluation.judge import Judge, decoded_frames, decoded_means
from denoisplit.evaluation.noise_level import NoiseLevel
from denoisplit.evaluation.risk import SquaredErrors, estimate
from denoisplit.network.error_map import ErrorMap
from denoisplit.progress import bar, logger
from denoisplit.training.error_map import fit_error_map
from denoisplit.training.intervals import correct_error_map, renoised, tabulate_intervals

TOLERATED = 0.1  # relative difference of the errors of training and validation frames


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
    """

    error_map: ErrorMap
    groups: list[IntensityGroups]
    frames: str


def fit_error_bars(
    judge: Judge,
    training: EvaluationFrames | None,
    validation: EvaluationFrames,
    levels: Sequence[NoiseLevel] | None,
    *,
    steps: int,
) -> Fitted:
    """Fit error map, groups and intervals to the errors of decoded means.

    Training frames are used beside the validation frames where their errors are the same.

    Parameters
    ----------
    training : EvaluationFrames, optional
        None if they cannot be superposed.
    levels : sequence of NoiseLevel, optional
        Noise of recorded images against the noise models.
    steps : int
        Of the training of the error map.
    """
    frames = decoded_frames(judge, validation, levels)
    origin = "validation frames"
    if training is not None:
        more = decoded_frames(judge, training, levels)
        if all(_agree(more.errors, frames.errors, k) for k in range(len(judge.names))):
            frames = frames + more
            origin = "validation and training frames, whose errors agree"
    with bar("error map", 100) as progress:
        error_map = fit_error_map(
            judge.model,
            frames.inputs,
            frames.means,
            frames.errors,
            seed=judge.seed,
            steps=steps,
            on_step=lambda done, total: progress.to(100 * done // total),
        )
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
    return Fitted(error_map.to(judge.model.input_mean.device), groups, origin)


def _agree(training: Sequence[SquaredErrors], held_out: Sequence[SquaredErrors], k: int) -> bool:
    """Return whether errors of training frames are those of frames that training never saw."""
    one, other = estimate(training, k), estimate(held_out, k)
    error = math.hypot(one.standard_error, other.standard_error)
    return abs(one.value - other.value) <= max(2 * error, TOLERATED * abs(other.value))
