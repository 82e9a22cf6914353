"""Seeded mutations of files: of their bytes, and of what their formats are made of.

Some ask for a command that would make a file CANARY.
"""

from __future__ import annotations

import bz2
import copy
import io
import json
import lzma
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

CANARY = "CANARY"
COMMAND = f"touch {CANARY}"
NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 65535, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
WIDE = (2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
EVIL_PICKLE = b"\x80\x02cos\nsystem\nU" + bytes([len(COMMAND)]) + COMMAND.encode() + b"\x85R."
EVIL_SOURCE = f"import os\nos.system({COMMAND!r})\n".encode()
YAML_LINES = (
    f"x: !!python/object/apply:os.system ['{COMMAND}']",
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "deep: " + "[" * 20_000,
    "deep: " + "{a: " * 5000,
    "long: " + "9" * 5000,
    "date: 2001-99-99",
    "a: *missing",
    "a: &a [*a]",
    "---\n---",
    "? [a, b]\n: c",
    "<<: {a: 1}",
    "\ttab: 1",
    "a: !!binary x",
    "a: \x00",
    "k: 'open",
    "\n".join(f"k{n}: 1" for n in range(30_000)),
)
VALUES: tuple[Any, ...] = (
    None, True, False, "", "x", "x" * 100_000, "\ud800", "\x00", "a\nb\x1b[31m", "../../outside",
    CANARY, "C:\\x", "nan", "1e999", "é" * 60, 0, -1, 1, 2**31, 2**53, 2**63, 10**400, 10**30,
    0.0, -0.5, 1e-320, 1e38, 1e39, 1e308, float("nan"), float("inf"), [], {}, [[]], [None],
    [1, "a"],     {"": 0}, {"a": {"b": {}}}, list(range(5000)),
    [[0] * 64] * 64, dict.fromkeys("abc"),
    {"import_from": "os", "callable": "system", "kwargs": {"command": COMMAND}},
    {"source": "architecture.py", "callable": "exec", "kwargs": {"x": COMMAND}},
    {"source": "http://localhost:9/x", "sha256": "0" * 64}, "file:///etc/passwd", "rdf.yaml",
)  # fmt: skip


def mutate(rng: Random, name: str, data: bytes, other: bytes, depth: int = 0) -> bytes:
    """Return a damaged copy of a file; its name chooses the mutations that know its format."""
    structured = [change for ends, change in FORMATS if name.endswith(ends)]
    if depth < 3 and structured and rng.random() < 0.65:
        try:
            return rng.choice(structured)(rng, name, data, other, depth)
        except (ValueError, LookupError, struct.error, zipfile.BadZipFile, yaml.YAMLError):
            pass  # a file that a mutation before this one has damaged
    for _ in range(rng.choice((1, 1, 2, 5))):
        data = rng.choice(RAW)(rng, data, other)
    return data


# ---------------------------------------------------------------- bytes


def _place(rng: Random, data: bytes) -> int:
    """Return a place, most often in what is likely a header or a directory at the end."""
    n = max(1, len(data))
    kind = rng.random()
    if kind < 0.5:
        return rng.randrange(min(n, 512))
    return rng.randrange(max(0, n - 300), n) if kind < 0.7 else rng.randrange(n)


def _flip(rng: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 4, 32))):
        changed[_place(rng, changed)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.choice((0, 1, 8, rng.randrange(len(data) + 1), max(0, len(data) - 1)))]


def _splice(rng: Random, data: bytes, other: bytes) -> bytes:
    start, size = _place(rng, data), rng.choice((4, 64, 1000))
    return data[:start] + other[_place(rng, other) :][:size] + data[start + rng.choice((0, size)) :]


def _delete(rng: Random, data: bytes, other: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + data[start + rng.choice((1, 2, 8, 100, 4096)) :]


def _repeat(rng: Random, data: bytes, other: bytes) -> bytes:
    start, size = _place(rng, data), rng.choice((1, 8, 100, 4096))
    return data[:start] + data[start : start + size] * rng.choice((2, 3, 100)) + data[start:]


def _number(rng: Random, data: bytes, other: bytes) -> bytes:
    code = rng.choice("BHIQfd")
    value: float = rng.choice(NUMBERS + (WIDE if code == "Q" else ()))
    if code in "fd":
        value = rng.choice((0.0, -1.0, 1e-38, 3e38, float("nan"), float("inf"), 1e9))
    else:
        value = int(value) % 256 ** struct.calcsize(code)
    packed, start = struct.pack(rng.choice("<>") + code, value), _place(rng, data)
    start -= rng.choice((0, start % len(packed)))
    return data[:start] + packed + data[start + len(packed) :]


def _blank(rng: Random, data: bytes, other: bytes) -> bytes:
    start, size = _place(rng, data), rng.choice((4, 100, len(data)))
    return data[:start] + bytes([rng.choice((0, 255, 32))]) * size + data[start + size :]


RAW = (_flip, _truncate, _splice, _delete, _repeat, _number, _blank)

# ---------------------------------------------------------------- JSON, YAML, CSV


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values within a value."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:20]) if isinstance(value, list) else items
    return [path] + [inner for key, v in items for inner in _places(v, (*path, key))]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def change_value(rng: Random, value: Any) -> Any:
    """Return plain values of which one was replaced, removed, renamed, moved or nested."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = _places(value)
        if len(places) < 2:
            return rng.choice(VALUES)
        path = rng.choice(places[1:])
        outer, key = _at(value, path[:-1]), path[-1]
        kind = rng.randrange(8)
        if kind < 3:
            outer[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 3:
            del outer[key]
        elif kind == 4 and isinstance(outer, dict):
            outer[rng.choice(("", "x", "__class__", str(key) + "s"))] = outer.pop(key)
        elif kind == 5:
            outer[key] = copy.deepcopy(_at(value, rng.choice(places)))
        elif kind == 6:
            outer[key] = rng.choice(([outer[key]], {"a": outer[key]}, [outer[key]] * 300))
        elif isinstance(outer[key], bool | int | float):
            outer[key] = rng.choice((-1, 0, 1, 2, 1e3, 1e-9, 1e15, -0.5)) * outer[key]
        else:
            outer[key] = str(outer[key])
    return value


def _json(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    if rng.random() < 0.15:
        texts = ("[" * 100_000, '{"a":' * 2000, "NaN", "1" * 5000, '"\\ud800"', "{}", "[]", "null")
        return rng.choice(texts).encode()
    text = json.dumps(change_value(rng, json.loads(data))).encode()
    return text.replace(b"{", b'{"x": 1, "x": 2, ', 1) if rng.random() < 0.05 else text


def _yaml(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    if rng.random() < 0.2:
        lines = data.decode().splitlines()
        where = rng.choice([n for n, line in enumerate(lines) if line[:1].isalpha()] or [0])
        return "\n".join([*lines[:where], rng.choice(YAML_LINES), *lines[where:]]).encode()
    values = change_value(rng, yaml.load(data, Loader=yaml.CSafeLoader))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode(
        errors="surrogatepass"
    )


def _csv(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    rows = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(rng.choice((1, 2))):
        row = rng.choice(rows)
        texts = (
            "",
            "nan",
            "inf",
            "x",
            "-1",
            "1e400",
            '"',
            "9" * 5000,
            "0" * 200_000,
            "\x00",
            "1,2",
        )
        row[rng.randrange(len(row))] = rng.choice(texts)
    rows = rng.choice((rows, rows, rows[1:], rows[:1], rows * 2, rows[:0]))
    return "\n".join(map(",".join, rows)).encode()


# ---------------------------------------------------------------- TIFF


def _tiff(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    """Change an entry of a page, or the link to the next page."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack(order + "H", data[2:4])[0] == 43
    codes, first = (("Q", "HHQQ", "Q"), 8) if big else (("H", "HHII", "I"), 4)
    links, offset = [first], struct.unpack_from(order + codes[2], data, first)[0]
    entries: list[int] = []
    while offset and len(links) < 50:
        (count,) = struct.unpack_from(order + codes[0], data, offset)
        start = offset + struct.calcsize(order + codes[0])
        step = struct.calcsize(order + codes[1])
        entries += range(start, start + count * step, step)
        links.append(start + count * step)
        (offset,) = struct.unpack_from(order + codes[2], data, links[-1])
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.15:
            targets = (
                0,
                8,
                16,
                len(data) - 1,
                *(e - 2 for e in entries[:1]),
                rng.choice(NUMBERS[:-2]),
            )
            struct.pack_into(order + codes[2], changed, rng.choice(links), rng.choice(targets))
            continue
        place = rng.choice(entries)
        entry = list(struct.unpack_from(order + codes[1], changed, place))
        part = rng.choice((0, 1, 2, 3, 3, 3))
        choices = ((256, 257, 258, 259, 262, 273, 277, 279, 284, 317, 322, 330, 339, 347, 65000),
                   range(20), NUMBERS, (*NUMBERS, len(data), entry[3] + 1))[part]  # fmt: skip
        entry[part] = rng.choice(choices)
        struct.pack_into(order + codes[1], changed, place, *entry)
    return bytes(changed)


def _description(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    """Replace words and numbers of OME-XML and of ImageJ's description, in their length."""
    pieces = (b'SizeT="2"', b'SizeC="2"', b"images=2", b"slices=2", b"</OME>", b"<Pixels", b"IFD=",
              b"uint16", b"float", b"spacing=0.5", b"XYZCT", b"PhysicalSizeX", b"Channel",
              b"FirstT", b'"0.1"', b"unit=um", b'"shape"', b"[2, 40, 48]", b"ImageJ=",
              b"DimensionOrder")  # fmt: skip
    present = [piece for piece in pieces if piece in data]
    piece = rng.choice(present)
    new = bytearray(piece)
    new[rng.randrange(len(new))] = rng.choice(b'09-,.<>&"aN\0\xff')
    return data.replace(piece, bytes(new), rng.choice((1, -1)))


# ---------------------------------------------------------------- arrays


def _npy(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    length = struct.unpack("<H", data[8:10])[0]
    header = data[10 : 10 + length].decode("latin-1").rstrip()
    shape = rng.choice(
        ("(100000000000,)", "(-1,)", "()", "(0,)", "(1e9,)", "(2**40,)", "(True,)", "1")
    )
    descr = rng.choice(
        ("'|O'", "'<M8[s]'", "'<c8'", "'|V8'", "'|S0'", "[('a','<f4')]", "'<f2'", "1")
    )
    texts = (
        header.replace("(", "(1000000, ", 1),
        header[: header.index("(")] + shape + "}",
        header.replace(header[header.index(":") + 2 : header.index(",")], descr, 1),
        header.replace("False", rng.choice(("True", "1", "None", "__import__('os')"))),
        "{" * 3000,
        f"__import__('os').system({COMMAND!r})",
        "[" * 60_000,
        header + "#" + "x" * 50_000,
    )
    text = rng.choice(texts).encode()[:65_000] + b"\n"
    return data[:8] + struct.pack("<H", len(text)) + text + data[10 + length :]


def _safetensors(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3:  # a value that is not finite
        return data[:-4] + struct.pack("<f", rng.choice((float("nan"), float("inf"), -1e38, 3e38)))
    text = _json(rng, name, data[8 : 8 + length], other, depth)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _mrc(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 3))):
        word = rng.choice(
            (0, 1, 2, 3, 7, 8, 9, 10, 22, 23, 26, 27, 52, 53)
        )  # sizes, mode, spacegroup
        value = rng.choice((*NUMBERS, 2**31 + 5, 6, 12, 101, 401)) % 2**32
        struct.pack_into("<I", changed, 4 * word, value)
    return bytes(changed)


# ---------------------------------------------------------------- archives


def _zip_members(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    """Change, add, remove, rename, or compress files of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    method, kind, k = zipfile.ZIP_STORED, rng.randrange(12), rng.randrange(len(members))
    inner, content = members[k]
    if kind < 5:
        members[k] = (inner, mutate(rng, inner, content, other, depth + 1))
    elif kind == 5:
        del members[k]
    elif kind == 6:
        names = (
            "../../outside",
            "/tmp/x",
            "a/b",
            inner.upper(),
            inner,
            "x" * 300,
            "\u202e.py",
            "a\\b",
        )
        members.append((rng.choice(names), content))
    elif kind == 7:
        members[k] = (rng.choice(("None", "a.py", inner + "x", "rdf.yaml")), content)
    elif kind == 8:
        members[k] = (inner, rng.choice((EVIL_PICKLE, EVIL_SOURCE, b"", members[0][1])))
    elif kind == 9:
        method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif kind == 10:
        members[k] = (inner, bytes(2**24))
        method = zipfile.ZIP_DEFLATED
    else:
        members += [(f"f{n}", b"") for n in range(3000)]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for inner, content in members:
            with warnings.catch_warnings(action="ignore"):  # of two files of one name
                archive.writestr(zipfile.ZipInfo(inner), content, method)
    return stream.getvalue()


FIELDS = (
    *(
        (code, at)
        for code, places in (("H", (6, 8, 10, 26, 28, 30)), ("I", (12, 16, 18, 20, 22, 24, 42)))
        for at in places
    ),
)


def _zip_directory(rng: Random, name: str, data: bytes, other: bytes, depth: int) -> bytes:
    """Change fields of local headers, of the directory, or of the record at the end."""
    signature = rng.choice((b"PK\1\2", b"PK\1\2", b"PK\3\4", b"PK\5\6"))
    places = [n for n in range(len(data) - 4) if data[n : n + 4] == signature][:200]
    changed, start = bytearray(data), rng.choice(places)
    for _ in range(rng.choice((1, 2))):
        code, at = rng.choice(FIELDS)
        if start + at + 4 <= len(changed):
            value = rng.choice(NUMBERS) % 256 ** struct.calcsize(code)
            struct.pack_into("<" + code, changed, start + at, value)
    return bytes(changed)


# ---------------------------------------------------------------- chunks of a Zarr

HUGE = 3 * 2**30  # bytes, after decompression


def _deflated(wbits: int, size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    block = bytes(2**20)
    start = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # the same for each block
    return start + again * (size // 2**20)


def bombs(size: int = HUGE) -> dict[str, Callable[[], bytes]]:
    """Return, by codec, what makes a small chunk of a huge size."""
    return {
        "zlib": lambda: _deflated(15, size),
        "gzip": lambda: _deflated(31, size),
        "bz2": lambda: bz2.compress(bytes(2**24)) * (size // 2**24),
        "lzma": lambda: lzma.compress(bytes(2**24)) * (size // 2**24),
        # a frame of unknown size, of blocks that repeat a byte
        "zstd": lambda: (
            b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * (size // 2**17) + b"\1\0\0"
        ),
        "zstd size": lambda: (
            b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + b"\x02\x00\x10\x00" * 99
        ),
        "blosc": lambda: struct.pack("<4B3I", 2, 1, 0x21, 2, 2**31 - 1, 2**31 - 1, 40) + bytes(24),
        "lz4": lambda: struct.pack("<i", 2**31 - 1) + bytes(64),
    }


Change = Callable[[Random, str, bytes, bytes, int], bytes]
FORMATS: tuple[tuple[tuple[str, ...], Change], ...] = (
    ((".json", ".zarray", ".zattrs", ".zgroup"), _json),
    ((".yaml",), _yaml),
    ((".csv",), _csv),
    ((".tif",), _tiff),
    ((".tif",), _description),
    ((".mrc",), _mrc),
    ((".npy",), _npy),
    ((".safetensors",), _safetensors),
    ((".zip", ".npz", ".ckpt", ".pt"), _zip_members),
    ((".zip", ".npz", ".ckpt", ".pt"), _zip_directory),
    ((".pkl",), lambda rng, *_: EVIL_PICKLE),
)
