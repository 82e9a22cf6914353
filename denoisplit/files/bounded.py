"""Limits of what is read from files of others: their length, and the size of their numbers."""

from __future__ import annotations

import math
import os
from pathlib import Path

from denoisplit.errors import InputError

MOST_TEXT = 2**24  # bytes of a YAML or JSON file; the settings of 50 000 images need half of it
MOST_NODES = 10**6  # values in such a file, each use of a YAML alias counted anew
MOST_DEPTH = 64  # nested lists and mappings
LONGEST_NUMBER = 40  # characters
LARGEST = 1e12  # absolute value of a setting
CHUNK = 2**20  # bytes
LARGEST_WHOLE = 2**63  # libraries below hold whole numbers in 64 bits


def read_bytes(path: str | Path, most: int, what: str, remedy: str) -> bytes:
    """Read a file that is not longer than ``most`` bytes.

    Parameters
    ----------
    path : path
    most : int
        Bytes.
    what, remedy : str
        What the file should be, and what to do if it is not; for error messages.

    Raises
    ------
    InputError
        If it is missing, unreadable or longer.
    """
    try:
        with Path(path).open("rb") as stream:
            # a pipe or device has no size, and a read of `most` bytes would allocate them
            parts = [stream.read(min(most, os.fstat(stream.fileno()).st_size) + 1)]
            while (rest := most + 1 - sum(map(len, parts))) > 0 and (
                part := stream.read(min(rest, CHUNK))
            ):
                parts.append(part)
            data = b"".join(parts)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"cannot read this file ({reason}), expected {what}"
        if isinstance(error, FileNotFoundError):
            problem = f"no such file, expected {what}"
        raise InputError(problem, where=path, remedy=remedy) from None
    if len(data) > most:
        problem = f"this file has more than {most} bytes, too many for {what}"
        raise InputError(problem, where=path, remedy=remedy)
    return data


def whole_number(text: str) -> int:
    """Return the whole number that a text spells, in time linear in its length.

    Raises
    ------
    ValueError
        If it does not fit into 64 bits.
    """
    if len(text) > LONGEST_NUMBER or not -LARGEST_WHOLE <= (value := int(text)) < LARGEST_WHOLE:
        raise ValueError(f"the number {_shortened(text)} does not fit into 64 bits")
    return value


def real_number(text: str) -> float:
    """Return the finite number that a text spells.

    Raises
    ------
    ValueError
        If it is not finite, or absurdly long.
    """
    if len(text) > LONGEST_NUMBER or not math.isfinite(value := float(text)):
        raise ValueError(f"the number {_shortened(text)} is too long or not finite")
    return value


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_NUMBER else f"{text[:8]}... of {len(text)} characters"
