"""Chains of pages in TIFF files, which are followed once before tifffile follows them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MOST_PAGES = 2**20
MOST_UNEQUAL = 1000  # pages of different sizes: more take tifffile minutes, in quadratic time
SIDES = (256, 257)  # tags of width and height
SUB_PAGES = 330  # tag of the offsets of further chains
OFFSETS = {4: "I", 13: "I", 16: "Q", 18: "Q"}  # types of these offsets


class _Form(NamedTuple):
    """Layout of a page's entries, in classic TIFF or BigTIFF."""

    order: str  # of bytes
    entries: str  # their number
    entry: str  # tag, type, number of values
    offset: str

    def size(self, code: str) -> int:
        return struct.calcsize(self.order + code)

    def unpack(self, code: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + code, data[: self.size(code)])


CLASSIC, BIG = ("H", "HHI", "I"), ("Q", "HHQ", "Q")


def check_pages(path: Path) -> None:
    """Refuse a file whose pages form a loop, or are too many.

    Damage that ends a chain is left to the reader of the pages.

    Raises
    ------
    ValueError
    """
    with path.open("rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 16:
            return
        version = struct.unpack(order + "H", start[2:4])[0]
        form = _Form(order, *(BIG if version == 43 else CLASSIC))
        (first,) = form.unpack(form.offset, start[8:] if version == 43 else start[4:])
        chains, known, sizes = [first], set[int](), set[tuple[bytes, ...]]()
        while chains:
            chain = set[int]()
            for offset, size, more in _pages(file, chains.pop(), form):
                if offset in chain:
                    raise ValueError("its pages form a loop")
                if offset in known:  # a chain that joins another one
                    break
                chain.add(offset)
                sizes.add(size)
                chains += more
                if len(sizes) > 1 and len(chain) > MOST_UNEQUAL:
                    raise ValueError(f"it has more than {MOST_UNEQUAL} pages of different sizes")
                if len(known) + len(chain) + len(chains) > MOST_PAGES:
                    raise ValueError(f"it has more than {MOST_PAGES} pages")
            known |= chain


Page = tuple[int, tuple[bytes, ...], list[int]]


def _pages(file: BinaryIO, offset: int, form: _Form) -> Iterator[Page]:
    """Yield offset and sides of each page in a chain, and the starts of chains that it names."""
    while offset:
        try:
            file.seek(offset)
            (count,) = form.unpack(form.entries, file.read(form.size(form.entries)))
            if count > 2**16:
                return
            width = form.size(form.entry) + form.size(form.offset)
            table = file.read(count * width)
            end = file.read(form.size(form.offset))
            entries = {
                form.unpack("H", table[start:])[0]: table[start : start + width]
                for start in range(0, len(table), width)
            }
            sides = tuple(entries.get(tag, b"") for tag in SIDES)
            yield offset, sides, _sub_pages(file, entries.get(SUB_PAGES), form)
            (offset,) = form.unpack(form.offset, end)
        except (struct.error, OSError, OverflowError):  # of a file that is cut off
            return


def _sub_pages(file: BinaryIO, entry: bytes | None, form: _Form) -> list[int]:
    """Return the offsets in the entry of a page for further chains."""
    _, kind, count = form.unpack(form.entry, entry) if entry else (0, 0, 0)
    if kind not in OFFSETS or not 0 < count <= MOST_PAGES:
        return []
    values = entry[form.size(form.entry) :] if entry else b""
    size = count * form.size(OFFSETS[kind])
    if size > len(values):
        file.seek(form.unpack(form.offset, values)[0])
        values = file.read(size)
    return list(form.unpack(f"{count}{OFFSETS[kind]}", values))
