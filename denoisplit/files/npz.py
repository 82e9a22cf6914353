"""Reading of .npz files, which executes nothing."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]

# RuntimeError: encrypted, or of an unusual compression
DAMAGED = (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: str | Path, keys: Sequence[str], what: str, remedy: str) -> Arrays:
    """Read all arrays of an .npz file.

    Parameters
    ----------
    path : path
    keys : sequence of str
        Arrays that are required.
    what, remedy : str
        What the file should be, and what to do if it is not; for error messages.

    Raises
    ------
    InputError
        If the file is missing or unreadable, or a required array is missing.
    """
    expected = f"expected {what} with the arrays {', '.join(keys)}"
    try:
        # from memory, because numpy leaves the file of a damaged archive open
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except FileNotFoundError:
        problem = f"no such file, expected {what}"
        raise InputError(problem, where=path, remedy=remedy) from None
    except DAMAGED:
        problem = f"this is not a readable npz archive, {expected}"
        raise InputError(problem, where=path, remedy=remedy) from None
    missing = [key for key in keys if key not in arrays]
    if missing:
        problem = f"missing array {', '.join(missing)}, {expected}"
        raise InputError(problem, where=path, remedy=remedy)
    return arrays
