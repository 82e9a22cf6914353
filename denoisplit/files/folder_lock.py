"""Locks on outputs and on folders, so that one process at a time writes there."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written

LOCK, HOLDER = "lock", "holder"  # endings of the lock, and of the file that says who holds it
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP}  # of file systems without locks
HOLDER_PAUSE = 0.3  # s, in which a process that has just locked says who it is


@dataclass(frozen=True)
class Held:
    """A lock that this process holds, and the file that says so to others."""

    holder: Path

    def say(self, line: str) -> None:
        """Add a line to this file, see `said_by_holder`.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        try:
            with self.holder.open("a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")
        except OSError as error:
            raise not_written(self.holder, error) from error


def said_by_holder(output: Path) -> list[str]:
    """Return what the process that holds an output says: who it is, and further lines."""
    try:
        path = _place(output)
        return _holder(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


@contextmanager
def output_lock(output: Path) -> Iterator[Held]:
    """Hold an output during the block: a file or folder, which exists or not.

    The lock lies beside the output, in a folder that is created if missing. A process that dies
    releases it.

    Raises
    ------
    InputError
        If another process holds the output, or nothing can be written there.
    """
    try:
        place = _place(output)
        created = [path for path in place.parents if not path.exists()]
    except OSError as error:
        raise not_written(output, error) from error
    try:
        with _held(place, output, "this output") as held:
            yield held
    finally:
        for path in created:
            with suppress(OSError):  # it holds the output
                path.rmdir()


def _place(output: Path) -> Path:
    """Return the lock of an output."""
    output = Path(os.path.realpath(output))
    folder = output.parent
    if output.is_dir() and not os.access(folder, os.W_OK):  # such as a mounted disk
        folder = output
    return folder / f".{output.name}.{LOCK}"


def _holder(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(LOCK) + HOLDER)


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
def _held(path: Path, where: Path, what: str) -> Iterator[Held]:
    """Hold a lock file, which is removed after the block; an error says who else holds it."""
    holder = _holder(path)
    lock = _acquired(path, holder, where, what)
    try:
        with suppress(OSError):
            holder.unlink(missing_ok=True)  # that of a killed process
        held = Held(holder)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        held.say(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        yield held
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
        # any user may be next; filelock's own change to a marker would not be seen here
        lock = kind(path, blocking=False, mode=0o666, fallback_to_soft=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
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
            if isinstance(error, FileExistsError):
                if not path.parent.exists():
                    continue  # removed while it was created
                error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
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
        who = holder.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        who = "another process"
    remedy = "wait for it, or choose another output"
    if marked:
        remedy += f"; if that process has ended, remove {path}"
    return InputError(f"{what} is in use by {who}", where=where, remedy=remedy)
