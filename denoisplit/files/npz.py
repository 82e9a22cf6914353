"""Reading of .npy and .npz files, which executes nothing, in bounded memory."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError, reason_of
from denoisplit.files.bounded import read_bytes
from denoisplit.files.zip_file import read_zip

Arrays = dict[str, npt.NDArray[Any]]

ENDING = ".npy"
MOST_ARRAYS = 100  # in an archive
MOST_BYTES = 2**26  # of an archive, and of its arrays; the pairs of a noise model need a megabyte
KINDS = "biufU"  # of dtypes: numbers and text


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
        If the file is missing, unreadable or too large, a required array is missing, or numbers
        are not finite.
    """
    data = read_bytes(path, MOST_BYTES, what, remedy)
    try:
        files = read_zip(io.BytesIO(data), most_files=MOST_ARRAYS, most_bytes=MOST_BYTES)
        arrays = {name.removesuffix(ENDING): parse_npy(file) for name, file in files.items()}
    except ValueError as error:
        problem = f"this is not a readable npz archive ({error}), expected {what} with the arrays "
        raise InputError(problem + ", ".join(keys), where=path, remedy=remedy) from None
    missing = [key for key in keys if key not in arrays]
    if missing:
        problem = f"missing array {', '.join(missing)}, expected {what} with the arrays "
        raise InputError(problem + ", ".join(keys), where=path, remedy=remedy)
    return arrays


def parse_npy(data: bytes) -> npt.NDArray[Any]:
    """Return the array of an .npy file: finite numbers, or text.

    Raises
    ------
    ValueError
        With one line, if the header is damaged or describes another amount of data than there is.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        count, rest = math.prod(shape), len(data) - stream.tell()
        if dtype.kind not in KINDS or not dtype.itemsize:
            raise ValueError(f"an array of type {str(dtype)[:40]} is not of numbers or text")
        if min(shape, default=0) < 0 or count * dtype.itemsize != rest:
            raise ValueError(
                f"an array has {rest} bytes, but its header describes {str(shape)[:60]} values "
                f"of {dtype.itemsize}"
            )
        stream.seek(0)
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("an array holds NaN or infinite values")
    except Exception as error:  # headers are read by ast and tokenize, which raise many types
        raise ValueError(reason_of(error)[:120]) from None
    return array
