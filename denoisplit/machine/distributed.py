"""Rank and number of processes in a training that ``torchrun`` or SLURM has started.

The number of processes is read from the environment and is not a setting, so a run may be resumed
with another one. Each process trains on its share of every batch. Rank 0 writes the run folder; the
other ranks read what it has prepared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from denoisplit.errors import InputError

POLL_INTERVAL = 0.5  # s


@dataclass(frozen=True)
class Team:
    """Rank of this process and number of processes; rank 0 writes."""

    rank: int = 0
    size: int = 1
    nodes: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    @property
    def devices(self) -> int:
        """Number of processes on each machine."""
        return self.size // self.nodes

    def share(self, batch: int) -> int:
        """Return this process's share of a batch.

        Raises
        ------
        InputError
            If the batch is not a multiple of the number of processes.
        """
        if batch % self.size:
            problem = f"a batch of {batch} crops cannot be shared by {self.size} processes"
            remedy = f"set a multiple of {self.size}, or start fewer processes"
            raise InputError(problem, where="training.batch", remedy=remedy)
        return batch // self.size


def team() -> Team:
    """Read rank and world size from the environment; without them, this process is alone."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        size = int(env["WORLD_SIZE"])
        return Team(int(env["RANK"]), size, size // int(env["LOCAL_WORLD_SIZE"]))
    if int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # set by srun; a batch script itself has 1
        size, nodes = int(env["SLURM_STEP_NUM_TASKS"]), int(env["SLURM_STEP_NUM_NODES"])
        return Team(int(env["SLURM_PROCID"]), size, nodes)
    return Team()


def wait_for(paths: Sequence[Path]) -> None:
    """Wait for files that rank 0 writes; if it fails, the launcher ends all ranks."""
    while not all(path.exists() for path in paths):
        time.sleep(POLL_INTERVAL)
