"""Training by several processes that ``torchrun`` or SLURM has started: which of them this one is.

Their number is no setting: it is read from what the starter says, so a run may be continued with
another one. Each process has its share of every batch; the first one writes the run folder, and the
others read there what it has prepared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from denoisplit.errors import InputError

PAUSE = 0.5  # s, between two looks at a file


@dataclass(frozen=True)
class Team:
    """Place of this process: 0 is the one that writes."""

    rank: int = 0
    size: int = 1
    nodes: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    @property
    def devices(self) -> int:
        """Processes of one machine."""
        return self.size // self.nodes

    def share(self, batch: int) -> int:
        """Of a batch, this process has so many.

        Raises
        ------
        InputError
            If the batch cannot be shared evenly.
        """
        if batch % self.size:
            raise InputError(
                where="training.batch",
                found=f"{batch} with {self.size} processes",
                expected=f"a multiple of {self.size}",
                remedy="start fewer, or set another batch",
            )
        return batch // self.size


def team() -> Team:
    """What the starter of this process says; one process alone where there is none."""
    said = os.environ
    if "TORCHELASTIC_RUN_ID" in said:
        size = int(said["WORLD_SIZE"])
        return Team(int(said["RANK"]), size, size // int(said["LOCAL_WORLD_SIZE"]))
    if int(said.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # of srun; a batch script itself is alone
        size, nodes = int(said["SLURM_STEP_NUM_TASKS"]), int(said["SLURM_STEP_NUM_NODES"])
        return Team(int(said["SLURM_PROCID"]), size, nodes)
    return Team()


def wait_for(paths: Sequence[Path]) -> None:
    """Wait for what the first process writes; where that fails, the starter ends all of them."""
    while not all(path.exists() for path in paths):
        time.sleep(PAUSE)
