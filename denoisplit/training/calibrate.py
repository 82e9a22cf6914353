"""Calibrate a trained network on validation frames, and evaluate it on test frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denoisplit.config.settings import Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.evaluation.error_bars import COVERAGE
from denoisplit.evaluation.groups import IntensityGroups
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.evaluation.judge import Judge, judge_frames, posterior_probes, score_judged
from denoisplit.evaluation.noise_level import NoiseLevel
from denoisplit.evaluation.risk import squared_errors
from denoisplit.evaluation.scoring import fit_calibration
from denoisplit.files.atomic import write_text
from denoisplit.files.json_file import write_json
from denoisplit.network.vse import VSE
from denoisplit.noise_models.storage import FittedNoiseModel
from denoisplit.prediction.frame import ErrorMapping
from denoisplit.prediction.halo import PREDICTION_TOLERANCE, halo_errors, sufficient_halo
from denoisplit.prediction.intervals import interval_number
from denoisplit.prediction.tiles import tile_side
from denoisplit.progress import logger
from denoisplit.report.page import REPORT, report
from denoisplit.run import CALIBRATION, HISTORY, METRICS, load_config, save_error_map
from denoisplit.training.error_bars import fit_error_bars

MOST_PIXELS = 4_000_000  # of training frames that the error map is fitted to


@dataclass(frozen=True)
class Parts:
    """Frames of a run: those to fit to, and those to evaluate on.

    Attributes
    ----------
    training : EvaluationFrames or None
        None if they cannot be superposed.
    validation, test : EvaluationFrames
    """

    training: EvaluationFrames | None
    validation: EvaluationFrames
    test: EvaluationFrames


def parts_of_training(data: TrainingData) -> Parts:
    """Return the frames of a training, with the noise that it adds."""
    training = None
    if data.can_superpose_training:
        training = EvaluationFrames.of_training(data, "training").spread(MOST_PIXELS)
    validation, test = (EvaluationFrames.of_training(data, part) for part in ("validation", "test"))
    return Parts(training, validation, test)


def calibrate_and_evaluate(
    run: Path,
    settings: Settings,
    parts: Parts,
    noise_models: Sequence[FittedNoiseModel],
    model: VSE,
) -> None:
    """Calibrate on validation frames and evaluate on test frames; write the results and the report.

    Parameters
    ----------
    noise_models : sequence of FittedNoiseModel
        One per structure, or none.
    model : VSE
        Ready to predict.
    """
    prediction = settings.prediction
    errors = halo_errors(model, parts.validation.inputs, seed=settings.seed)
    halo = prediction.halo
    if halo is None:
        halo = sufficient_halo(errors, PREDICTION_TOLERANCE)
    judge_ = Judge(
        model,
        settings.names,
        [fitted.model for fitted in noise_models],
        [fitted.quality.correlation if fitted.quality else (0.0, 0.0) for fitted in noise_models],
        parts.validation.superposition,
        settings.seed,
        prediction.antithetic,
        prediction.tile or tile_side(model, halo),
        halo,
    )
    calibration, levels = _calibrated(judge_, settings, parts.validation)
    calibration["halo_errors"] = errors
    mapping, groups = None, []
    if prediction.error_map and judge_.can_judge(parts.validation):
        fitted = fit_error_bars(judge_, parts.training, parts.validation, levels)
        groups = fitted.groups
        mapping = ErrorMapping(fitted.error_map, interval_number(fitted.error_map, COVERAGE))
        save_error_map(fitted.error_map, run)
        calibration["error_map"] = {
            "frames": fitted.frames,
            "groups": dict(zip(settings.names, map(IntensityGroups.as_dict, groups), strict=True)),
        }
    sampling = judge_.sampling(
        prediction.calibration_samples,
        keep=min(3, prediction.calibration_samples),  # the first of two antithetic pairs
    )
    judged = judge_frames(judge_, parts.test, sampling, mapping, groups, levels)
    metrics = score_judged(
        judge_,
        parts.test,
        judged,
        calibration["scalars"],
        sampling,
        cell=prediction.judged_cell,
    )
    metrics["superposition"] = settings.data.superposition
    metrics["reference"] = parts.test.reference
    for judgement in judged.judgements:
        logger.info("%s", judgement.verdict.sentence)
    write_json(run / METRICS, metrics)
    write_json(run / CALIBRATION, calibration)
    page = report(
        load_config(run),
        parts.test,
        judged.predictions,
        calibration,
        metrics,
        noise_models,
        run / HISTORY,
        errors=judged.errors,
    )
    write_text(run / REPORT, page)


def _calibrated(
    judge_: Judge, settings: Settings, validation: EvaluationFrames
) -> tuple[dict[str, Any], list[NoiseLevel] | None]:
    """Fit the calibration scalars; return the start of calibration.json, and the noise levels."""
    prediction = settings.prediction
    predictions = judge_.predict(
        validation, judge_.sampling(prediction.calibration_samples), "calibrating"
    )
    means = [p.mean for p in predictions]
    errors, levels = None, None
    if judge_.can_judge(validation):
        probes = posterior_probes(judge_, validation)
        if probes is not None:
            levels = judge_.noise_levels(validation, means, probes)
        errors = squared_errors(validation, means, probes, levels)
    calibration = fit_calibration(
        validation,
        predictions,
        errors,
        settings.names,
        prediction.calibration_samples,
        prediction.calibration_form,
        antithetic=prediction.antithetic,
    )
    return calibration, levels
