"""What an image is: format, axes, scale, intensities, noise and saturation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from denoisplit.files.json_file import read_json
from denoisplit.files.outputs import bytes_of
from denoisplit.images import ImageFile, LazyImage
from denoisplit.images.formats.zarr import is_zarr
from denoisplit.images.scale import LARGEST
from denoisplit.images.tiling import middle
from denoisplit.noise_models.photon_transfer import photon_transfer
from denoisplit.noise_models.saturation import ceiling_of, limits_of

MOST_PIXELS = 2**24  # of a channel that are read; of a larger one, parts of planes spread evenly
NOISE_SIDE, NOISE_PLANES = 1024, 4  # px and number of the parts in which noise is measured
LEAST_SIDE = 3  # px, of an image whose noise is measured


def image_record(image: LazyImage, name: str) -> dict[str, Any]:
    """Return what an image is, as plain values.

    Parameters
    ----------
    image : LazyImage
    name : str
        As the user calls it.

    Raises
    ------
    InputError
        If its pixels cannot be read.
    """
    channels = image.sizes.get("c", 1)
    names, path = image.channels or ("",) * channels, ImageFile.of(image.source).path
    return {
        "kind": "image",
        "file": name,
        "format": image_format(path),
        "bytes": bytes_of(path) or image.nbytes,
        "dtype": str(image.array.dtype),
        "sizes": dict(image.sizes),
        "pixel_size_um": dict(image.pixel_size_um),
        "time_increment_s": image.time_increment_s,
        "channels": [
            {"name": channel, **_channel_record(image, number)}
            for number, channel in enumerate(names)
        ],
    }


def image_format(path: Path) -> str:
    """Return the format of an image file in a few words."""
    if is_zarr(path):
        return _zarr_format(path)
    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return path.suffix[1:].upper() if path.is_file() else "array in memory"
    import tifffile

    with tifffile.TiffFile(path) as file:
        kind = "OME-TIFF" if file.is_ome else "ImageJ TIFF" if file.is_imagej else "TIFF"
        compression: Any = file.pages.first.compression
        big = ", BigTIFF" if file.is_bigtiff else ""
        return kind + big + (f", {compression.name} compression" if compression > 1 else "")


def _zarr_format(path: Path) -> str:
    """Return the versions of Zarr and of OME-Zarr by the metadata, which were read before."""
    metadata: Any = {}
    for name in ("zarr.json", ".zattrs"):
        if (path / name).is_file():
            metadata = read_json(path / name)
            break
    version = 3 if (path / "zarr.json").is_file() else 2
    attributes = metadata.get("attributes", metadata) if isinstance(metadata, Mapping) else {}
    ome = attributes.get("ome", attributes) if isinstance(attributes, Mapping) else {}
    if not isinstance(ome, Mapping) or "multiscales" not in ome:
        return f"Zarr {version}"
    return f"OME-Zarr {ome.get('version', '0.4')}, Zarr {version}"


def _channel_record(image: LazyImage, channel: int) -> dict[str, Any]:
    """Return intensities, noise and saturation of one channel."""
    outer = {d: n for d, n in image.sizes.items() if d not in "cyx"}
    count, area = math.prod(outer.values()), image.sizes["y"] * image.sizes["x"]
    read = max(1, min(count, MOST_PIXELS // area))
    places = np.unique(np.linspace(0, count - 1, read).round().astype(int))
    index = (np.unravel_index(place, tuple(outer.values())) if outer else () for place in places)
    parts = [
        image.middle(
            math.isqrt(MOST_PIXELS), c=channel, **dict(zip(outer, map(int, at), strict=True))
        )
        for at in index
    ]
    finite = [np.isfinite(part) for part in parts]
    good = [part[is_finite] for part, is_finite in zip(parts, finite, strict=True)]
    bad = sum(part.size - values.size for part, values in zip(parts, good, strict=True))
    values = [v for v in good if v.size]
    pixels = sum(part.size for part in parts)
    record: dict[str, Any] = {"looked_at": pixels / (count * area), "not_finite": bad}
    if not values:
        return record | dict.fromkeys(("low", "high", "mean", "noise", "saturation"))
    low, high = float(min(v.min() for v in values)), float(max(v.max() for v in values))
    total = sum(float(v.sum(dtype=np.float64)) for v in values)
    record |= {"low": low, "high": high, "mean": total / sum(v.size for v in values)}
    chosen = np.unique(np.linspace(0, len(parts) - 1, NOISE_PLANES).round().astype(int))
    frames = [parts[n][middle(parts[n].shape, NOISE_SIDE)] for n in chosen]
    usable = not bad and low < high and max(-low, high) <= LARGEST
    if not usable or min(min(f.shape) for f in frames) < LEAST_SIDE:
        return record | {"noise": None, "saturation": None}
    limits = limits_of(frames)
    noise = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(photon_transfer(frames, limits)).items()
    }
    full = limits.high if high != ceiling_of(parts) else high
    saturation = {
        end: {"value": limit, "share": sum(int((v == limit).sum()) for v in values) / pixels}
        for end, limit in (("low", limits.low), ("high", full))
        if limit is not None
    }
    return record | {"noise": noise, "saturation": saturation}


def image_lines(record: Mapping[str, Any]) -> list[str]:
    """Return an image in lines of a name and a text."""
    sizes = ", ".join(f"{dim} {size}" for dim, size in record["sizes"].items())
    lines = [
        f"{record['file']}: {record['format']}, {record['dtype']}, {size_text(record['bytes'])}",
        f"axes: {sizes}",
        f"pixel size: {scale_text(record['pixel_size_um'])}",
    ]
    if step := record["time_increment_s"]:
        lines.append(f"time between frames: {step:.4g} s")
    channels: Sequence[Mapping[str, Any]] = record["channels"]
    for number, channel in enumerate(channels):
        own = channel["name"] if channel["name"] != f"channel {number + 1}" else ""
        of = f" of channel {number}" if len(channels) > 1 else ""
        of += f" ({own})" if own else ""
        lines += [f"{key}{of}: {text}" for key, text in _channel_texts(channel).items()]
    return lines


def _channel_texts(channel: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of one channel, by what they are about."""
    share, bad = channel["looked_at"], channel["not_finite"]
    part = "" if share >= 1 else f" (of {100 * share:.2g} % of the pixels)"
    if channel["low"] is None:
        return {"intensity": "no finite pixel"}
    texts = {
        "intensity": f"{channel['low']:.5g} to {channel['high']:.5g}, mean {channel['mean']:.4g}"
        + part
        + (f"; {bad} pixels are NaN or infinite: crop or fill them" if bad else "")
    }
    noise = channel["noise"]
    texts["noise"] = "not estimated" if noise is None else _noise_text(noise)
    if noise is not None:
        correlation = noise["correlation"]
        texts["correlation of noise"] = (
            "not estimated"
            if correlation is None
            else f"{correlation[0]:.2f} in x, {correlation[1]:.2f} in y between neighbours"
        )
    ends = {"low": "clipped", "high": "saturated"}
    limited = [
        f"{100 * part['share']:.2g} % of the pixels are {ends[end]} at {part['value']:g}"
        for end, part in (channel["saturation"] or {}).items()
    ]
    unknown = "not estimated" if channel["saturation"] is None else "none"
    texts["saturation"] = "; ".join(limited) or unknown
    return texts


def _noise_text(noise: Mapping[str, Any]) -> str:
    text = f"standard deviation {noise['std']:.3g}"
    if noise["gain"] is None:
        return f"{text}; gain and read noise are not estimated: {noise['reason']}"
    low, high = noise["read_noise"]
    read = f"{low:.2g} to {high:.2g}" if low else f"at most {high:.2g}"
    offset = f"camera offset about {noise['offset']:.3g} or more, " if noise["offset"] else ""
    gain = f"gain about {noise['gain']:.2g} grey levels per photon"
    return f"{text}; {gain}, {offset}read noise {read}"


def scale_text(pixel_size_um: Mapping[str, float]) -> str:
    """Return pixel sizes in words."""
    known = ", ".join(f"{axis} {size:.4g} um" for axis, size in pixel_size_um.items())
    return known or "unknown"


def size_text(size: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"
