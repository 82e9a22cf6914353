"""Lock on a folder, for one process at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from denoisplit.errors import InputError
from denoisplit.progress import logger

LOCK = "lock"  # file in the folder


@contextmanager
def folder_lock(folder: Path, *, keep: str) -> Iterator[None]:
    """Lock a folder, created if missing, during the block; a process that dies releases it.

    Parameters
    ----------
    folder : Path
    keep : str
        File without which the folder is removed after the block.

    Raises
    ------
    InputError
        If another process has locked it.
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
    """Return the lock, or None if the file system has none."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            problem = "this job is in use by another process"
            remedy = "wait for it, or choose another output"
            raise InputError(problem, where=folder, remedy=remedy) from None
        except NotImplementedError:
            warning = "%s: file locking is unavailable here; run only one process at a time"
            logger.warning(warning, folder)
            return None
        except FileNotFoundError:  # removed by a process that has just finished
            continue
        if (folder / LOCK).exists():
            return lock
        lock.release()
