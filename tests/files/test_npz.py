"""Arrays are read as data, and never larger than the file that holds them."""

from __future__ import annotations

import io
import zipfile
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisplit.errors import InputError
from denoisplit.files.npz import MOST_ARRAYS, MOST_BYTES, parse_npy, read_arrays

MANY = 10**11


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(descr: str, shape: str, content: bytes = b"", version: int = 1) -> bytes:
    """An .npy file with any header."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + content


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=">u2"),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array("text"),
        np.array(3.5),
        np.zeros((0, 3), np.float32),
        np.array([True]),
    ],
    ids=map(str, count()),
)
def test_arrays(array: Any) -> None:
    read = parse_npy(npy(array))
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)


FAULTS: list[tuple[bytes, str]] = [
    (b"", ""),
    (b"NUMPY", ""),
    (header("'<f4'", f"({MANY},)"), f"its header describes ({MANY},)"),
    (header("'<f4'", f"({MANY}, {MANY}, {MANY})"), "its header describes"),
    (header("'<f4'", "(3,)", bytes(8)), "an array has 8 bytes"),
    (header("'<f4'", "(1,)", bytes(8)), "an array has 8 bytes"),
    (header("'<f4'", "(-1, -2)", bytes(8)), "its header describes"),
    (header("'<U0'", f"({MANY},)"), "not of numbers or text"),
    (header("'V0'", f"({MANY},)"), "not of numbers or text"),
    (header("'<U100000000'", "()"), "its header describes"),
    (header("'|O'", "(1,)", b"N."), "not of numbers or text"),
    (header("[('a', '<f4')]", "(1,)", bytes(4)), "not of numbers or text"),
    (header("'<c8'", "(1,)", bytes(8)), "not of numbers or text"),
    (header("'<f4'", "(" * 5000, b""), ""),
    (header("'<f4'", "9" * 5000, b""), ""),
    (header("'<f4'", "(1,)", bytes(4), version=9), ""),
    (npy(np.array([1.0, np.nan])), "NaN or infinite"),
    (npy(np.array(np.inf)), "NaN or infinite"),
]


@pytest.mark.parametrize(("data", "says"), FAULTS, ids=map(str, count()))
def test_hostile_arrays_are_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        parse_npy(data)
    assert says in str(error.value)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("trained_weight.npy", data)
    with pytest.raises(InputError, match=r"not a readable npz archive .+; do this$") as caught:
        read_arrays(path, ["trained_weight"], "a noise model", "do this")
    assert says in str(caught.value)


def test_an_archive_with_and_without_compression(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", a=np.arange(3), b=np.array("x"))
        read = read_arrays(tmp_path / "a.npz", ["a"], "arrays", "write it again")
        assert read["a"].tolist() == [0, 1, 2]
        assert read["b"].item() == "x"


def refused(path: Path) -> str:
    with pytest.raises(InputError, match=r"a\.npz: .+; write it again$") as error:
        read_arrays(path, ["a"], "a noise model", "write it again")
    return str(error.value)


def test_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header("'<f4'", f"({MOST_BYTES // 4},)", bytes(MOST_BYTES)))
    assert f"more than {MOST_BYTES}" in refused(path)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.npy", npy(np.zeros(100)))
        assert "another method than deflate" in refused(path)
    np.savez(path, **{f"a{n}": np.array(n) for n in range(MOST_ARRAYS + 1)})
    assert f"more than {MOST_ARRAYS} files" in refused(path)
    with path.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    assert "too many for a noise model" in refused(path)


def test_missing_files_and_arrays(tmp_path: Path) -> None:
    assert "no such file, expected a noise model" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", b=np.arange(3))
    assert "missing array a, expected a noise model" in refused(tmp_path / "a.npz")


def test_an_archive_whose_file_is_cut_off_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zipfile raises an error without text where the file ends before its content does."""

    def ends(*_: object) -> None:
        raise EOFError

    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.arange(9))
    monkeypatch.setattr(zipfile.ZipExtFile, "read", ends)
    with pytest.raises(InputError, match=r"a\.npz: .*\(a file in it is cut off\)"):
        read_arrays(path, {"a"}, "an array", "provide another")
