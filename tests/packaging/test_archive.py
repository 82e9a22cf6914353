"""Archives that are no packages are refused in one line, quickly and in little memory."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from denoisplit_zoo import import_package
from denoisplit_zoo.archive import MOST_BYTES, MOST_FILES, pack, read_package

from denoisplit.errors import InputError

from .conftest import contents

Files = dict[str, bytes]

LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"
ZEROS = bytes(2**26)


def zipped(files: Files, change: Callable[[zipfile.ZipInfo], None] = lambda _: None) -> bytes:
    """An archive like that of a package, each entry of which may be changed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            change(entry)
            archive.writestr(entry, content)
    return stream.getvalue()


def added(name: str, content: bytes = b"", **attributes: int) -> Callable[[Files], bytes]:
    def make(files: Files) -> bytes:
        def change(entry: zipfile.ZipInfo) -> None:
            if entry.filename == name:
                for key, value in attributes.items():
                    setattr(entry, key, value)

        return zipped({**files, name: content}, change)

    return make


def twice(files: Files) -> bytes:
    archive = zipped({**files, "weights.pu": b"another"})
    return archive.replace(b"weights.pu", b"weights.pt")


def patched(archive: bytes, name: bytes, at: dict[bytes, tuple[int, str, int]]) -> bytes:
    """Overwrite a field in the local and in the central header of a file."""
    data = bytearray(archive)
    for signature, (field, form, value) in at.items():
        name_at = 30 if signature == LOCAL else 46
        start = -1
        while data[start + name_at : start + name_at + len(name)] != name or start < 0:
            start = data.index(signature, start + 1)
        struct.pack_into(form, data, start + field, value)
    return bytes(data)


def encrypted(files: Files) -> bytes:
    return patched(zipped(files), b"weights.pt", {LOCAL: (6, "<H", 1), CENTRAL: (8, "<H", 1)})


def larger_than_it_says(files: Files) -> bytes:
    archive = added("zeros.npy", ZEROS, compress_type=zipfile.ZIP_DEFLATED)(files)
    return patched(archive, b"zeros.npy", {LOCAL: (22, "<L", 10), CENTRAL: (24, "<L", 10)})


def bomb(files: Files) -> bytes:
    archive = added("zeros.npy", b"0" * 1000, compress_type=zipfile.ZIP_DEFLATED)(files)
    return patched(archive, b"zeros.npy", {CENTRAL: (24, "<L", MOST_BYTES)})


def overlapping(files: Files) -> bytes:
    """Sixty entries of the directory that stand for one stream."""
    names = [f"file{number:02}.npy" for number in range(60)]
    archive = zipped({**files, **dict.fromkeys(names, b"")})
    stream = added("large.npy", ZEROS[: 2**22], compress_type=zipfile.ZIP_DEFLATED)(files)
    with zipfile.ZipFile(io.BytesIO(stream)) as opened:
        large = opened.getinfo("large.npy")
    for name in names:
        archive = patched(archive, name.encode(), {CENTRAL: (10, "<H", zipfile.ZIP_DEFLATED)})
        for field, value in ((20, large.compress_size), (24, large.file_size)):
            archive = patched(archive, name.encode(), {CENTRAL: (field, "<L", value)})
    return archive


def many(files: Files) -> bytes:
    return zipped({**files, **{f"file{number}.npy": b"" for number in range(MOST_FILES)}})


def many_by_its_own_account(files: Files) -> bytes:
    """A directory that is said to be larger than it is; the last record of the archive says so."""
    archive = bytearray(zipped(files))
    struct.pack_into("<HHL", archive, len(archive) - 14, 0xFFFF, 0xFFFF, 0xFFFFFFF0)
    return bytes(archive)


def many_in_64_bits(files: Files) -> bytes:
    archive = zipped(files)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**40, 2**40, 2**46, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(archive) - 22, 1)
    return archive[:-22] + end + locator + archive[-22:]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bomb, f"bytes, more than {MOST_BYTES}"),
        (larger_than_it_says, "not an intact zip archive"),
        (overlapping, "overlaps the file after it"),
        (
            added("a.npy", ZEROS[:1000], compress_type=zipfile.ZIP_LZMA),
            "another method than deflate",
        ),
        (
            added("a.npy", ZEROS[:1000], compress_type=zipfile.ZIP_BZIP2),
            "another method than deflate",
        ),
        (many, "more than 2048 files"),
        (many_by_its_own_account, "more than 2048 files"),
        (many_in_64_bits, "more than 2048 files"),
        (twice, "two of its files have the same name"),
        (added("Weights.PT"), "two of its files have the same name"),
        (encrypted, "'weights.pt' is encrypted"),
        (added("folder/"), "'folder/' is a folder or a link"),
        (added("link", b"/etc/passwd", external_attr=0o120777 << 16), "is a folder or a link"),
        (added("fifo", external_attr=0o010644 << 16), "'fifo' is a folder or a link"),
        (added("../weights.pt"), "a file cannot be named '../weights.pt'"),
        (added("/tmp/weights.pt"), "a file cannot be named '/tmp/weights.pt'"),
        (added("C:\\weights.pt"), "a file cannot be named"),
        (added("folder/weights.pt"), "a file cannot be named"),
        (added("..npy"), "a file cannot be named"),
        (added("a\x1b[2J.npy"), r"a file cannot be named 'a\x1b[2J.npy'"),
        (added("\u202eyp.npy"), r"a file cannot be named '\u202eyp.npy'"),
        (added("a" * 300), "a file cannot be named 'aaaa"),
        (lambda files: zipped(files)[:-1], "it does not end like a zip archive"),
        (lambda files: zipped(files) + b"PK", "it does not end like a zip archive"),
        (lambda files: zipped(files)[100:], "its directory is damaged"),
        (lambda files: b"#!/bin/sh\n" + zipped(files), "its directory is damaged"),
        (lambda _: b"", "it does not end like a zip archive"),
    ],
)
def test_archives_are_read_within_bounds(
    package: Path, tmp_path: Path, make: Callable[[Files], bytes], words: str
) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(make(contents(package)))
    tracemalloc.start()
    try:
        for read in (read_package, lambda path: import_package(path, tmp_path / "run")):
            with pytest.raises(InputError) as caught:
                read(bad)
            text = str(caught.value)
            assert text.startswith(str(bad)) and words in text
            assert text.isprintable() and len(text) < 400
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**25
    assert [path.name for path in tmp_path.iterdir()] == ["bad.zip"]


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(InputError, match="this is not a file"):
            read_package(path)


def test_packages_of_other_zip_programs_are_read(package: Path, tmp_path: Path) -> None:
    """Compressed, and with the attributes of another system."""

    def compressed(entry: zipfile.ZipInfo) -> None:
        entry.compress_type, entry.create_system, entry.external_attr = (
            zipfile.ZIP_DEFLATED,
            0,
            0x20,
        )

    (tmp_path / "again.zip").write_bytes(zipped(contents(package), compressed))
    again = read_package(tmp_path / "again.zip")
    assert again.files == read_package(package).files == contents(package)
    assert pack(again.files) == package.read_bytes()
