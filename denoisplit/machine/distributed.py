"""Rank and number of processes in a training that ``torchrun`` or SLURM has started.

The number of processes is read from the environment and is not a setting, so a run may be resumed
with another one. Each process trains on its share of every batch. Rank 0 writes the run folder; the
other ranks read what it has prepared.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from denoisplit.errors import InputError
from denoisplit.files.folder_lock import said_by_holder

POLL_INTERVAL = 0.5  # s
START_TIME = 300.0  # s, after which rank 0 has started or failed
READY = "ready"
LOCAL_HOST, FIRST_PORT, PORTS = "127.0.0.1", 15000, 10000
# names of jobs that are a shell, in which a command is one process
INTERACTIVE = ("bash", "interactive")
FIRST_SPECIAL_STEP = 0xFFFFFFF0  # batch scripts and shells have such numbers of steps
# variables that describe a process to torchrun, SLURM and others, and so to Lightning
LAUNCHERS = re.compile(
    "(SLURM|TORCHELASTIC|JSM_NAMESPACE|LSB|PL)_.*|(GROUP_|LOCAL_|NODE_)?RANK|(LOCAL_)?WORLD_SIZE"
)


@dataclass(frozen=True)
class Team:
    """Rank of this process and number of processes; rank 0 writes."""

    rank: int = 0
    size: int = 1
    nodes: int = 1
    local_rank: int = 0  # on its machine
    address: str = LOCAL_HOST  # where the processes meet: rank 0, or torchrun
    port: int = FIRST_PORT

    @property
    def name(self) -> str:
        """Name that its processes have in common, and no others."""
        return f"{self.address}:{self.port}"

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
    """Read rank and world size from the environment; without them, this process is alone.

    It is one of several only if ``torchrun`` or ``srun`` has started it and all their variables
    agree. In a batch script, in an interactive shell, and with stray variables it is alone.

    Raises
    ------
    InputError
        If the machines have different numbers of processes.
    """
    several = _of_torchrun() or _of_srun() or Team()
    if several.size % several.nodes:
        raise InputError(
            f"{several.size} processes on {several.nodes} machines, not the same number on each",
            where="training",
            remedy="start as many on each machine",
        )
    return several


def reason_to_be_alone() -> str:
    """Return why this process is alone although several seem to be wanted; empty if none are."""
    if team().size > 1:
        return ""
    if (_number("WORLD_SIZE") or 1) > 1:
        return "WORLD_SIZE is set, but not all of the variables by which torchrun starts processes"
    if (_number("SLURM_NTASKS") or 1) > 1:
        return f"this job has {_number('SLURM_NTASKS')} tasks, but srun has not started this one"
    return ""


def _of_torchrun() -> Team | None:
    """Return what ``torchrun`` says, if it says all."""
    address = os.environ.get("MASTER_ADDR")
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    numbers = [number for name in names if (number := _number(name)) is not None]
    if "TORCHELASTIC_RUN_ID" not in os.environ or not address or len(numbers) < len(names):
        return None
    rank, size, local_rank, per_node, port = numbers
    if not (rank < size and local_rank < per_node <= size and 0 < port < 1 << 16):
        return None
    return Team(rank, size, -(-size // per_node), local_rank, address, port)


def _of_srun() -> Team | None:
    """Return what ``srun`` says, if it has started this process."""
    step, rank = _number("SLURM_STEP_ID"), _number("SLURM_PROCID")
    size = _number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    nodes = _number("SLURM_STEP_NUM_NODES", "SLURM_NNODES") or 1
    if os.environ.get("SLURM_JOB_NAME") in INTERACTIVE or step is None or rank is None:
        return None
    if size is None or not (step < FIRST_SPECIAL_STEP and rank < size and nodes <= size > 1):
        return None
    local_rank = _number("SLURM_LOCALID")
    if local_rank is None:
        local_rank = rank % max(1, size // nodes)
    hosts = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST") or ""
    first = re.sub(r"\[([^],-]*)[^]]*\]", r"\1", hosts).split(",")[0]  # of n[07-09,12],other
    port = FIRST_PORT + ((_number("SLURM_JOB_ID") or 0) + step) % PORTS
    return Team(rank, size, nodes, local_rank, first if nodes > 1 and first else LOCAL_HOST, port)


def _number(*names: str) -> int | None:
    """Return the first of some variables that is set; None for none, and for no whole number."""
    text = next((os.environ[name] for name in names if name in os.environ), "")
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else None


@contextmanager
def no_launcher() -> Iterator[None]:
    """Hide all variables of launchers in this block: Lightning must not read them by itself.

    It has other rules than `team`, and fails on numbers that are none, also when it is imported.
    """
    hidden = {name: os.environ[name] for name in os.environ if LAUNCHERS.fullmatch(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


@dataclass(frozen=True)
class Leader:
    """Rank 0 of a training, as the other ranks see it: by what it says while it holds the run."""

    run: Path
    name: str  # of the team

    def holds(self) -> bool:
        """Return whether rank 0 holds the run; that of another training does not count."""
        return said_by_holder(self.run)[1:2] == [self.name]

    def wait_until_ready(self) -> None:
        """Wait until rank 0 has checked everything and begins to train.

        Raises
        ------
        InputError
            If it ends before, or does not start.
        """
        start, seen = time.monotonic(), False
        while READY not in said_by_holder(self.run)[2:] or not self.holds():
            seen = seen or self.holds()
            if time.monotonic() - start > START_TIME or (seen and not self.holds()):
                raise self.ended()
            time.sleep(POLL_INTERVAL)

    def wait_for(self, paths: Sequence[Path]) -> None:
        """Wait for files that rank 0 writes.

        Raises
        ------
        InputError
            If it ends without them.
        """
        while not all(path.exists() for path in paths):
            if not self.holds() and not all(path.exists() for path in paths):
                raise self.ended()
            time.sleep(POLL_INTERVAL)

    def ended(self) -> InputError:
        """Return the error of a rank that waits for rank 0 in vain."""
        problem = "the process of rank 0 has ended, or has not started this training"
        return InputError(problem, where=self.run, remedy="see its error message")
