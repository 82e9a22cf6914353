"""The command-line program of bioimageio.core, as users run it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from denoisplit.errors import InputError
from denoisplit.machine.memory import memory_at_most

LONGEST = 1800.0  # s; a network of many samples takes minutes
TOO_LONG = 124  # exit code, as that of `timeout`


def run_bioimageio(folder: Path, *arguments: str, programs: Path | None = None) -> tuple[int, str]:
    """Run ``bioimageio`` in a folder, which also holds its cache; return exit code and output.

    ``programs`` is the folder of the programs of another environment, which is used alone.

    Raises
    ------
    InputError
        If bioimageio.core is not installed.
    """
    program = shutil.which("bioimageio", path=str(programs or Path(sys.executable).parent))
    if program is None:
        problem = "the program bioimageio is not installed beside this Python"
        raise InputError(problem, remedy="install it with `pip install bioimageio.core`")
    return run_program(folder, program, *arguments, alone=programs is not None)


def run_program(folder: Path, *command: str, alone: bool = False) -> tuple[int, str]:
    """Run a program in a folder, and return exit code and output.

    It is ended after `LONGEST` seconds, with all processes that it has started. If it is to run
    ``alone``, it sees no modules of this environment.
    """
    hidden = ("PYTHONPATH", "PYTHONHOME") if alone else ()
    environment = {
        **{key: value for key, value in os.environ.items() if key not in hidden},
        "PYTHONIOENCODING": "utf-8",
        "BIOIMAGEIO_CACHE_PATH": str((folder / "cache").resolve()),
        "BIOIMAGEIO_ALLOW_PICKLE": "false",
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    try:
        _limit_memory(process.pid)
        output, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return TOO_LONG, f"it has not ended within {LONGEST:g} s"
    finally:
        _end(process)
    return process.returncode, output


def _limit_memory(pid: int) -> None:
    """Limit the data of a process to the memory of this machine, where the system can."""
    if sys.platform == "linux":
        import resource

        most = memory_at_most()
        with suppress(OSError, ValueError):  # a lower limit is set, or the process has ended
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those that it has started, if it has not ended."""
    if process.poll() is None:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.communicate()
