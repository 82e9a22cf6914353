"""The command-line program of bioimageio.core, as users run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from denoisplit.errors import InputError


def run_bioimageio(folder: Path, *arguments: str, programs: Path | None = None) -> tuple[int, str]:
    """Run ``bioimageio`` in a folder, which also holds its cache; return exit code and output.

    ``programs`` is the folder of the programs of another environment.

    Raises
    ------
    InputError
        If bioimageio.core is not installed.
    """
    program = shutil.which("bioimageio", path=str(programs or Path(sys.executable).parent))
    if program is None:
        problem = "the program bioimageio is not installed beside this Python"
        raise InputError(problem, remedy="install it with `pip install bioimageio.core`")
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "utf-8",
        "BIOIMAGEIO_CACHE_PATH": str((folder / "cache").resolve()),
        "BIOIMAGEIO_ALLOW_PICKLE": "false",
    }
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=environment,
    )
    return done.returncode, done.stdout
