"""Libraries of microscope makers' formats, which are optional, and errors of what they read."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.images.lazy import unreadable

REMEDY = "copy the file again, or save it as OME-TIFF in the software of the microscope"
KNOWN = "TCZYX"
LIBRARIES = ("czifile", "liffile", "nd2")  # and names of their loggers


def library(name: str, kind: str, path: Path) -> Any:
    """Import the library that reads a kind of files.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        problem = f"{kind} files are read by the package {name}, which cannot be imported ({error})"
        remedy = f"pip install 'denoisplit[{kind.lower()}]', or save the image as OME-TIFF"
        raise InputError(problem, where=path, remedy=remedy) from None


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Name a damaged file, of which its library may raise, warn and log anything."""
    with warnings.catch_warnings(), hidden(*LIBRARIES), unreadable(path, f"{kind} file", REMEDY):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def hidden(*names: str) -> Iterator[list[tuple[int, str]]]:
    """Hide what libraries log; level and text of each message of this thread are collected."""
    messages: list[tuple[int, str]] = []
    loggers, thread = [logging.getLogger(name) for name in names], threading.get_ident()

    def hide(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            messages.append((record.levelno, record.getMessage()))
        return False

    for one in loggers:
        one.addFilter(hide)
    try:
        yield messages
    finally:
        for one in loggers:
            one.removeFilter(hide)


def refuse_axes(path: Path, axes: dict[str, int]) -> None:
    """Refuse an image with other axes than time, channel, depth, height and width.

    Parameters
    ----------
    path : Path
    axes : dict
        Name of each axis, a letter if it is known, to its length.

    Raises
    ------
    InputError
    """
    if others := [f"{name} ({n})" for name, n in axes.items() if name not in KNOWN and n > 1]:
        problem = f"this image has the axes {', '.join(others)}, expected none but t, c, z, y and x"
        remedy = "save the part of it to split as OME-TIFF in the software of the microscope"
        raise InputError(problem, where=path, remedy=remedy)


def refuse_lossy(path: Path, name: str) -> None:
    """Refuse an image whose compression has altered its pixels."""
    raise InputError(
        f"this image was compressed with loss ({name}), which alters its noise",
        where=path,
        remedy="use the original recording, saved without compression or with a lossless one",
    )
