"""Prepare the places of results before work begins."""

from __future__ import annotations

from pathlib import Path

from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written


def check_new(path: Path, remedy: str = "move it, or choose another output") -> None:
    """Refuse an output that exists; results are never overwritten."""
    if path.exists() or path.is_symlink():
        raise InputError("this output exists already", where=path, remedy=remedy)


def make_parent(path: Path) -> None:
    """Create the folder of an output."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(path, error) from error
