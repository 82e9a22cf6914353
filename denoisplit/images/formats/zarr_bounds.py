"""Limits of Zarr arrays: bytes of a chunk after decoding."""

from __future__ import annotations

import asyncio
import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.codecs._v2 import V2Codec
from zarr.core.sync import sync

WIDEST = 8  # bytes of a pixel, also between filters
SLACK = 2**16  # bytes, for checksums
BLOSC_HEADER = 16  # bytes
PENDING = 5  # s, for reads to end after one has failed
ANY_HEADER = 47  # of zlib or gzip
BOUNDED = ("zlib", "gzip", "bz2", "lzma", "blosc", "lz4", "zstd")
LZMA_MEMORY = 2**28  # bytes; the strongest preset needs a quarter


class StoredArray:
    """Pixels of a Zarr array; a read that fails ends with all the reads that belong to it."""

    def __init__(self, array: Any) -> None:
        bound(array)
        self.array = array
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks

    def __getitem__(self, key: Any) -> Any:
        """Read a part."""
        try:
            return self.array[key]
        except Exception:
            # reads of other chunks are still pending, and Python would warn of them at exit
            sync(_finish_reads())
            raise


async def _finish_reads() -> None:
    """Wait for the other tasks of Zarr's event loop, which other threads may use too."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=PENDING)


def bound(array: Any) -> None:
    """Let the codecs of an array that was just opened refuse chunks of too many bytes.

    Those of the libraries allocate what a chunk asks for, which may be gigabytes.
    """
    inner: Any = array.async_array
    metadata, pipeline = inner.metadata, type(inner.codec_pipeline)
    if metadata.zarr_format == 2:
        most = WIDEST * math.prod(array.chunks) + SLACK
        filters: Any = tuple(_Bounded(codec, most) for codec in metadata.filters or ())
        compressor: Any = metadata.compressor and _Bounded(metadata.compressor, most)
        codecs = [V2Codec(filters=filters or None, compressor=compressor)]
    else:
        codecs = _bounded(metadata.codecs, array.shards or array.chunks)
    object.__setattr__(inner, "codec_pipeline", pipeline.from_codecs(codecs))


def _bounded(codecs: Iterable[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return codecs of Zarr 3 for chunks of a shape; shards have such codecs for smaller ones."""
    most = WIDEST * math.prod(shape) + SLACK
    return [
        replace(codec, codecs=tuple(_bounded(codec.codecs, codec.chunk_shape)))
        if isinstance(codec, ShardingCodec)
        else _BoundedBytes(codec, most)
        if isinstance(codec, BytesBytesCodec)
        else codec
        for codec in codecs
    ]


def decoded(name: str, config: Mapping[str, Any], data: bytes, most: int) -> bytes | None:
    """Decode a chunk of at most ``most`` bytes.

    Returns
    -------
    bytes or None
        None for codecs of the libraries that allocate no more than that for this chunk.

    Raises
    ------
    ValueError
        If it has more bytes, or is damaged.
    """
    if name in ("zlib", "gzip"):
        return _decompressed(lambda: zlib.decompressobj(ANY_HEADER), data, most)
    if name == "bz2":
        return _decompressed(bz2.BZ2Decompressor, data, most)
    if name == "lzma":
        form, filters = config.get("format", lzma.FORMAT_XZ), config.get("filters")
        options = {"filters": filters} if form == lzma.FORMAT_RAW else {"memlimit": LZMA_MEMORY}
        return _decompressed(lambda: lzma.LZMADecompressor(form, **options), data, most)
    if name == "blosc":
        # the library trusts this length, and reads beyond the end of a chunk that is cut off
        if len(data) < BLOSC_HEADER or int.from_bytes(data[12:16], "little") != len(data):
            raise ValueError("a chunk is cut off, or damaged")
        _check(int.from_bytes(data[4:8], "little"), most)
    if name == "lz4":
        _check(int.from_bytes(data[:4], "little"), most)
    if name == "zstd":
        import imagecodecs

        try:
            return bytes(imagecodecs.zstd_decode(data, out=most))
        except imagecodecs.ZstdError:
            raise ValueError(f"a chunk has more than {most} bytes, or is damaged") from None
    return None


def _check(size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"a chunk has {size} bytes or more, its pixels need at most {most}")


def _decompressed(make: Callable[[], Any], data: bytes, most: int) -> bytes:
    """Decompress streams that follow each other; what follows and is none is ignored."""
    parts: list[bytes] = []
    size = 0
    while data:
        stream = make()
        try:
            part = stream.decompress(data, most + 1 - size)
        except (zlib.error, lzma.LZMAError, OSError):
            if parts:
                break
            raise
        size += len(part)
        _check(size, most)
        if not stream.eof:
            raise ValueError("a chunk is cut off")
        parts.append(part)
        data = stream.unused_data
    return b"".join(parts)


class _Bounded:
    """Codec of an array of Zarr 2."""

    def __init__(self, codec: Any, most: int) -> None:
        self.codec, self.most = codec, most

    def decode(self, data: Any) -> Any:
        """Decode a chunk."""
        if self.codec.codec_id not in BOUNDED:
            return self.codec.decode(data)
        config, encoded = self.codec.get_config(), np.ascontiguousarray(data).tobytes()
        content = decoded(config["id"], config, encoded, self.most)
        return self.codec.decode(data) if content is None else content


@dataclass(frozen=True, eq=False)
class _BoundedBytes(BytesBytesCodec):
    """Codec of an array of Zarr 3."""

    codec: Any
    most: int
    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        values = self.codec.to_dict()
        name, config = values["name"].removeprefix("numcodecs."), values.get("configuration") or {}
        if name in BOUNDED:
            data = chunk_bytes.to_bytes()
            content = await asyncio.to_thread(decoded, name, config, data, self.most)
            if content is not None:
                return chunk_spec.prototype.buffer.from_bytes(content)
        return await self.codec._decode_single(chunk_bytes, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Return the size of an encoded chunk, bytes."""
        return int(self.codec.compute_encoded_size(input_byte_length, chunk_spec))
