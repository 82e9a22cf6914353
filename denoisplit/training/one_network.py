"""One network: trained, calibrated, evaluated and reported, in a run folder that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from denoisplit.config.settings import RunConfig, Settings
from denoisplit.config.systems import SYSTEMS
from denoisplit.data.prepare import TrainingData
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.evaluation.scoring import calibrate_on, judge, split_frames
from denoisplit.files.atomic import new_folder
from denoisplit.files.json_file import write_json
from denoisplit.machine.distributed import wait_for
from denoisplit.network import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.storage import Fitted, fit_kept, keep
from denoisplit.prediction.frame import Sampling
from denoisplit.prediction.halo import SAME, chosen, halo_errors
from denoisplit.prediction.tiles import tile_side
from denoisplit.progress import logger
from denoisplit.report.page import REPORT, write_report
from denoisplit.run import (
    CALIBRATION,
    CHECKPOINTS,
    HISTORY,
    METRICS,
    NOISE_MODELS,
    WEIGHTS,
    Run,
    build_network,
    load,
    load_config,
    load_weights,
    noise_model_path,
    ready_to_predict,
    save_config,
    save_weights,
    write_calibration,
)
from denoisplit.training.fit import fit


def is_finished(run: Path) -> bool:
    """Whether there is nothing left to do."""
    return all(path.exists() for path in last_files(run))


def last_files(run: Path) -> list[Path]:
    """What is written when a training is over."""
    return [run / name for name in (METRICS, CALIBRATION, REPORT)]


def start(
    run: Path,
    config: RunConfig,
    fits: Mapping[str, Fitted],
    *,
    inside: Mapping[str, tuple[RunConfig, Mapping[str, Fitted]]] | None = None,
) -> None:
    """Create a run folder in one step, with its configuration and the noise models at hand.

    Parameters
    ----------
    run : Path
    config : RunConfig
    fits : mapping of name to Fitted
    inside : mapping of path to (config, fits), optional
        Runs inside the run.
    """
    with new_folder(run) as draft:
        _fill(draft, config, fits)
        for name, (own, own_fits) in (inside or {}).items():
            (draft / name).mkdir(parents=True)
            _fill(draft / name, own, own_fits)


def _fill(draft: Path, config: RunConfig, fits: Mapping[str, Fitted]) -> None:
    (draft / NOISE_MODELS).mkdir()
    (draft / CHECKPOINTS).mkdir()
    for name, fitted in fits.items():
        keep(draft / NOISE_MODELS, name, fitted)
    save_config(draft, config)


def follow_network(run: Path, settings: Settings, data: TrainingData) -> None:
    """The share of another than the first process, which prepares and writes everything."""
    names = settings.names if SYSTEMS[settings.system].noise_models else ()
    paths = [noise_model_path(run, name) for name in names]
    wait_for(paths)
    if not (run / WEIGHTS).exists():
        fit(
            initial_network(settings, data),
            [GaussianMixture.load(path) for path in paths],
            data,
            settings,
            checkpoints=run / CHECKPOINTS,
            history=run / HISTORY,
            resume=True,
        )


def train_network(
    run: Path,
    settings: Settings,
    data: TrainingData,
    models: list[GaussianMixture],
    *,
    resume: bool,
) -> Run:
    """Train, calibrate and evaluate one network in a run folder; what is there already stays."""
    model = fit_network(run, settings, data, models, resume=resume)
    ready_to_predict(model)
    fits = [fit_kept(run / NOISE_MODELS, name) for name in settings.names] if models else []
    calibrate_and_judge(run, settings, data, fits, model)
    return load(run)


def fit_network(
    run: Path,
    settings: Settings,
    data: TrainingData,
    models: list[GaussianMixture],
    *,
    resume: bool,
) -> VSE:
    """The trained network of a run: read if it is there, else trained and written."""
    model = initial_network(settings, data)
    if (run / WEIGHTS).exists():
        load_weights(model, run / WEIGHTS)
    else:
        fitted = fit(
            model,
            models,
            data,
            settings,
            checkpoints=run / CHECKPOINTS,
            history=run / HISTORY,
            resume=resume,
        )
        if fitted.skipped_steps:
            logger.warning("%d steps without a finite gradient were left out", fitted.skipped_steps)
        logger.info("trained %d steps, best value %.4f", fitted.steps, fitted.best)
        save_weights(model, run / WEIGHTS)
        (run / CHECKPOINTS / "best.ckpt").unlink(missing_ok=True)
    return model


def initial_network(settings: Settings, data: TrainingData) -> VSE:
    """The seeded initial network with the statistics of the data in its buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = build_network(settings)
    found = data.statistics
    mean, std = data.superposition.input_statistics(found.pooled_mean, found.pooled_std)
    model.input_mean.fill_(mean)
    model.input_std.fill_(std)
    model.target_mean.copy_(torch.tensor(found.means))
    model.target_std.copy_(torch.tensor(found.stds))
    return model


def calibrate_and_judge(
    run: Path,
    settings: Settings,
    data: TrainingData,
    fits: Sequence[Fitted],
    model: VSE,
) -> None:
    """Scalars on validation frames, metrics on test frames, the report; written into the run.

    Parameters
    ----------
    run : Path
    settings : Settings
    data : TrainingData
    fits : sequence of Fitted
        Noise models of the structures, or none.
    model : VSE
        Ready to predict.
    """
    prediction = settings.prediction
    sampling = Sampling(
        prediction.calibration_samples,
        settings.seed,
        prediction.antithetic,
        keep=min(3, prediction.calibration_samples),  # the first of two antithetic pairs
    )
    validation, test = (EvaluationFrames.of_training(data, part) for part in ("validation", "test"))
    errors = halo_errors(model, validation.inputs, seed=settings.seed)
    halo = chosen(prediction.halo, errors, SAME)
    tiling = {"tile": prediction.tile or tile_side(model, halo), "halo": halo}
    predicted = split_frames(model, validation, sampling, label="calibrating", **tiling)
    calibration = calibrate_on(
        validation,
        predicted,
        settings.names,
        [fitted.model for fitted in fits],
        sampling.samples,
        prediction.calibration_form,
    )
    calibration["halo_errors"] = errors
    predicted = split_frames(model, test, sampling, label="evaluating", **tiling)
    metrics = judge(
        test,
        predicted,
        settings.names,
        calibration["scalars"],
        sampling,
        cell=prediction.judged_cell,
    )
    metrics["superposition"] = settings.data.superposition
    metrics["reference"] = "noise-free" if test.has_truth else "the recorded, noisy images"
    write_json(run / METRICS, metrics)
    write_calibration(run, calibration)
    write_report(
        run / REPORT,
        load_config(run),
        test,
        predicted,
        calibration,
        metrics,
        fits,
        history=run / HISTORY,
    )
