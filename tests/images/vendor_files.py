"""Small files as microscopes write them, laid out as the libraries that read them expect."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

SECONDS = 2.5  # between frames
UM = {"z": 0.5, "y": 0.25, "x": 0.125}
Pixels = np.ndarray[Any, Any]


def lengths(array: Pixels, dims: str) -> dict[str, int]:
    return dict(zip(dims, array.shape, strict=True))


# ---------------------------------------------------------------- LIF


def lif(
    path: Path, images: Mapping[str, tuple[Pixels, str]], luts: Sequence[str] = ("", "", "")
) -> None:
    """Write named images of dims out of ``t c z y x``; other letters are unknown axes."""
    ids = {"x": 1, "y": 2, "z": 3, "t": 4, "l": 5, "m": 10}
    elements, blocks = "", b""
    for name, (given, dims) in images.items():
        array = np.ascontiguousarray(given)
        steps = dict(zip(dims, array.strides, strict=True))
        kind, bits = int(array.dtype.kind == "f"), 8 * array.itemsize
        channels = "".join(
            f'<ChannelDescription DataType="{kind}" ChannelTag="0" Resolution="{bits}" '
            f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="{luts[c]}" '
            f'IsLUTInverted="0" BytesInc="{c * steps.get("c", 0)}" BitInc="0"/>'
            for c in range(lengths(array, dims).get("c", 1))
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{ids[dim]}" NumberOfElements="{n}" Origin="0" '
            f'Length="{UM.get(dim, SECONDS * 1e6) * 1e-6 * (n - 1)}" '
            f'Unit="{"m" if dim in UM else "s"}" '
            f'BytesInc="{steps[dim]}" BitInc="0"/>'
            for dim, n in lengths(array, dims).items()
            if dim != "c"
        )
        elements += (
            f'<Element Name="{name}"><Data><Image><ImageDescription><Channels>{channels}'
            f"</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{array.nbytes}" MemoryBlockID="{name}"/></Element>'
        )
        label = name.encode("utf-16-le")
        head = (0x70, len(label) + 14, 0x2A, array.nbytes, 0x2A, len(name))
        blocks += struct.pack("<IIBQBI", *head) + label + array.tobytes()
    root = f'<Element Name="f"><Children>{elements}</Children></Element>'
    text = f'<LMSDataContainerHeader Version="2">{root}</LMSDataContainerHeader>'
    xml = text.encode("utf-16-le")
    path.write_bytes(struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(text)) + xml + blocks)


# ---------------------------------------------------------------- ND2


def _lite(items: Mapping[str, Any]) -> bytes:
    """Encode a tree of values."""
    data = b""
    for key, value in items.items():
        name = (key + "\0").encode("utf-16-le")
        kind = {bool: 1, int: 3, float: 6, str: 8, dict: 11}[type(value)]
        data += struct.pack("BB", kind, len(key) + 1) + name
        if isinstance(value, dict):
            inner = _lite(value)
            data += struct.pack("<IQ", len(value), 2 + len(name) + 12 + len(inner)) + inner
            data += bytes(8 * len(value))
        elif isinstance(value, str):
            data += (value + "\0").encode("utf-16-le")
        else:
            data += struct.pack({1: "<B", 3: "<I", 6: "<d"}[kind], value)
    return data


def _loop(dim: str, count: int) -> dict[str, Any]:
    if dim == "t":
        return {
            "eType": 1,
            "uLoopPars": {
                "uiCount": count,
                "dStart": 0.0,
                "dPeriod": SECONDS * 1000,
                "dDuration": 1.0,
            },
        }
    if dim == "z":
        return {"eType": 4, "uLoopPars": {"uiCount": count, "dZStep": UM["z"]}}
    points = {f"i{k:010}": {"dPosX": float(k), "dPosY": 0.0} for k in range(count)}
    return {"eType": 2, "uLoopPars": {"uiCount": count, "Points": points}}


def nd2(
    path: Path,
    array: Pixels,
    dims: str,
    *,
    names: Sequence[str] = ("", "", ""),
    compression: int = 2,  # 0: lossless, 1: lossy, 2: none
    colours: int = 1,
    missing: Sequence[int] = (),
    recorded: int | None = None,
    shown: Sequence[str] = (),
) -> None:
    """Write dims out of ``t p z c y x``, x and y being `UM` of x wide."""
    sizes = lengths(array, dims)
    outer = [dim for dim in dims if dim not in "cyx"]
    pixels = np.moveaxis(array, dims.index("c"), -1) if "c" in dims else array[..., None]
    frames = pixels.reshape(-1, *pixels.shape[-3:])
    count, height, width, channels = frames.shape
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * channels * array.itemsize,
        "uiHeight": height,
        "uiComp": channels,
        "uiBpcInMemory": 8 * array.itemsize,
        "uiBpcSignificant": 8 * array.itemsize,
        "uiSequenceCount": count if recorded is None else recorded,
        "eCompression": compression,
    }
    planes = {
        f"a{k}": {
            "uiCompCount": colours,
            "sDescription": names[k],
            "pFluorescentProbe": {"sName": "x"},
            "uiColor": int.from_bytes(bytes.fromhex(shown[k][1:]), "little") if shown else 0,
        }
        for k in range(channels // colours)
    }
    metadata = {
        "bCalibrated": True,
        "dCalibration": UM["x"],
        "sPicturePlanes": {"uiCount": len(planes), "sPlaneNew": planes},
    }
    loops: dict[str, Any] = {}
    for dim in reversed(outer):
        inner = {"ppNextLevelEx": {"i0000000000": loops}} if loops else {}
        loops = _loop(dim, sizes[dim]) | inner
    chunks = {
        b"ImageAttributesLV!": _lite({"SLxImageAttributes": attributes}),
        b"ImageMetadataSeqLV|0!": _lite({"SLxPictureMetadata": metadata}),
    }
    if loops:
        chunks[b"ImageMetadataLV!"] = _lite({"SLxExperiment": loops})
    for k, frame in enumerate(frames):
        if k not in missing:
            data = frame.tobytes()
            data = zlib.compress(data) if compression == 0 else data
            chunks[f"ImageDataSeq|{k}!".encode()] = bytes(8) + data
    magic = 0x0ABECEDA
    whole = struct.pack("<IIQ", magic, 32, 64) + b"ND2 FILE SIGNATURE CHUNK NAME01!"
    whole = (whole + b"Ver3.0").ljust(4096, b"\0")

    def chunk(name: bytes, data: bytes) -> bytes:
        reserved = 4072 if name.startswith(b"ImageDataSeq") else len(name) + 20
        return struct.pack("<IIQ", magic, reserved, len(data)) + name.ljust(reserved, b"\0") + data

    index = b""
    for name, data in chunks.items():
        index += name + struct.pack("<QQ", len(whole), len(data))
        whole += chunk(name, data)
    index += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(whole))
    path.write_bytes(whole + chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", index))


# ---------------------------------------------------------------- CZI

ENCODERS: dict[int, Any] = {
    0: lambda plane: plane.tobytes(),
    1: lambda plane: imagecodecs.jpeg8_encode(plane.astype(np.uint8)),
    2: lambda plane: imagecodecs.lzw_encode(plane.tobytes()),
    4: imagecodecs.jpegxr_encode,
    5: lambda plane: imagecodecs.zstd_encode(plane.tobytes()),
    6: lambda plane: b"\3\1\1" + imagecodecs.zstd_encode(
        np.ascontiguousarray(plane).view(np.uint8).reshape(-1, 2).T.tobytes()
    ),
}  # fmt: skip


def czi(
    path: Path,
    array: Pixels,
    dims: str,
    *,
    names: Sequence[str] = (),
    compression: int = 0,
    missing: Sequence[int] = (),
    pixel_type: int | None = None,
    starts: Mapping[str, int] = {},
    shown: Sequence[str] = (),
    displayed: Sequence[str] = (),
) -> None:
    """Write dims of any letters, y and x last; each plane is a block."""

    def segment(name: bytes, data: bytes) -> bytes:
        return struct.pack("<16sqq", name, len(data), len(data)) + data

    kinds = {"uint8": 0, "uint16": 1, "float32": 2}
    kind = kinds[array.dtype.name] if pixel_type is None else pixel_type
    header, blocks, entries = 32 + 512, b"", b""
    outer = array.shape[:-2]
    for number, place in enumerate(np.ndindex(*outer)):
        if number in missing:
            continue
        spans = [("X", 0, array.shape[-1]), ("Y", 0, array.shape[-2])]
        spans += [(d.upper(), n, 1) for d, n in zip(dims, place, strict=False)]
        spans = [(dim, first + starts.get(dim, 0), n) for dim, first, n in spans]
        entry = struct.pack(
            "<2siqiiBB4si", b"DV", kind, header + len(blocks), 0, compression, 0, 0, b"", len(spans)
        ) + b"".join(struct.pack("<4siifi", d.encode(), first, n, 0, n) for d, first, n in spans)
        data = ENCODERS[compression](array[place])
        part = struct.pack("<iiq", 0, 0, len(data)) + entry.ljust(240, b"\0") + data
        blocks += segment(b"ZISRAWSUBBLOCK", part)
        entries += entry
    distances = "".join(
        f'<Distance Id="{axis.upper()}"><Value>{size * 1e-6}</Value></Distance>'
        for axis, size in UM.items()
    )
    colours = [f"<Color>#FF{one[1:].upper()}</Color>" for one in shown]
    channels = "".join(
        f'<Channel Id="Channel:{k}" Name="{name}">{colours[k] if shown else ""}</Channel>'
        for k, name in enumerate(names)
    )
    display = "".join(
        f'<Channel Id="Channel:{k}"><Color>#FF{one[1:].upper()}</Color></Channel>'
        for k, one in enumerate(displayed)
    )
    xml = (
        "<ImageDocument><Metadata><Information><Image><Dimensions><Channels>"
        f"{channels}</Channels><T><Positions><Interval><Increment>{SECONDS}</Increment></Interval>"
        f"</Positions></T></Dimensions></Image></Information><Scaling><Items>{distances}"
        f"</Items></Scaling><DisplaySetting><Channels>{display}</Channels></DisplaySetting>"
        "</Metadata></ImageDocument>"
    ).encode()
    count = len(entries) // (32 + 20 * len(dims))
    directory = segment(b"ZISRAWDIRECTORY", struct.pack("<i124x", count) + entries)
    places = (header + len(blocks), header + len(blocks) + len(directory))
    head = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, *places, 0, 0)
    text = segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
    path.write_bytes(segment(b"ZISRAWFILE", head.ljust(512, b"\0")) + blocks + directory + text)
