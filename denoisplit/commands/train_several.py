"""Train several runs for one result, one after another or in parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.train import train
from denoisplit.images import Files
from denoisplit.machine.process_pool import parallel_jobs, run_calls


class Training(NamedTuple):
    """Arguments of one call of `denoisplit.train`, and a description for progress and errors."""

    run: Path
    structures: Mapping[str, Files]
    options: dict[str, Any]
    about: str


def train_each(trainings: Sequence[Training], workers: int | None = None) -> None:
    """Train the runs that do not exist yet, and resume those that were interrupted.

    Parameters
    ----------
    trainings : sequence of Training
    workers : int, optional
        Trainings at a time, each in its own process and on its own GPU if there are several; by
        default as many as there are GPUs.

    Raises
    ------
    InputError
        If images or settings cannot be used, or an existing run was trained with others.
    """
    names = [f"{training.run}: {training.about}" for training in trainings]
    calls = [(training,) for training in trainings]
    for _ in run_calls(_train, calls, names, parallel_jobs(workers)):
        pass


def _train(training: Training) -> None:
    run = training.run
    train(training.structures, run, resume=run.exists(), **training.options)
