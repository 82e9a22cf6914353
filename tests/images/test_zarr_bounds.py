"""Chunks that would become huge are refused before they do, and all codecs read as before."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import BZ2, LZ4, LZMA, Blosc, Delta, GZip, Zlib
from numcodecs import Zstd as Zstd2
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from denoisplit.errors import InputError
from denoisplit.images import read_image

from ..fuzz.mutations import bombs

PIXELS = np.random.default_rng(1).integers(0, 4000, (40, 48)).astype("uint16")
CODECS = (Blosc(), BZ2(), LZ4(), LZMA(), GZip(), Zlib(), Zstd2())
FORMS: dict[str, dict[str, Any]] = {
    **{codec.codec_id: {"compressors": codec} for codec in CODECS},
    "filters": {"filters": [Delta(dtype="uint16"), Zlib()]},
    "blosc 3": {"zarr_format": 3, "compressors": BloscCodec()},
    "gzip 3": {"zarr_format": 3, "compressors": [GzipCodec(), ZstdCodec()]},
    "zstd 3": {"zarr_format": 3, "compressors": ZstdCodec(checksum=True)},
    "zstd shards": {"zarr_format": 3, "shards": (40, 48)},
}


def written(path: Path, form: dict[str, Any]) -> Path:
    form = {"zarr_format": 2} | form
    array = zarr.create_array(str(path), shape=(40, 48), chunks=(20, 24), dtype="uint16", **form)
    array[:] = PIXELS
    return path


@pytest.mark.parametrize("name", FORMS)
def test_all_codecs_are_read(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", FORMS[name])
    np.testing.assert_array_equal(read_image(path).values, PIXELS)


@pytest.mark.parametrize("bomb", bombs())
def test_a_chunk_of_gigabytes_takes_no_memory(bomb: str, tmp_path: Path) -> None:
    codec = bomb.split()[0]
    path = written(tmp_path / "a.zarr", FORMS[codec])
    (path / "0.0").write_bytes(bombs(2**28)[bomb]())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="a chunk has"):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # kB


@pytest.mark.parametrize("length", [0, 8, 15, 16, 100])
def test_a_chunk_of_blosc_that_is_cut_off_or_says_another_length(
    length: int, tmp_path: Path
) -> None:
    """The library would read beyond its end."""
    path = written(tmp_path / "a.zarr", FORMS["blosc"])
    chunk = path / "0.0"
    for content in (chunk.read_bytes()[:length], chunk.read_bytes() + bytes(length + 1)):
        chunk.write_bytes(content)
        with pytest.raises(InputError, match="a chunk is cut off, or damaged"):
            read_image(path)


def test_a_huge_image_of_few_chunks_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.zarr")
    array = zarr.create_array(path, shape=(2**18, 2**18), chunks=(256, 256), dtype="uint8")
    array[:256, :256] = 1
    with pytest.raises(InputError, match="of which only 1 exist"):
        read_image(path)
