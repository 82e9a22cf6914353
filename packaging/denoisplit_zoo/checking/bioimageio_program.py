"""The command-line program of bioimageio.core, as users run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from denoisplit.errors import InputError


def run_bioimageio(folder: Path, *arguments: str, programs: Path | None = None) -> tuple[int, str]:
    """Run ``bioimageio`` in a folder, which also holds its cache.

    Parameters
    ----------
    folder : Path
    *arguments : str
    programs : Path, optional
        Folder of the programs of another environment.

    Returns
    -------
    tuple of int and str
        Exit code, and standard output and error together.

    Raises
    ------
    InputError
        If bioimageio.core is not installed.
    """
    program = shutil.which("bioimageio", path=str(programs or Path(sys.executable).parent))
    if program is None:
        raise InputError(
            "the program bioimageio is not installed beside this Python",
            remedy="install it with `pip install bioimageio.core`",
        )
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env={
            **os.environ,
            "PYTHONIOENCODING": "utf-8",
            "BIOIMAGEIO_CACHE_PATH": str((folder / "cache").resolve()),
        },
    )
    return done.returncode, done.stdout
