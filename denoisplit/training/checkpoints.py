"""Checkpoints of a training: files that hold data only, in a folder that may be moved."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from denoisplit.files.atomic import write_bytes

LAST, BEST = "last.ckpt", "best.ckpt"
AVERAGING_START = 10  # early on, the mean is about that of the last tenth of the steps


@dataclass(frozen=True)
class CheckpointCallbacks:
    """Callbacks that keep the states of a training.

    Attributes
    ----------
    averaging : list of WeightAveraging
        One, or none.
    best, last : ModelCheckpoint
        State of the best monitored value, and the state to resume from.
    """

    averaging: list[WeightAveraging]
    best: ModelCheckpoint
    last: ModelCheckpoint

    @classmethod
    def in_folder(
        cls, folder: Path, monitor: str, mode: Literal["min", "max"], *, averaging: float
    ) -> CheckpointCallbacks:
        """Create the callbacks that write to ``folder``.

        Parameters
        ----------
        monitor, mode : str
            Name of the monitored value, and whether less or more is better.
        averaging : float
            Decay of the running mean of the weights; 0 for none.
        """
        common: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
        return cls(
            [weight_averaging(averaging)] if averaging else [],
            ModelCheckpoint(
                folder,
                filename=Path(BEST).stem,
                monitor=monitor,
                mode=mode,
                # a file of weights only would hold those of the step, not their mean
                save_weights_only=not averaging,
                **common,
            ),
            ModelCheckpoint(folder, filename=Path(LAST).stem, **common),
        )


def weight_averaging(decay: float) -> WeightAveraging:
    """Create a callback that keeps, validates and saves a running mean of the weights.

    Each step has the weight ``1 - decay``, more at first. Training itself uses the unaveraged
    weights. The moments of BatchNorm are those of its weights, see
    `denoisplit.training.fit.set_moments`.
    """

    def update(mean: Any, weights: Any, count: Tensor | int) -> None:
        weight = max(1 - decay, AVERAGING_START / (AVERAGING_START + float(count)))
        torch._foreach_lerp_(mean, weights, weight)

    # the mean is set up before Lightning moves the network to this device
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return WeightAveraging(device=device, use_buffers=False, multi_avg_fn=update)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writer that replaces a checkpoint in one step, by moving a finished file within its folder.

    Lightning's own writer goes through the system's temporary folder: if that is on another disk,
    the last step is a copy, which a crash can cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Replace the checkpoint at ``path``."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(path, content.getvalue())


def relocate_state(state: dict[str, Any], folder: str) -> None:
    """Point the saved state of a ModelCheckpoint, in place, at the present folder of the run."""
    folder = os.path.realpath(folder)

    def relocated(path: str) -> str:
        return os.path.join(folder, os.path.basename(path)) if path else path

    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = relocated(state[key])
    state["best_k_models"] = {relocated(p): value for p, value in state["best_k_models"].items()}
    state["dirpath"] = folder
