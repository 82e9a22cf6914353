"""Reading of zip archives of others, in bounded time and memory."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import IO

from denoisplit.errors import reason_of

END = struct.Struct("<4s4H2LH")  # the last record of an archive
LOCATOR = struct.Struct("<4sLQL")  # before it, in the 64-bit form of the format
END_64 = struct.Struct("<4sQ2H2L4Q")  # before the locator
LONGEST_RECORD = 1024  # bytes of a file in the directory of the archive
LOCAL_HEADER = 30  # bytes before the name and the content of a file
CHUNK = 2**20  # bytes that are unpacked at a time
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # flag


def read_zip(
    stream: IO[bytes],
    *,
    most_files: int,
    most_bytes: int,
    wanted: Callable[[str], bool] = lambda _: True,
    packed: bool = True,
) -> dict[str, bytes]:
    """Return the content of the wanted files of an archive by name.

    Parameters
    ----------
    stream : binary stream
        A file on disk or in memory.
    most_files, most_bytes : int
        Largest number of files, and of bytes of all files after unpacking.
    wanted : callable
        Whether a file of this name is read.
    packed : bool
        Whether compressed files are allowed.

    Raises
    ------
    ValueError
        With one line, if the archive is damaged or too large, or holds anything but plain files.
    """
    try:
        _check_directory(stream, most_files)
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            _check_entries(entries, archive.start_dir, packed)
            size = sum(entry.file_size for entry in entries)
            if size > most_bytes:
                raise ValueError(f"its files have {size} bytes, more than {most_bytes}")
            return {e.filename: _content(archive, e) for e in entries if wanted(e.filename)}
    except EOFError:
        raise ValueError("a file in it is cut off") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError) as error:
        raise ValueError(reason_of(error)) from None


def _check_directory(stream: IO[bytes], most_files: int) -> None:
    """Refuse an archive with a large directory before it is read."""
    length = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, length - END_64.size - LOCATOR.size - END.size))
    tail = stream.read()
    if len(tail) < END.size or END.unpack(tail[-END.size :])[0] != b"PK\5\6":
        raise ValueError("it does not end like a zip archive")
    _, _, _, _, files, size, start, _ = END.unpack(tail[-END.size :])
    end = length - END.size
    before = tail[: -END.size]
    if before[-LOCATOR.size :].startswith(b"PK\6\7"):
        before = before[: -LOCATOR.size]
        if not before.startswith(b"PK\6\6"):
            raise ValueError("its directory is damaged")
        _, _, _, _, _, _, _, files, size, start = END_64.unpack(before)
        end -= LOCATOR.size + END_64.size
    if files > most_files or size > most_files * LONGEST_RECORD:
        raise ValueError(f"it has more than {most_files} files")
    if start + size != end:
        raise ValueError("its directory is damaged")


def _check_entries(entries: list[zipfile.ZipInfo], end: int, packed: bool) -> None:
    """Refuse anything but plain files of different names, one after another in the archive."""
    if len({entry.filename.casefold() for entry in entries}) < len(entries):
        raise ValueError("two of its files have the same name")  # some programs ignore case
    entries = sorted(entries, key=lambda entry: entry.header_offset)
    for entry, after in zip(entries, [*(e.header_offset for e in entries[1:]), end], strict=True):
        name = ascii(entry.filename)[:100]
        if entry.flag_bits & ENCRYPTED:
            raise ValueError(f"{name} is encrypted")
        if entry.is_dir() or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"{name} is a folder or a link")
        if entry.compress_type not in METHODS:
            raise ValueError(f"{name} is compressed with another method than deflate")
        if entry.filename != entry.orig_filename:
            raise ValueError(f"{name} has two names")
        if entry.compress_type == zipfile.ZIP_STORED:
            if entry.compress_size != entry.file_size:
                raise ValueError(f"{name} has another size than it should")
        elif not packed:
            raise ValueError(f"{name} is compressed")
        least = LOCAL_HEADER + len(entry.filename) + entry.compress_size
        if entry.header_offset + least > after:
            raise ValueError(f"{name} overlaps the file after it")


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack a file little by little: its size in the directory may be wrong."""
    content = bytearray()
    with archive.open(entry) as stream:
        while chunk := stream.read(CHUNK):
            content += chunk
    if len(content) != entry.file_size:
        raise ValueError(f"{ascii(entry.filename)[:100]} has another size than it should")
    return bytes(content)
