"""Checkpoints of a training: data that is read without executing anything, in a movable folder."""

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
FIRST = 10  # while there are few, the mean is about that of the last tenth of the steps


class AtomicCheckpoints(TorchCheckpointIO):
    """Written beside their place and moved there.

    Lightning itself goes by way of the system's folder of temporary files: where that is another
    disk, the last step is a copy, which a crash cuts short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Replace the checkpoint at ``path``."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(path, content.getvalue())


def move_state(state: dict[str, Any], folder: str) -> None:
    """Tell a ModelCheckpoint's state where its folder is now: a run may be moved."""
    folder = os.path.realpath(folder)

    def here(path: str) -> str:
        return os.path.join(folder, os.path.basename(path)) if path else path

    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = here(state[key])
    state["best_k_models"] = {here(path): score for path, score in state["best_k_models"].items()}
    state["dirpath"] = folder


@dataclass(frozen=True)
class Kept:
    """What a training keeps of its states."""

    averaging: list[WeightAveraging]  # one, or none
    best: ModelCheckpoint  # of the monitored value
    last: ModelCheckpoint  # to go on with

    @classmethod
    def of(
        cls, folder: Path, monitor: str, mode: Literal["min", "max"], *, averaging: float
    ) -> Kept:
        """Files in ``folder``; ``averaging`` is the decay of the mean of the weights, or 0."""
        each: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
        return cls(
            [weight_averaging(averaging)] if averaging else [],
            ModelCheckpoint(
                folder,
                filename=Path(BEST).stem,
                monitor=monitor,
                mode=mode,
                # a file of weights only has those of the step, not their mean
                save_weights_only=not averaging,
                **each,
            ),
            ModelCheckpoint(folder, filename=Path(LAST).stem, **each),
        )


def weight_averaging(decay: float) -> WeightAveraging:
    """A running mean of the weights, which is validated and kept, while training goes on beside it.

    Each step has the share ``1 - decay``, at first more. The moments of BatchNorm are those of the
    training.
    """

    def towards(mean: Any, weights: Any, count: Tensor | int) -> None:
        share = max(1 - decay, FIRST / (FIRST + float(count)))
        torch._foreach_lerp_(mean, weights, share)

    # where the network will be: it is moved there only after the mean was set up
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return WeightAveraging(device=device, use_buffers=False, multi_avg_fn=towards)
