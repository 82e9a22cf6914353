"""A folder for one process at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from denoisplit.errors import InputError
from denoisplit.progress import logger

LOCK = "lock"  # a file in it


@contextmanager
def held(folder: Path, *, keep: str) -> Iterator[None]:
    """A folder, made where there is none, that no other process holds.

    The hold ends with the process, however that ends.

    Parameters
    ----------
    folder : Path
    keep : str
        A file in it, without which the folder is removed after the block.

    Raises
    ------
    InputError
        If another process holds it.
    """
    lock = _locked(folder)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
        if not (folder / keep).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> BaseFileLock | None:
    """The lock, or None where the file system has none."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                where=folder,
                found="a job that another process is at",
                expected="one that nobody is at",
                remedy="wait for it, or choose another output",
            ) from None
        except NotImplementedError:
            logger.warning("%s: no file locks there: take care that one call is at it", folder)
            return None
        except FileNotFoundError:  # removed by a process that has just finished
            continue
        if (folder / LOCK).exists():
            return lock
        lock.release()
