"""Train a network with Lightning."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from denoisplit.config.settings import Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.errors import InputError
from denoisplit.files.tensors import read_checkpoint
from denoisplit.machine.distributed import team
from denoisplit.network import VSE
from denoisplit.network.inference import compile_blocks
from denoisplit.noise_models import GaussianMixture
from denoisplit.progress import bar
from denoisplit.training.checkpoints import BEST, LAST, AtomicCheckpoints, Kept
from denoisplit.training.history import History, quiet
from denoisplit.training.loaders import loaders
from denoisplit.training.precision import precision, strategy
from denoisplit.training.task import SplittingTask


@dataclass(frozen=True)
class Fitted:
    """How a training ended."""

    epochs: int
    steps: int
    best: float  # monitored value
    skipped_steps: int  # with NaN or infinite loss or gradient


def fit(
    model: VSE,
    noise_models: Sequence[GaussianMixture],
    data: TrainingData,
    settings: Settings,
    *,
    checkpoints: Path,
    history: Path,
    resume: bool = False,
) -> Fitted:
    """Train a network in place; it ends with the weights of the best monitored value.

    Parameters
    ----------
    model : VSE
        Freshly initialised, with the statistics of the data in its buffers.
    noise_models : sequence of GaussianMixture
        One per structure; empty for the Gaussian data term.
    data : TrainingData
    settings : Settings
    checkpoints : Path
        Folder of ``last.ckpt``, written after every epoch.
    history : Path
        The CSV file of losses.
    resume : bool
        Continue from ``last.ckpt`` where there is one. Crops, eps and dropout depend on seed and
        step only, so the result is that of the uninterrupted run.

    Raises
    ------
    InputError
        If the training diverges, or a checkpoint cannot be written.
    """
    who = team()
    batches = loaders(data, noise_models, settings, who)
    plan = batches.plan
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster
    if settings.training.compile:
        compile_blocks(model)
    superposition = data.superposition if data.mixed is None else None
    task = SplittingTask(model, noise_models, superposition, settings, plan, who)
    kept = Kept.of(
        checkpoints, task.monitor, task.better, averaging=settings.training.weight_averaging
    )
    stop = EarlyStopping(
        task.monitor,
        mode=task.better,
        min_delta=1e-6,
        patience=settings.training.early_stop_patience,
        check_finite=False,
        check_on_train_epoch_end=True,
    )
    found = checkpoints / LAST if resume and (checkpoints / LAST).exists() else None
    if found:
        read_checkpoint(found)
    with bar("training", plan.steps) as progress, quiet(), torch.random.fork_rng():
        told = [History(history, progress)] if who.leads else []
        trainer = L.Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=who.devices,
            num_nodes=who.nodes,
            strategy=strategy(model, who),
            use_distributed_sampler=False,
            precision=precision(settings.training.precision),
            max_epochs=plan.epochs,
            logger=False,
            callbacks=[*kept.averaging, *told, kept.best, kept.last, stop],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=checkpoints,
            plugins=[AtomicCheckpoints()],
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            # weights_only: a checkpoint is data, never code
            trainer.fit(
                task, batches.training, batches.validation, weights_only=True, ckpt_path=found
            )
        except SystemExit:  # what Lightning makes of Ctrl-C
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
    best = kept.best.best_model_score
    if best is None or not torch.isfinite(best):
        raise InputError(
            where="training",
            found="no epoch with a finite validation loss",
            expected="a loss that can be minimised",
            remedy="check the images for extreme values, or set a lower training.learning_rate",
        )
    if who.leads:  # who goes on with it, and removes it
        state = read_checkpoint(checkpoints / BEST)["state_dict"]
        prefix = "model."
        model.load_state_dict(
            {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
        )
    model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Fitted(trainer.current_epoch, trainer.global_step, best.item(), task.skipped_steps)
