"""Compressions with and without loss, distinguished by the first bytes of the pixels."""

from __future__ import annotations

import struct

FIRST = 4096  # bytes of the pixels of a page, in which their encoding is named
REVERSIBLE = 13  # place, after the mark of the coding style of JPEG 2000, of its wavelet transform
JPEG_XR, JPEG_XL, LERC = b"WMPHOTO\0", b"\xff\x0a", b"Lerc2 "
EXACT = 0.5  # error of whole numbers that alters none
LERC_FLOATS = 6  # types of pixels from here on are no whole numbers
# of JPEG XR: bytes of its settings before the steps of quantization, by the type of pixels
SHIFTS = {1: 0, 2: 1, 3: 1, 6: 1, 7: 2}
STEPS = bytes.fromhex("80200800")  # each 1


def is_lossy(name: str, start: bytes) -> bool | None:
    """Return whether a compression has altered the pixels that begin with these bytes.

    Parameters
    ----------
    name : str
        As in `tifffile.COMPRESSION`.
    start : bytes
        At least `FIRST`, if there are so many.

    Returns
    -------
    bool or None
        None if this cannot be known.
    """
    if name.startswith("WEBP"):
        return b"VP8L" not in start[:32]
    if "JP2000" in name or name.startswith("JPEG2000") or name == "JPEG_2000_LOSSY":
        style = start.find(b"\xff\x52")
        return start[style + REVERSIBLE : style + REVERSIBLE + 1] != b"\x01"
    try:
        if name.startswith("JPEGXR"):
            return is_lossy_jpegxr(start)
        if name.startswith("JPEGXL"):
            return _is_lossy_jpegxl(start)
        if name == "LERC":
            return _is_lossy_lerc(start)
    except (struct.error, IndexError):  # too short, or damaged
        return None
    if name == "JETRAW":
        return None
    return "JPEG" in name and b"\xff\xc3" not in start  # mark of frames without loss


def is_lossy_jpegxr(start: bytes) -> bool | None:
    """Return whether an image of JPEG XR has other steps of quantization than 1."""
    place = start.find(JPEG_XR)
    head = start[place + len(JPEG_XR) :]
    tiles, flags, kind = head[1] & 0x80, head[2], head[3] & 15
    if place < 0 or tiles or flags & 0x20 or kind not in SHIFTS:  # a longer header
        return None
    plane = 4 + (4 if flags & 0x80 else 8)
    steps = head[plane + 1 + SHIFTS[kind] :][: len(STEPS)]
    all_bits = head[plane] & 0x1F == 0 and not flags & 0x10
    return kind == 7 or not all_bits or steps[:3] != STEPS[:3] or steps[3] & 0xF8 != 0


def _is_lossy_jpegxl(start: bytes) -> bool | None:
    """Return whether an image of JPEG XL is in the colours of its lossy encoding."""
    place = 0 if start.startswith(JPEG_XL) else start.find(JPEG_XL, start.find(b"jxl"))
    if place < 0:
        return None
    bits, used = int.from_bytes(start[place + len(JPEG_XL) :][:64], "little"), 0

    def take(width: int) -> int:
        nonlocal used
        used += width
        return bits >> (used - width) & (1 << width) - 1

    def choice(*widths: int) -> int:
        return take(widths[take(2)])

    small = take(1)
    take(5) if small else choice(9, 13, 18, 30)  # height
    if not take(3):  # no ratio of width to height
        take(5) if small else choice(9, 13, 18, 30)
    if take(1):  # all settings are those of lossy encoding
        return True
    if take(1):  # further settings
        return None
    floats = take(1)
    choice(0, 0, 0, 6)  # bits per sample
    take(4 if floats else 0)
    take(1)
    # further channels, which may be lossy, or the colours of lossy encoding
    return bool(choice(0, 0, 4, 12) or take(1))


def _is_lossy_lerc(start: bytes) -> bool | None:
    """Return whether the largest error of an image of LERC alters its pixels."""
    if not start.startswith(LERC):  # compressed further, or of version 1
        return None
    (version,) = struct.unpack_from("<i", start, len(LERC))
    numbers = len(LERC) + 4 + 4 * (version >= 3) + 8 + 4 * (version >= 4) + 12
    (kind,) = struct.unpack_from("<i", start, numbers)
    (error,) = struct.unpack_from("<d", start, numbers + 4 + 8 * (version >= 6))
    return bool(error > (0 if kind >= LERC_FLOATS else EXACT))
