"""The runtime of bioimage.io's own service, in an environment of its own that is made once."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree, which

from denoisplit.errors import InputError
from denoisplit.files.folder_lock import output_lock
from denoisplit.progress import logger
from denoisplit_zoo.checking.bioimageio_program import run_program

# what its service names; pydantic as bioimageio.spec of that time can use it
RUNTIME = ("bioimageio.core==0.10.4", "numpy==1.26.4", "onnxruntime==1.20.1", "pydantic<2.14")
TORCH = "2.5.1"
IMPORTABLE = ("torch", "numpy", "onnxruntime", "bioimageio")  # beside the standard library
WITHOUT_TORCH = ("onnx",)  # weight formats
COMPLETE, NO_TORCH = "complete", "without-torch"  # files that say what has been installed


class UnavailableError(Exception):
    """The environment cannot be made here; the message says why."""


def programs_of_service(environments: Path) -> tuple[Path, bool]:
    """Return the folder of the environment's programs, and whether it has torch.

    Parameters
    ----------
    environments : Path
        Folder in which the environment is, or is made.

    Raises
    ------
    UnavailableError
        If packages cannot be installed, or nothing can be written there.
    """
    version = "{}.{}".format(*sys.version_info)
    place = environments.absolute() / f"bioengine-{RUNTIME[0].partition('==')[2]}-python{version}"
    if not _usable(place):
        try:
            with output_lock(place):
                if not _usable(place):  # another process may have made it
                    _make(place)
        except (InputError, OSError) as error:
            raise UnavailableError(" ".join(str(error).split())) from None
    return _programs(place), not (place / NO_TORCH).exists()


def _programs(place: Path) -> Path:
    return place / ("Scripts" if os.name == "nt" else "bin")


def _usable(place: Path) -> bool:
    """Return whether the environment is complete, and its Python has not been removed."""
    return (place / COMPLETE).exists() and which("python", path=str(_programs(place))) is not None


def _make(place: Path) -> None:
    """Make the environment, without torch where the package index has no build for the CPU."""
    logger.info("making the environment of bioengine in %s, once (600 MB, minutes)", place)
    rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    _run(place, sys.executable, "-m", "venv", str(place))
    _install(place, RUNTIME)
    # for Linux on x86_64, PyPI has the build for GPUs only, of several GB
    gpu_only = sys.platform == "linux" and platform.machine() == "x86_64"
    try:
        _install(place, [f"torch=={TORCH}{'+cpu' * gpu_only}"])
    except UnavailableError as error:
        logger.info("torch %s cannot be installed (%s)", TORCH, error)
        (place / NO_TORCH).touch()
    (place / COMPLETE).touch()


def _install(place: Path, requirements: Sequence[str]) -> None:
    python = _programs(place) / "python"
    options = ("--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--retries=1")
    _run(place, str(python), "-m", "pip", "install", *options, *requirements)


def _run(place: Path, *command: str) -> None:
    code, output = run_program(place, *command, alone=True)
    if code:
        errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
        last = (errors or output.strip().splitlines() or ["no output"])[-1]
        offline = "no connection to the package index: " * ("connection broken" in output)
        raise UnavailableError(offline + last.removeprefix("ERROR: ")[:200])
