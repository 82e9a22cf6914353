"""Several trainings for one result: each a run of its own, one after another or side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.train import train
from denoisplit.config.presets import merged
from denoisplit.errors import InputError
from denoisplit.images import Files
from denoisplit.machine.process_pool import finished, workers_of


class Training(NamedTuple):
    """What `denoisplit.train` is called with; ``about`` is what is said of it."""

    run: Path
    structures: Mapping[str, Files]
    options: dict[str, Any]
    about: str


def levels_of(given: Sequence[float], *, above_zero: bool = False) -> list[float]:
    """Levels of Gaussian noise in their order, none twice.

    Raises
    ------
    InputError
        If there is none, or one of no noise where there has to be some.
    """
    levels = sorted({float(level) for level in given})
    if not levels or (above_zero and levels[0] <= 0):
        raise InputError(
            where="--synthetic-gaussian",
            found=f"the levels {levels}",
            expected="one or more above 0" if above_zero else "one or more",
            remedy="give such",
        )
    return levels


def with_level(options: Mapping[str, Any], level: float, sigma: float | None) -> dict[str, Any]:
    """Options of a training with a level of Gaussian noise.

    ``sigma`` is the noise of level 1, raw intensity, where it is not to be that of the images.
    """
    known = {} if sigma is None else {"data": {"gaussian_sigma": level * sigma}}
    return merged({**options, "synthetic_gaussian": level}, known)


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
