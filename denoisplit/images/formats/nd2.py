"""ND2 files of Nikon microscopes, read by the package nd2."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.axes import Metadata, open_array
from denoisplit.images.formats.libraries import REMEDY, library, readable, refuse_axes, refuse_lossy
from denoisplit.images.lazy import LazyImage, Pages
from denoisplit.images.lengths import to_micrometres, to_seconds
from denoisplit.images.selection import choose_series

FRAME = "CYX"  # axes of a frame of the file
LARGEST_RATIO = 1032  # of pixels to compressed bytes


def open_nd2(path: Path, series: int | None = None) -> LazyImage:
    """Open a position of an ND2 file, of which frames are read one by one.

    Raises
    ------
    InputError
        If the file is not ND2, is damaged, was compressed with loss, has colours or unknown axes,
        or several positions and none of them is chosen.
    """
    nd2 = library("nd2", "ND2", path)
    with readable(path, "ND2"), nd2.ND2File(path.absolute()) as file:
        if file.is_legacy or file.attributes.compressionType == "lossy":
            refuse_lossy(path, "JPEG 2000" if file.is_legacy else "ND2")
        sizes, colours = dict(file.sizes), file.components_per_channel
        places = sizes.get("P", 1)
        others = {axis: n for axis, n in sizes.items() if axis not in "PS"}
        refuse_axes(path, others | {"colour": colours})
        names = [f"position {number}" for number in range(min(places, path.stat().st_size))]
        chosen = choose_series(path, names, series)
        outer = {axis: n for axis, n in sizes.items() if axis not in FRAME}
        page = tuple(sizes.get(axis, 1) for axis in FRAME)
        frames, bytes_of_file = math.prod(outer.values()), path.stat().st_size
        if frames != math.prod(loop.count for loop in file.experiment):
            raise ValueError("its loops are nested in an unknown way")
        if frames != file.attributes.sequenceCount:
            raise ValueError(f"{file.attributes.sequenceCount} of {frames} frames were recorded")
        if frames > bytes_of_file or min(page) < 1:
            raise ValueError(f"its frames have the shape {page}, and there are {frames}")
        if math.prod(page) * file.dtype.itemsize > bytes_of_file * (
            LARGEST_RATIO if file.attributes.compressionType else 1
        ):
            raise ValueError("it is smaller than one of its frames")
        numbers = np.arange(frames).reshape(tuple(outer.values()))
        if "P" in outer:
            numbers = numbers.take(chosen, axis=list(outer).index("P"))
        read = partial(_read, path, numbers.ravel(), page)
        dtype, metadata = file.dtype, _metadata(file)
    kept = "".join(axis for axis in outer if axis != "P")
    pixels = Pages(numbers.shape, page, dtype, read)
    return open_array(pixels, kept + FRAME, metadata, path)


def _read(
    path: Path, frames: NDArray[Any], page: tuple[int, ...], numbers: Sequence[int]
) -> Iterator[NDArray[Any]]:
    """Read frames of one position; one that is not in the file has zeros only."""
    nd2 = library("nd2", "ND2", path)
    with readable(path, "ND2"), nd2.ND2File(path.absolute()) as file:
        for number in numbers:
            frame = np.array(file.read_frame(int(frames[number]))).reshape(page)
            if not frame.any():
                problem = (
                    f"frame {frames[number]} of this file is missing, or all of its pixels are 0"
                )
                raise InputError(problem, where=path, remedy=REMEDY)
            yield frame


def _time_increment(file: Any) -> float | None:
    """Return the seconds between frames, as measured or else as planned; None if they vary."""
    steps = set()
    for loop in file.experiment:
        if loop.type in ("TimeLoop", "NETimeLoop"):
            for period in getattr(loop.parameters, "periods", None) or [loop.parameters]:
                measured = getattr(period.periodDiff, "avg", None)
                steps.add(to_seconds(measured, "ms") or to_seconds(period.periodMs, "ms"))
    return steps.pop() if len(steps) == 1 else None


def _metadata(file: Any) -> Metadata:
    known = Metadata()
    try:
        known = known._replace(time_increment_s=_time_increment(file))
        channels = file.metadata.channels or []
        volume = channels[0].volume
        lengths = zip("xyz", volume.axesCalibrated, volume.axesCalibration, strict=True)
        # not in the oldest versions
        shown = [getattr(one.channel, "color", (0, 0, 0))[:3] for one in channels]
        return Metadata(
            [str(one.channel.name) for one in channels],
            {
                axis: to_micrometres(size, "um") if is_set else None
                for axis, is_set, size in lengths
            },
            known.time_increment_s,
            [f"#{bytes(rgb).hex()}" if any(rgb) else None for rgb in shown],
        )
    except Exception:
        return known
