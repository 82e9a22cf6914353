"""Chains of TIFF pages end, or the file is refused in one line, at once."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.images.files import open_image
from denoisplit.images.formats.tiff import description_of
from denoisplit.images.formats.tiff_pages import MOST_UNEQUAL, check_pages

SHAPES = ((16, 16), (8, 12), (4, 4))


def write(path: Path, *, big: bool = False, order: str = "<", sub: int = 0) -> Path:
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        for number, shape in enumerate(SHAPES):
            pixels = np.full(shape, number, np.uint16)
            file.write(pixels, metadata=None, subifds=sub if number == 0 else 0)
            for _ in range(sub if number == 0 else 0):
                file.write(pixels[::2, ::2], metadata=None, subfiletype=1)
    return path


def chain(data: bytes, offset: int, *, big: bool, order: str) -> list[tuple[int, int]]:
    """Offset of each page from one on, and the place of the link to the next one."""
    entries, width, link = ("Q", 20, "Q") if big else ("H", 12, "I")
    pages = []
    while offset:
        (count,) = struct.unpack_from(order + entries, data, offset)
        place = offset + struct.calcsize(entries) + width * count
        pages.append((offset, place))
        (offset,) = struct.unpack_from(order + link, data, place)
    return pages


def joined(path: Path, of: int, to: int, *, big: bool, order: str) -> None:
    """Let one page be followed by another."""
    data = bytearray(path.read_bytes())
    link = order + ("Q" if big else "I")
    (first,) = struct.unpack_from(link, data, 8 if big else 4)
    pages = chain(data, first, big=big, order=order)
    struct.pack_into(link, data, pages[of][1], pages[to][0])
    path.write_bytes(data)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("of", "to"), [(2, 0), (2, 1), (2, 2), (0, 0)])
def test_loops_are_refused(tmp_path: Path, big: bool, order: str, of: int, to: int) -> None:
    path = write(tmp_path / "a.tif", big=big, order=order)
    check_pages(path)
    joined(path, of, to, big=big, order=order)
    for read in (read_image, open_image):
        with pytest.raises(InputError, match=r"a\.tif: .+its pages form a loop\); copy or save"):
            read(path)
    assert description_of(path) == ""


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("sub", [1, 2])
def test_loops_of_sub_pages_are_refused(tmp_path: Path, big: bool, sub: int) -> None:
    path = write(tmp_path / "a.tif", big=big, sub=sub)
    check_pages(path)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == len(SHAPES)
        offsets = file.pages.first.subifds
    assert len(offsets) == sub
    data = bytearray(path.read_bytes())
    (_, place), *_ = chain(data, offsets[-1], big=big, order="<")
    struct.pack_into("<Q" if big else "<I", data, place, offsets[-1])
    path.write_bytes(data)
    with pytest.raises(ValueError, match="loop"):
        check_pages(path)


def test_many_pages_of_different_sizes_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for number in range(MOST_UNEQUAL + 1):
            file.write(np.zeros((2, 2 + number % 2), np.uint8), metadata=None)
    with pytest.raises(InputError, match=f"more than {MOST_UNEQUAL} pages of different sizes"):
        read_image(path)


def test_a_stack_has_any_number_of_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(8 * (MOST_UNEQUAL + 1), dtype=np.uint16).reshape(-1, 2, 4))
    check_pages(path)
    tifffile.imwrite(path, np.zeros((1, 2, 4), np.uint16), append=True)
    check_pages(path)


@pytest.mark.parametrize("length", [0, 3, 10, 40, 200, 300])
def test_files_that_are_cut_off_are_left_to_the_reader(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.tif")
    path.write_bytes(path.read_bytes()[:length])
    check_pages(path)
    with pytest.raises(InputError, match=r"a\.tif: "):
        read_image(path)


@pytest.mark.parametrize("planes", [1, 3])
def test_a_part_that_is_longer_than_the_file_takes_no_memory(tmp_path: Path, planes: int) -> None:
    path, count = tmp_path / "a.tif", 3_708_522_244_258_351_155
    pixels = np.arange(planes * 64, dtype=np.uint16).reshape(planes, 8, 8)
    tifffile.imwrite(path, pixels, compression="zlib", bigtiff=True, photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as tif:
        tag = tif.pages[-1].tags["StripByteCounts"]
        tag.overwrite([count], dtype="Q")
    with pytest.raises(InputError, match=r"a\.tif: .*longer than the file"):
        read_image(path)
