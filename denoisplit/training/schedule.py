"""Length of a training in epochs and steps, and the random seed of each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from denoisplit.config.settings import Settings
from denoisplit.network.addressed_noise import mix


@dataclass(frozen=True)
class Schedule:
    """Epochs of equally many steps; each epoch ends with validation and a checkpoint."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Number of steps of the whole training."""
        return self.epochs * self.steps_per_epoch


def schedule(settings: Settings, crops_per_epoch: int) -> Schedule:
    """Return the schedule of a training; it never has more than ``max_steps`` steps.

    Unless it is set, an epoch has as many steps as the training frames fill with crops.
    """
    training = settings.training
    per_epoch = training.steps_per_epoch or max(
        -(-crops_per_epoch // training.batch), training.min_steps_per_epoch
    )
    if training.max_steps is None:
        return Schedule(training.max_epochs, per_epoch)
    per_epoch = min(per_epoch, training.max_steps)
    epochs = min(training.max_steps // per_epoch, training.max_epochs)
    if epochs < training.max_epochs:
        per_epoch = training.max_steps // epochs
    return Schedule(epochs, per_epoch)


def step_seed(seed: int, use: int, step: int) -> int:
    """Return the seed of eps and dropout of one step, a function of (seed, use, step) alone."""
    h = torch.zeros(1, dtype=torch.int64)
    for value in (seed, use, step):
        h = mix(h, value)
    return int(h.item())
