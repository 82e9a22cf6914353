"""CSV tables of numbers, read in bounded time and memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from denoisplit.errors import InputError, reason_of
from denoisplit.files.bounded import LONGEST_NUMBER, MOST_TEXT, read_bytes


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Read a table of numbers as text, by row and column; a cell may also be empty.

    Parameters
    ----------
    path : Path
    required : sequence of str
        Columns that hold a whole number in every row.

    Raises
    ------
    InputError
        If the file is missing or too long, has no row, or is no such table.
    """
    remedy = "copy the file again"
    data = read_bytes(path, MOST_TEXT, "a table of numbers", remedy)
    try:
        names, *table = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        if not table or len(set(names)) < len(names):
            raise ValueError("it has no rows, or two columns of one name")
        for number, cells in enumerate(table, 2):
            if len(cells) != len(names):
                raise ValueError(f"line {number} has {len(cells)} cells, the first {len(names)}")
            for cell in cells:
                if cell and (len(cell) > LONGEST_NUMBER or not _is_number(cell)):
                    raise ValueError(f"line {number} holds {cell[:40]!r}, which is no number")
        rows = [dict(zip(names, cells, strict=True)) for cells in table]
        for name in required:
            if not all(row.get(name, "").isdecimal() for row in rows):
                raise ValueError(f"the column {name} does not hold whole numbers")
    except (csv.Error, ValueError) as error:  # of decoding, too
        problem = f"this is not a table of numbers ({reason_of(error)})"
        raise InputError(problem, where=path, remedy=remedy) from None
    return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
