"""Train one network in a run folder: noise models, weights, calibration, metrics, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from denoisplit.config.settings import RunConfig, Settings
from denoisplit.config.systems import SYSTEMS
from denoisplit.data.prepare import TrainingData
from denoisplit.errors import InputError
from denoisplit.files.atomic import new_folder
from denoisplit.machine.distributed import Leader
from denoisplit.machine.memory import peak_memory
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.storage import FittedNoiseModel, write_fitted
from denoisplit.progress import logger
from denoisplit.report.page import REPORT
from denoisplit.run import (
    CALIBRATION,
    CHECKPOINTS,
    CONFIG,
    DENOISERS,
    HISTORY,
    METRICS,
    NOISE_MODELS,
    WEIGHTS,
    Run,
    build_network,
    load,
    load_weights,
    noise_model_path,
    prepare_for_prediction,
    save_config,
    save_weights,
)
from denoisplit.training.calibration.calibrate import calibrate_and_evaluate
from denoisplit.training.checkpoints import BEST
from denoisplit.training.fit import TrainingOutcome, fit_weights


def create_run(
    run: Path,
    config: RunConfig,
    noise_models: Mapping[str, FittedNoiseModel],
    *,
    denoisers: Mapping[str, tuple[RunConfig, Mapping[str, FittedNoiseModel]]] | None = None,
) -> None:
    """Create a run folder in one step, with its configuration and the available noise models.

    Parameters
    ----------
    denoisers : mapping of name to (config, noise models), optional
        Runs inside the run.
    """
    with new_folder(run) as draft:
        _fill(draft, config, noise_models)
        for name, contents in (denoisers or {}).items():
            (draft / DENOISERS / name).mkdir(parents=True)
            _fill(draft / DENOISERS / name, *contents)


def _fill(folder: Path, config: RunConfig, noise_models: Mapping[str, FittedNoiseModel]) -> None:
    (folder / NOISE_MODELS).mkdir()
    (folder / CHECKPOINTS).mkdir()
    for name, fitted in noise_models.items():
        write_fitted(folder / NOISE_MODELS, name, fitted)
    save_config(folder, config)


def is_finished(run: Path) -> bool:
    """Return whether the training of a run is complete, evaluation and report included."""
    return all(path.exists() for path in final_files(run))


def final_files(run: Path) -> list[Path]:
    """Return the files that are written when a training is complete."""
    return [run / name for name in (METRICS, CALIBRATION, REPORT)]


def check_can_finish(run: Path) -> None:
    """Refuse to finish a run of which a network has no complete epoch.

    Raises
    ------
    InputError
        That names the network, which may be a denoiser of HDN(+)muSplit.
    """
    folders = [path.parent for path in sorted(run.glob(f"{DENOISERS}/*/{CONFIG}"))]
    for folder in [*folders, run]:
        if not (folder / WEIGHTS).is_file() and not (folder / CHECKPOINTS / BEST).is_file():
            raise InputError(
                "no epoch of this training is complete yet, so it cannot be finished",
                where=folder,
                remedy=f"continue it first with `denoisplit train --resume -o {run}`",
            )


def train_network(
    run: Path,
    settings: Settings,
    data: TrainingData,
    models: list[GaussianMixture],
    *,
    finish: bool = False,
) -> Run:
    """Train, calibrate, evaluate and report one network; finished steps are not repeated."""
    model = fit_or_load_network(run, settings, data, models, finish=finish)
    prepare_for_prediction(model)
    calibrate_and_evaluate(run, settings, data, model)
    if peak := peak_memory():
        logger.info("took at most %.2f GB of memory", peak / 1e9)
    return load(run)


def join_training(run: Path, settings: Settings, data: TrainingData, leader: Leader) -> None:
    """Take part in the training of one network, as a rank other than 0.

    Rank 0 prepares and writes everything; this rank waits for the noise models and computes its
    share of every step.
    """
    names = settings.names if SYSTEMS[settings.system].noise_models else ()
    paths = [noise_model_path(run, name) for name in names]
    leader.wait_for(paths)
    if not (run / WEIGHTS).exists():
        models = [GaussianMixture.load(path) for path in paths]
        _fit_in_run(run, initial_network(settings, data), models, data, settings)


def fit_or_load_network(
    run: Path,
    settings: Settings,
    data: TrainingData,
    models: list[GaussianMixture],
    *,
    finish: bool = False,
) -> VSE:
    """Return the trained network of a run; fit and save its weights if they do not exist yet.

    With ``finish``, they are those of the best epoch so far.
    """
    model = initial_network(settings, data)
    if (run / WEIGHTS).exists():
        load_weights(model, run / WEIGHTS)
    else:
        outcome = _fit_in_run(run, model, models, data, settings, finish=finish)
        if outcome.skipped_steps:
            logger.warning("skipped %d steps without a finite gradient", outcome.skipped_steps)
        logger.info("trained for %d steps; best validation value %.4f", outcome.steps, outcome.best)
        save_weights(model, run / WEIGHTS)
    (run / CHECKPOINTS / BEST).unlink(missing_ok=True)
    return model


def _fit_in_run(
    run: Path,
    model: VSE,
    models: list[GaussianMixture],
    data: TrainingData,
    settings: Settings,
    *,
    finish: bool = False,
) -> TrainingOutcome:
    checkpoints, history = run / CHECKPOINTS, run / HISTORY
    return fit_weights(
        model, models, data, settings, checkpoints=checkpoints, history=history, finish=finish
    )


def initial_network(settings: Settings, data: TrainingData) -> VSE:
    """Return the seeded initial network, with the statistics of the data in its buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = build_network(settings)
    measured = data.statistics
    mean, std = data.superposition.input_statistics(measured.pooled_mean, measured.pooled_std)
    model.input_mean.fill_(mean)
    model.input_std.fill_(std)
    model.target_mean.copy_(torch.tensor(measured.means))
    model.target_std.copy_(torch.tensor(measured.stds))
    return model
