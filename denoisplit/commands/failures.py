"""Failures of the machine in one line: out of memory, a full disk, a file that cannot be used."""

from __future__ import annotations

import re

from denoisplit.config.options import Command
from denoisplit.errors import InputError
from denoisplit.machine.memory import is_out_of_memory

AMOUNT = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]i?B)")
BATCH = "set a smaller `training.batch`, `network.patch` or `prediction.tile` in a file `config`"
TILE = "set a smaller `prediction.tile` in the config.yaml of the run"
# the way out of too little memory, by command
SMALLER = {
    "train": BATCH,
    "compare": f"{BATCH}, or choose fewer `jobs`",
    "reproduce": f"{BATCH}, or choose fewer `jobs`",
    "predict": "choose a smaller `tile`, and another output",
    "export": "choose a smaller `tile`",
    "calibrate": TILE,
    "evaluate": TILE,
    "figure": TILE,
}


def plain_error(error: Exception, command: Command | None = None) -> InputError:
    """Return an error as one line that says what to do; raise it again if it is a fault of ours."""
    memory = is_out_of_memory(error)
    if memory is not None:
        place = " of the GPU" if "CUDA" in str(memory) or "GPU" in str(memory) else ""
        amount = AMOUNT.search(str(memory))
        needed = f" when {_size(*amount.groups())} more were needed" if amount else ""
        remedy = SMALLER.get(command.name if command else "", "use fewer or smaller images")
        return InputError(f"out of memory{place}{needed}", remedy=remedy)
    if isinstance(error, InputError):
        return error
    if isinstance(error, OSError):
        problem = error.strerror or str(error) or type(error).__name__
        remedy = "check the path, disk space and permissions"
        return InputError(problem, where=error.filename or "", remedy=remedy)
    raise error


def _size(amount: str, unit: str) -> str:
    return f"{float(amount) / 2**30:.1f} GiB" if unit == "bytes" else f"{amount} {unit}"
