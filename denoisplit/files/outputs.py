"""Check the places of results, and prepare them, before work begins."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from denoisplit.errors import InputError
from denoisplit.files.atomic import draft_of, not_written

ATTEMPTS = 50  # while another process checks, and removes, the same folders
INSIDE = 250  # letters, of the longest path within a run or a job, and its draft
GB = 1e9


def check_new(path: Path, remedy: str = "move it, or choose another output") -> None:
    """Refuse an output that exists or cannot be written; results are never overwritten."""
    if _exists(path):
        raise InputError("this output exists already", where=path, remedy=remedy)
    check_file(path)


def check_file(path: Path) -> None:
    """Refuse an output, a file or a new folder, that cannot be written; an old file is kept.

    A draft of it is written, and removed again together with the folders that were missing.
    """
    for attempt in range(ATTEMPTS):
        made: list[Path] = []
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder has this name")
            for folder in reversed(path.parents):
                if not folder.exists():
                    folder.mkdir(exist_ok=True)
                    made.append(folder)
            draft = draft_of(path)
            try:
                draft.write_bytes(b"draft")  # a full disk may have space for an empty file
            finally:
                draft.unlink(missing_ok=True)
            return
        except (FileExistsError, FileNotFoundError) as error:  # removed by another process
            if attempt == ATTEMPTS - 1:
                raise not_written(path, error) from error
        except OSError as error:
            raise not_written(path, error) from error
        except ValueError as error:
            problem = f"this cannot be the name of a file ({error})"
            raise InputError(problem, where=path, remedy="choose another output") from None
        finally:
            for folder in reversed(made):
                with suppress(OSError):  # another process has written something there
                    folder.rmdir()


def check_folder(path: Path) -> None:
    """Refuse a folder of results, which exists or not, in which nothing can be written."""
    if _exists(path) and not path.is_dir():
        problem = "found a file, expected a folder for the results"
        raise InputError(problem, where=path, remedy="choose another output")
    # a new folder is not made here: it would be seen by another process, and left by a kill
    check_file(path / "results" if os.path.isdir(path) else path)
    inside = os.path.join(os.path.abspath(path), "x" * INSIDE)
    longest = getattr(os, "pathconf", lambda *_: 0)("/", "PC_PATH_MAX")  # Windows has none
    if 0 < longest <= len(os.fsencode(inside)):
        raise not_written(path, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))


def check_space(path: Path, size: int) -> None:
    """Refuse results for which the disk of their place has too little space.

    Parameters
    ----------
    path : Path
        Place of the results, which need not exist.
    size : int
        Bytes that they will take.
    """
    place = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if size > free:
        problem = f"the results need {size / GB:.3g} GB, and the disk has {free / GB:.3g} GB left"
        raise InputError(problem, where=path, remedy="free disk space, or choose another output")


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):  # no file can have this name; it is refused when it is written
        return False


def bytes_of(path: Path) -> int:
    """Return the size of a file, or of all files in a folder; 0 if it does not exist."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        with suppress(OSError):  # removed by another process
            total += file.stat().st_size
    return total


def make_parent(path: Path) -> None:
    """Create the folder of an output."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(path, error) from error
