"""Several trainings for one result: each a run of its own, one after another or side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.train import train
from denoisplit.images import Files
from denoisplit.reproduction.workers import finished, workers_of


class Training(NamedTuple):
    """What `denoisplit.train` is called with; ``about`` is what is said of it."""

    run: Path
    structures: Mapping[str, Files]
    options: dict[str, Any]
    about: str


def train_each(trainings: Sequence[Training], workers: int | None = None) -> None:
    """Train what is not there yet; an interrupted training goes on.

    Parameters
    ----------
    trainings : sequence of Training
    workers : int, optional
        Trainings at a time, each in a process and, where there are GPUs, on one of its own; by
        default as many as there are GPUs.

    Raises
    ------
    InputError
        For images or settings that do not fit, also to those of the runs that are there.
    """
    names = [f"{training.run}: {training.about}" for training in trainings]
    calls = [(training,) for training in trainings]
    for _ in finished(_train, calls, names, workers_of(workers)):
        pass


def _train(training: Training) -> None:
    run = training.run
    train(training.structures, run, resume=run.exists(), **training.options)
