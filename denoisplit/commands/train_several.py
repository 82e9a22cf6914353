"""Train several runs for one result, one after another or in parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.train import train
from denoisplit.config.presets import merged
from denoisplit.errors import InputError
from denoisplit.images import Files
from denoisplit.machine.process_pool import parallel_jobs, run_calls


class Training(NamedTuple):
    """Arguments of one call of `denoisplit.train`, and a description for progress and errors."""

    run: Path
    structures: Mapping[str, Files]
    options: dict[str, Any]
    about: str


def levels_of(given: Sequence[float], *, above_zero: bool = False) -> list[float]:
    """Return the distinct levels of Gaussian noise in ascending order.

    Raises
    ------
    InputError
        If there is none, or one of 0 that must be above 0.
    """
    levels = sorted({float(level) for level in given})
    if not levels or (above_zero and levels[0] <= 0):
        raise InputError(
            where="synthetic_gaussian",
            found=f"the levels {levels}",
            expected="one or more" + (", all above 0" if above_zero else ""),
            remedy="choose others",
        )
    return levels


def with_level(options: Mapping[str, Any], level: float, sigma: float | None) -> dict[str, Any]:
    """Return options of a training with a level of Gaussian noise.

    ``sigma`` is the standard deviation at level 1, raw intensity; by default that of the images.
    """
    fixed = {} if sigma is None else {"data": {"gaussian_sigma": level * sigma}}
    return merged({**options, "synthetic_gaussian": level}, fixed)


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
