"""Locks on outputs and on folders, so that one process at a time writes there."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written

LOCK, HOLDER = "lock", "holder"  # endings of the lock, and of the file that says who holds it
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP}  # of file systems without locks
HOLDER_PAUSE = 0.3  # s, in which a process that has just locked says who it is


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Hold an output during the block: a file or folder, which exists or not.

    The lock lies beside the output, in a folder that is created if missing. A process that dies
    releases it.

    Raises
    ------
    InputError
        If another process holds the output, or nothing can be written there.
    """
    try:
        where, output = output, Path(os.path.realpath(output))
        folder = output.parent
        if output.is_dir() and not os.access(folder, os.W_OK):  # such as a mounted disk
            folder = output
        created = [path for path in (folder, *folder.parents) if not path.exists()]
    except OSError as error:
        raise not_written(where, error) from error
    try:
        with _held(folder / f".{output.name}.{LOCK}", where, "this output"):
            yield
    finally:
        for path in created:
            with suppress(OSError):  # it holds the output
                path.rmdir()


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
    with _held(folder / LOCK, folder, "this job"):
        try:
            yield
        finally:
            if not (folder / keep).exists():
                shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # a network drive keeps the lock, and so the folder, until it is closed
        folder.rmdir()


@contextmanager
def _held(path: Path, where: Path, what: str) -> Iterator[None]:
    """Hold a lock file, which is removed after the block; an error says who else holds it."""
    holder = path.with_name(path.name.removesuffix(LOCK) + HOLDER)
    lock = _acquired(path, holder, where, what)
    try:
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        try:
            holder.unlink(missing_ok=True)  # that of another user cannot be written
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        except OSError as error:
            raise not_written(holder, error) from error
        yield
    finally:
        # removed while it is held: who opened this file meanwhile sees that it is gone
        for file in (holder, Path(lock.lock_file)):
            with suppress(OSError):
                file.unlink()
        with suppress(OSError):
            lock.release()


def _acquired(path: Path, holder: Path, where: Path, what: str) -> BaseFileLock:
    """Return the lock, acquired, by a marker file if the file system has no locks."""
    kind: type[BaseFileLock] = FileLock
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = kind(path, blocking=False, mode=0o666)  # any user may be next
            with warnings.catch_warnings():  # filelock's own, where it changes to a marker
                warnings.simplefilter("ignore")
                lock.acquire()
        except Timeout:
            time.sleep(HOLDER_PAUSE)
            marked = isinstance(lock, SoftFileLock)
            raise _in_use(path, holder, where, what, marked=marked) from None
        except NotImplementedError:
            kind = SoftFileLock
        except FileNotFoundError:  # the folder was removed by a process that has just finished
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS or kind is SoftFileLock:
                raise not_written(path, error) from error
            kind = SoftFileLock
            path.unlink(missing_ok=True)
            path = path.with_name(f"{path.name}ed")  # empty files of that name are no markers
        else:
            if path.exists():
                return lock
            lock.release()


def _in_use(path: Path, holder: Path, where: Path, what: str, *, marked: bool) -> InputError:
    try:
        who = holder.read_text(encoding="utf-8", errors="replace") or "another process"
    except OSError:
        who = "another process"
    remedy = "wait for it, or choose another output"
    if marked:
        remedy += f"; if that process has ended, remove {path}"
    return InputError(f"{what} is in use by {who}", where=where, remedy=remedy)
