"""Arrays of an .npz file, of which nothing is executed."""

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


def read_arrays(path: str | Path, keys: Sequence[str], what: str, remedy: str) -> Arrays:
    """All arrays of an .npz file.

    Parameters
    ----------
    path : path
    keys : sequence of str
        Arrays that have to be there.
    what, remedy : str
        What the file should be, and what to do if it is not.

    Raises
    ------
    InputError
        If the file is missing, no such archive, or lacks a key.
    """
    expected = f"arrays {', '.join(keys)}"
    try:
        # from memory: of a damaged archive numpy leaves the file open
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except FileNotFoundError:
        raise InputError(where=path, found="no such file", expected=what, remedy=remedy) from None
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,  # encrypted, compressed in an odd way
    ):
        raise InputError(
            where=path, found="no readable npz archive", expected=expected, remedy=remedy
        ) from None
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise InputError(
            where=path, found=f"no array {', '.join(missing)}", expected=expected, remedy=remedy
        )
    return arrays
