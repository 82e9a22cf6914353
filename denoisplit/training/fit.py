"""Fit the weights of one network with Lightning."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from denoisplit.config.settings import Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.files.tensors import read_checkpoint
from denoisplit.machine.device import default_device
from denoisplit.machine.distributed import no_launcher, team
from denoisplit.network.batch_norm import batch_moments
from denoisplit.network.inference import compile_blocks
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.progress import bar, logger
from denoisplit.report.plots import read_history
from denoisplit.training.calibration.work import BAR, calibration_work
from denoisplit.training.checkpoints import BEST, LAST, AtomicCheckpoints, CheckpointCallbacks
from denoisplit.training.history import History, quiet_lightning
from denoisplit.training.loaders import Loaders, loaders
from denoisplit.training.precision import TeamEnvironment, precision, strategy
from denoisplit.training.schedule import step_seed
from denoisplit.training.task import MOMENTS, SplittingTask, divergence


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training ended.

    Attributes
    ----------
    steps : int
    best : float
        Best value of the monitored quantity.
    skipped_steps : int
        Steps whose loss or gradient was not finite.
    """

    steps: int
    best: float
    skipped_steps: int


def fit_weights(
    model: VSE,
    noise_models: Sequence[GaussianMixture],
    data: TrainingData,
    settings: Settings,
    *,
    checkpoints: Path,
    history: Path,
    finish: bool = False,
) -> TrainingOutcome:
    """Train a network in place; it ends with the weights of the best monitored value.

    Training resumes from ``last.ckpt`` if it exists. Crops, eps and dropout depend on seed and step
    only, so the result is that of an uninterrupted training.

    Parameters
    ----------
    model : VSE
        Freshly initialised, with the statistics of the data in its buffers.
    noise_models : sequence of GaussianMixture
        One per structure; empty for the Gaussian data term.
    checkpoints : Path
        Folder of ``last.ckpt``, written after every epoch.
    history : Path
        The CSV file of losses.
    finish : bool
        Train no further: take the best state that an interrupted training has saved.

    Returns
    -------
    TrainingOutcome

    Raises
    ------
    InputError
        If the training diverges, or a checkpoint cannot be read or written.
    """
    ranks = team()
    batches = loaders(data, noise_models, settings, ranks)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster
    if settings.training.compile:
        compile_blocks(model)
    superposition = data.superposition if data.mixed is None else None
    task = SplittingTask(model, noise_models, superposition, settings, batches.schedule, ranks)
    if finish:
        outcome = _outcome_so_far(checkpoints / BEST, history, task.monitor)
    else:
        work = sum(calibration_work(model, settings, data).values())
        after = work / (settings.training.batch * settings.network.patch**2)
        outcome = _fit(task, batches, checkpoints=checkpoints, history=history, after=after)
    if ranks.leads:  # only rank 0 uses the trained network; it also removes this file
        state = read_checkpoint(checkpoints / BEST)["state_dict"]
        prefix = "model."
        model.load_state_dict(
            {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
        )
        set_moments(task, batches)
    model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return outcome


def _outcome_so_far(best: Path, history: Path, monitor: str) -> TrainingOutcome:
    """Return the outcome of an interrupted training from its best state and its history."""
    step = read_checkpoint(best).get("global_step")
    rows = read_history(history, ("step", "skipped_steps")) if history.is_file() else {}
    values = [
        v for s, v in zip(rows.get("step", ()), rows.get(monitor, ()), strict=True) if s == step
    ]
    if not isinstance(step, int) or not values or not math.isfinite(values[-1]):
        raise divergence("no epoch had a finite validation loss")
    return TrainingOutcome(step, float(values[-1]), int(rows["skipped_steps"][-1]))


def _fit(
    task: SplittingTask, batches: Loaders, *, checkpoints: Path, history: Path, after: float
) -> TrainingOutcome:
    """Train to the end, from ``last.ckpt`` if it exists; ``after`` is work to come, in steps."""
    settings, ranks = task.settings, task.ranks
    saved = CheckpointCallbacks.in_folder(
        checkpoints, task.monitor, task.mode, averaging=settings.training.weight_averaging
    )
    early_stopping = EarlyStopping(
        task.monitor,
        mode=task.mode,
        min_delta=1e-6,
        patience=settings.training.early_stop_patience,
        check_finite=False,
        check_on_train_epoch_end=True,
    )
    last = checkpoints / LAST
    if last.exists():
        read_checkpoint(last)  # a damaged file fails here, with a clear message
    steps = batches.schedule.steps
    progress_bar = bar("training", steps, after=(BAR, after))
    with progress_bar as progress, quiet_lightning(), torch.random.fork_rng():
        records = [History(history, progress)] if ranks.leads else []
        with no_launcher():
            trainer = L.Trainer(
                accelerator="gpu" if torch.cuda.is_available() else "cpu",
                devices=ranks.devices,
                num_nodes=ranks.nodes,
                strategy=strategy(task.model, ranks),
                use_distributed_sampler=False,
                precision=precision(settings.training.precision),
                max_epochs=batches.schedule.epochs,
                logger=False,
                callbacks=[*saved.averaging, *records, saved.best, saved.last, early_stopping],
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                default_root_dir=checkpoints,
                plugins=[AtomicCheckpoints(), TeamEnvironment(ranks)],
            )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                task,
                batches.training,
                batches.validation,
                weights_only=True,  # a checkpoint is data, never code
                ckpt_path=last if last.exists() else None,
            )
        except SystemExit:  # Lightning turns Ctrl-C into this
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
    best = saved.best.best_model_score
    if best is None or not torch.isfinite(best):
        raise divergence("no epoch had a finite validation loss")
    return TrainingOutcome(trainer.global_step, best.item(), task.skipped_steps)


def set_moments(task: SplittingTask, batches: Loaders) -> None:
    """Set the running moments of BatchNorm after a training; log how much worse they are, if seen.

    Averaged weights need moments of their own: those of the training belong to its last weights.
    They are measured on crops as in training, whose moments the weights are made for.
    """

    def data_term(crops: Iterable[Tensor]) -> float:
        terms = []
        for number, batch in enumerate(crops):
            torch.manual_seed(step_seed(task.settings.seed, MOMENTS, number))
            terms.append(task.loss(batch.to(task.device)).data.item())
        return sum(terms) / len(terms)

    task.to(default_device()).eval()
    with torch.no_grad(), torch.random.fork_rng():
        if task.settings.training.weight_averaging:
            with batch_moments(task.model, measure=True):
                data_term(batches.further)
        if logger.isEnabledFor(logging.INFO):
            stored = data_term(batches.held_out)
            with batch_moments(task.model, measure=False):
                own = data_term(batches.held_out)
            logger.info(
                "validation crops, nat per pixel: %.4f as in prediction, with the stored moments "
                "of BatchNorm, and %.4f as in training, with those of each batch",
                stored,
                own,
            )
    task.cpu()
