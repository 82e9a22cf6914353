"""Files that appear when they are complete, or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from denoisplit.errors import InputError

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
    """Remove the drafts of killed processes, of one file or of all files in a folder."""
    if place.is_dir():
        drafts = place.rglob(f".*.{UNIQUE}.tmp")
    else:
        drafts = place.parent.glob(f".{glob.escape(place.name)}.{UNIQUE}.tmp")
    for draft in drafts:
        draft.unlink(missing_ok=True)


def not_written(path: str | Path, error: OSError, size: int = 0) -> InputError:
    """Return the error for a file that could not be written, of a size in bytes if known."""
    needed = f" of {size / 1e6:.1f} MB" if size else ""
    reason = error.strerror or str(error) or type(error).__name__
    problem = f"cannot write this file{needed} ({reason})"
    return InputError(problem, where=path, remedy="check disk space and permissions")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file."""
    with replacing(path) as stream:
        stream.write(content)


def write_new(contents: Mapping[Path, bytes]) -> None:
    """Write several new files, all or none."""
    try:
        with ExitStack() as stack:
            for path, content in contents.items():
                stream = stack.enter_context(replacing(path))
                stream.write(content)
                stream.flush()  # a full disk raises here, before any file is in its place
    except BaseException:
        for path in contents:
            with suppress(OSError):
                path.unlink()
        raise


def replace_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files, which exist or not: none is replaced before all are complete.

    The first file is replaced last.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            stream = stack.enter_context(replacing(path, size=len(content)))
            stream.write(content)
            stream.flush()


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
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            draft.chmod(0o755)
            yield draft
            draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise not_written(path, error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file."""
    write_bytes(path, text.encode())
