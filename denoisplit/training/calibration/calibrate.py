"""Calibrate a trained network on validation frames, and evaluate it on test frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from denoisplit.config.settings import Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.errors import InputError
from denoisplit.evaluation.error_bars import COVERAGE
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.groups import IntensityGroups
from denoisplit.evaluation.held_out import Parts, parts_of_training
from denoisplit.evaluation.judge import (
    Judge,
    judge_frames,
    noise_models_to_judge_by,
    posterior_probes,
    score_judged,
)
from denoisplit.evaluation.noise_level import NoiseLevel
from denoisplit.evaluation.risk import PROBE_SAMPLES, squared_errors
from denoisplit.evaluation.scoring import fit_calibration
from denoisplit.files.atomic import replace_together
from denoisplit.files.json_file import json_text
from denoisplit.jobs.alarm import Alarm
from denoisplit.jobs.alarm_file import ALARM
from denoisplit.machine.memory import large_blocks_returned, release_freed_memory
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.noise_models.build import fit_remaining_noise_models, needs_noise_models
from denoisplit.prediction.frame import ErrorMapping
from denoisplit.prediction.halo import PREDICTION_TOLERANCE, halo_errors, sufficient_halo
from denoisplit.prediction.intervals import interval_number
from denoisplit.progress import logger, stages
from denoisplit.report.page import REPORT, report
from denoisplit.run import (
    CALIBRATED,
    CALIBRATION,
    CHECKPOINTS,
    ERROR_MAP,
    HISTORY,
    METRICS,
    NOISE_MODELS,
    correct_means,
    error_map_file,
    error_map_margin,
    load_config,
)
from denoisplit.training.calibration.alarm import fit_alarm
from denoisplit.training.calibration.error_bars import Fitted, fit_error_bars
from denoisplit.training.calibration.mean_correction import fit_mean_correction
from denoisplit.training.calibration.work import (
    BAR,
    calibration_tile,
    calibration_work,
    has_large_frames,
)
from denoisplit.training.loaders import allowed_sums
from denoisplit.version import __version__


def calibrate_and_evaluate(
    run: Path,
    settings: Settings,
    data: TrainingData,
    model: VSE,
    *,
    must_judge: bool = False,
) -> None:
    """Calibrate on validation frames and evaluate on test frames; write the results and the report.

    Results are written together, when all are complete, also if the process is killed.

    Parameters
    ----------
    run : Path
        With the noise models of its training. Others, which only estimate errors, are fitted here.
    settings : Settings
        Of the run; whether an error map is trained may differ.
    data : TrainingData
        Of the run.
    model : VSE
        Ready to predict; it is not changed.
    must_judge : bool
        Refuse a run whose errors can be neither known nor estimated.

    Raises
    ------
    InputError
        If the run is refused, or a stored noise model is damaged.
    """
    # passes over small frames are a quarter faster if the C library keeps their feature maps
    above = 2**20 if has_large_frames(data) else 2**25
    with stages(BAR, plan=calibration_work(model, settings, data)), large_blocks_returned(above):
        contents = _results(run, settings, data, model, must_judge=must_judge)
    replace_together(run / CALIBRATED, contents)


def _results(
    run: Path, settings: Settings, data: TrainingData, model: VSE, *, must_judge: bool
) -> dict[str, bytes]:
    """Return the contents of all files of a calibration, by name."""
    prediction, parts = settings.prediction, parts_of_training(data)
    reason = _fit_judging_noise_models(run, settings, data, must_judge=must_judge)
    noise_models = noise_models_to_judge_by(run, settings)
    model = inference_form(model)  # once for all that is predicted here
    correct_means(model, None)  # by an earlier calibration
    errors = halo_errors(model, parts.validation.inputs, seed=settings.seed)
    halo, margin = prediction.halo, error_map_margin(model) if prediction.error_map else 0
    if halo is None:
        halo = sufficient_halo(errors, PREDICTION_TOLERANCE) + margin
    judge_ = Judge(
        model,
        settings.names,
        [fitted.model for fitted in noise_models],
        [fitted.correlation for fitted in noise_models],
        parts.validation.superposition,
        settings.seed,
        prediction.antithetic,
        calibration_tile(model, settings, data, halo),
        halo,
    )
    fitted = None
    contents: dict[str, bytes] = {}
    if prediction.error_map and judge_.can_judge(parts.validation):
        steps = prediction.error_map_steps
        correct_means(model, fit_mean_correction(judge_, parts, steps=steps))
        release_freed_memory()
        if prediction.halo is None:
            wider = halo - margin + error_map_margin(model)
            judge_ = replace(
                judge_, halo=wider, tile=calibration_tile(model, settings, data, wider)
            )
        fitted = fit_error_bars(judge_, parts.training, parts.validation, steps=steps)
        contents[ERROR_MAP] = error_map_file(fitted.error_map, model.mean_correction)
    release_freed_memory()
    calibration, levels = _calibrated(
        judge_, settings, parts.validation, fitted.levels if fitted else None
    )
    if reason:
        calibration["reference"] = f"none: {reason}"
    calibration["halo_errors"] = errors
    mapping, groups = None, []
    if fitted is not None:
        groups = fitted.groups
        mapping = ErrorMapping(fitted.error_map, interval_number(fitted.error_map, COVERAGE))
        calibration["error_map"] = {
            "frames": fitted.frames,
            "groups": dict(zip(settings.names, map(IntensityGroups.as_dict, groups), strict=True)),
        }
    alarm = _fitted_alarm(judge_, settings, parts, fitted) if prediction.error_map else None
    if alarm is not None:
        contents[ALARM] = json_text(alarm.as_dict()).encode()
    release_freed_memory()
    samples = prediction.calibration_samples
    sampling = judge_.sampling(samples, keep=min(PROBE_SAMPLES, samples))
    judged = judge_frames(judge_, parts.test, sampling, mapping, groups, levels)
    metrics = score_judged(
        judge_,
        parts.test,
        judged,
        calibration["scalars"],
        sampling,
        cell=prediction.judged_cell,
    )
    metrics["denoisplit"] = calibration["denoisplit"] = __version__
    metrics["superposition"] = settings.data.superposition
    metrics["reference"] = parts.test.reference
    tiles = []
    if alarm is not None:
        decoded = [p.bars.decoded for p in judged.predictions if p.bars is not None]
        tiles = [alarm.judge(x, m) for x, m in zip(parts.test.inputs, decoded, strict=False)]
    page = report(
        load_config(run),
        parts.test,
        judged.predictions,
        calibration,
        metrics,
        noise_models,
        run / HISTORY,
        errors=judged.errors,
        tiles=tiles,
    )
    contents[METRICS] = json_text(metrics).encode()
    contents[CALIBRATION] = json_text(calibration).encode()
    contents[REPORT] = page.encode()
    return contents


def _fit_judging_noise_models(
    run: Path, settings: Settings, data: TrainingData, *, must_judge: bool
) -> str:
    """Fit the noise models by which errors are estimated; return why there are none, else empty."""
    if not needs_noise_models(settings, data):
        return ""
    for folder in (NOISE_MODELS, CHECKPOINTS):
        (run / folder).mkdir(exist_ok=True)
    try:
        fit_remaining_noise_models(run / NOISE_MODELS, run / CHECKPOINTS, settings, data)
    except InputError as error:
        if must_judge:
            raise
        logger.warning("errors cannot be estimated without a noise model: %s", error)
        return str(error)
    return ""


def _fitted_alarm(
    judge_: Judge, settings: Settings, parts: Parts, fitted: Fitted | None
) -> Alarm | None:
    """Fit the alarm to validation and training frames."""
    data, frames = settings.data, parts.validation
    if parts.training is not None:
        frames = frames.joined(parts.training)
    models = judge_.noise_models
    sums = allowed_sums(models, binned=data.binned_crops, stacked=data.stacked_crops)
    return fit_alarm(
        judge_.model,
        frames.observed,
        judge_.superposition,
        models,
        tile=judge_.tile,
        halo=judge_.halo,
        seed=judge_.seed,
        sums=sums,
        decoded=None if fitted is None else fitted.decoded,
    )


def _calibrated(
    judge_: Judge,
    settings: Settings,
    validation: EvaluationFrames,
    levels: list[NoiseLevel] | None,
) -> tuple[dict[str, Any], list[NoiseLevel] | None]:
    """Fit the calibration scalars; return the start of calibration.json, and the noise levels."""
    prediction = settings.prediction
    samples = prediction.calibration_samples
    sampling = judge_.sampling(samples, keep=min(PROBE_SAMPLES, samples))
    predictions = judge_.predict(validation, sampling, "calibrating")
    means = [p.mean for p in predictions]
    errors = None
    if judge_.can_judge(validation):
        probes = posterior_probes(judge_, validation, predictions)
        if levels is None and probes is not None:
            levels = judge_.noise_levels(validation, means, probes)
        errors = squared_errors(validation, means, probes, levels)
    calibration = fit_calibration(
        validation,
        predictions,
        errors,
        settings.names,
        samples,
        prediction.calibration_form,
        antithetic=prediction.antithetic,
    )
    return calibration, levels
