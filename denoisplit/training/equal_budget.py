"""Equal training budgets: the same steps for every network, with as many pixels in each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.config.groups import DenoiserSettings, NetworkSettings, TrainingSettings
from denoisplit.config.presets import merged
from denoisplit.config.settings import Settings, settings_from
from denoisplit.config.systems import SPLITTING, options_for
from denoisplit.config.training_options import settings_values
from denoisplit.errors import InputError
from denoisplit.images import Files
from denoisplit.report.plots import read_history
from denoisplit.run import DENOISERS, HISTORY, Run

EPOCH = 100  # steps, approximately, if no other length is set


class Budget(NamedTuple):
    """Length of a training that ends after its steps and not before."""

    epochs: int
    steps_per_epoch: int
    batch: int

    @property
    def settings(self) -> dict[str, int]:
        """Settings of the group ``training``."""
        return {
            "batch": self.batch,
            "max_steps": self.epochs * self.steps_per_epoch,
            "steps_per_epoch": self.steps_per_epoch,
            "max_epochs": self.epochs,
            "early_stop_patience": self.epochs,
        }


class SystemBudget(NamedTuple):
    """Budget of a system's network, and of each of its denoisers if it has some."""

    network: Budget
    denoiser: Budget | None = None

    def added_to(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options of `denoisplit.train` with this budget."""
        budget: dict[str, Any] = {"training": self.network.settings}
        if self.denoiser is not None:
            budget["denoiser"] = {"training": self.denoiser.settings}
        options = merged(dict(options), budget)
        options.pop("max_steps", None)  # replaced by that of the group, which is rounded
        return options


class Effort(NamedTuple):
    """Training that a network has had."""

    steps: int
    pixels: int  # of the crops of each step

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.pixels} pixels"


def equal_budgets(
    structures: Mapping[str, Files], systems: Sequence[str], options: Mapping[str, Any]
) -> dict[str, SystemBudget]:
    """Return the budget of each system: the same steps, with patches of as many pixels.

    Steps and pixels are those of all systems that the options suit, whichever are asked for, so
    that one can be compared later with those that were trained before.

    Raises
    ------
    InputError
        For options that do not suit a system, end a training otherwise, or set no number of steps.
    """
    _refuse_other_ends(options)
    settings: dict[str, Settings] = {}
    for name in SPLITTING:
        own = {**options_for(name, options), "system": name}
        try:
            settings[name] = settings_from(settings_values(structures, None, None, None, own))
        except InputError:
            if name in systems:
                raise
    training = next(iter(settings.values())).training
    pixels = min(s.training.batch * s.network.patch**2 for s in settings.values())
    budgets = {}
    for name in systems:
        denoiser = settings[name].denoiser
        budgets[name] = SystemBudget(
            _budget(training, pixels, settings[name].network),
            _budget(training, pixels, denoiser.network) if denoiser else None,
        )
    return budgets


def _budget(training: TrainingSettings, pixels: int, network: NetworkSettings) -> Budget:
    steps = training.max_steps
    if steps is None:
        raise InputError(
            "a comparison needs a number of steps, the same for all systems",
            remedy="set `max_steps`, or `preset` to small",
        )
    length = training.steps_per_epoch or max(EPOCH, training.min_steps_per_epoch)
    epochs = max(1, round(steps / length))
    return Budget(epochs, steps // epochs, max(1, round(pixels / network.patch**2)))


def _refuse_other_ends(options: Mapping[str, Any]) -> None:
    """Refuse settings by which one training could end before the others."""
    ends = {"max_epochs", "early_stop_patience"}
    for group, values, refused in (
        ("training", options.get("training"), ends),
        (
            "denoiser.training",
            (options.get("denoiser") or {}).get("training"),
            ends | {"max_steps", "steps_per_epoch"},
        ),
    ):
        for key in sorted(refused & set(values or {})):
            raise InputError(
                f"{group}.{key} cannot be set: all networks are trained for as many steps",
                remedy="leave it out, and set `max_steps`",
            )


def efforts_of(run: Run) -> list[Effort]:
    """Return the training of a run's network, then of its denoisers."""
    settings = run.config.settings
    efforts = [_effort(run.path, settings)]
    if settings.denoiser:
        folders = sorted(path for path in (run.path / DENOISERS).iterdir() if path.is_dir())
        efforts += [_effort(folder, settings.denoiser) for folder in folders]
    return efforts


def _effort(folder: Path, settings: Settings | DenoiserSettings) -> Effort:
    steps = int(read_history(folder / HISTORY)["step"][-1])
    return Effort(steps, settings.training.batch * settings.network.patch**2)
