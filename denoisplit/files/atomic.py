"""Files that appear when they are complete, or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from denoisplit.errors import InputError

REMEDIES = {
    errno.ENAMETOOLONG: "choose a shorter name; that of its draft is 38 letters longer",
    errno.ENOTDIR: "choose another output; a part of this path is a file",
    errno.EISDIR: "choose another output",
    errno.EROFS: "choose another output",
    errno.ENOSPC: "free disk space, or choose another output",
    errno.EDQUOT: "free disk space, or choose another output",
}
UNIQUE = "[0-9a-f]" * 32  # pattern of the unique part of a draft's name


@contextmanager
def replacing(path: str | Path, *, size: int = 0) -> Iterator[IO[bytes]]:
    """Open a binary stream that becomes ``path`` when the block ends without an error.

    Parameters
    ----------
    path : path
    size : int, optional
        Expected size in bytes, for the error message.

    Raises
    ------
    InputError
        If it cannot be written; the old file, if any, stays.
    """
    path = Path(path)
    temporary = draft_of(path)
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise not_written(path, error, size) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def draft_of(path: Path) -> Path:
    """Return the name of a draft beside ``path``, to be written and moved to its place."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def drop_drafts(place: Path) -> None:
    """Remove the drafts of killed processes: of a file or folder, and of all files in a folder."""
    drafts = [*place.parent.glob(f".{glob.escape(place.name)}.{UNIQUE}.tmp")]
    if place.is_dir():
        drafts += place.rglob(f".*.{UNIQUE}.tmp")
    for draft in drafts:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def not_written(path: str | Path, error: OSError, size: int = 0) -> InputError:
    """Return the error for a file that could not be written, of a size in bytes if known."""
    needed = f" of {size / 1e6:.1f} MB" if size else ""
    reason = error.strerror or str(error) or type(error).__name__
    problem = f"cannot write this file{needed} ({reason})"
    remedy = REMEDIES.get(error.errno or 0, "check disk space and permissions")
    return InputError(problem, where=path, remedy=remedy)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file."""
    with replacing(path) as stream:
        stream.write(content)


def replace_together(
    pending: Path, contents: Mapping[str, bytes], obsolete: Sequence[Path] = ()
) -> None:
    """Write several files, which exist or not: all or none, also if the process is killed.

    All are written to a folder that appears in one step, and then moved to their places. If the
    second part is interrupted, `complete_replacement` does the rest.

    Parameters
    ----------
    pending : Path
        That folder; it lies beside the files, and is removed in the end.
    contents : mapping of name to bytes
    obsolete : sequence of Path
        Files that are no longer needed when all are written.
    """
    complete_replacement(pending)
    for name in contents:
        if pending.with_name(name).is_dir():
            in_the_way = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            raise not_written(pending.with_name(name), in_the_way)
    with new_folder(pending) as draft:
        for name, content in contents.items():
            write_bytes(draft / name, content)
    complete_replacement(pending, obsolete)


def complete_replacement(pending: Path, obsolete: Sequence[Path] = ()) -> None:
    """Move the files that an interrupted `replace_together` has written to their places.

    Several processes may do so at a time.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    if not pending.is_dir():
        return
    try:
        for file in sorted(pending.iterdir()):
            with suppress(FileNotFoundError):  # moved by another process
                os.replace(file, pending.with_name(file.name))
        for file in obsolete:
            file.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            pending.rmdir()
    except OSError as error:
        raise not_written(error.filename2 or error.filename or pending, error) from error


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Create a folder that appears with all its files when the block ends, or not at all.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = draft_of(path)
        draft.mkdir()
        try:
            yield draft
            draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise not_written(path, error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file."""
    write_bytes(path, text.encode())
