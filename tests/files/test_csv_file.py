"""Tables of numbers are read in bounded time, and every fault is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoisplit.errors import InputError
from denoisplit.files.bounded import MOST_TEXT
from denoisplit.files.csv_file import read_rows


def test_cells_are_numbers_or_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n1,-2.5e-3\n2,\n3,nan\n")
    rows = read_rows(path, ["step"])
    assert [tuple(row.values()) for row in rows] == [("1", "-2.5e-3"), ("2", ""), ("3", "nan")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not enough values"),
        (b"step,loss\n", "no rows"),
        (b"step,step\n1,2\n", "two columns"),
        (b"step,loss\n1\n", "line 2 has 1 cells"),
        (b"step,loss\n1,2,3\n", "line 2 has 3 cells"),
        (b"step,loss\n1,x\n", "'x', which is no number"),
        (b"step,loss\n1," + b"9" * 5000 + b"\n", "which is no number"),
        (b"step,loss\n1," + b"0" * 200_000 + b"\n", "field larger"),
        (b'step,loss\n1,"2\n', "unexpected end"),
        (b"step,loss\n1.5,2\n", "the column step"),
        (b"step,loss\nnan,2\n", "the column step"),
        (b"loss\n2\n", "the column step"),
        (b"step\n\xff\n", "utf-8"),
        (b" " * (MOST_TEXT + 1), "too many"),
    ],
)
def test_faults_are_one_line(text: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    with pytest.raises(InputError, match=says) as error:
        read_rows(path, ["step"])
    assert len(str(error.value).splitlines()) == 1
