"""What is chosen of an image file: one of its images (series), and one of their channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from denoisplit.errors import InputError

SHOWN = 8  # series or channels that a message names


def choose_series(path: Path, names: Sequence[str], series: int | None) -> int:
    """Return the number of the image to read, out of those in a file.

    Parameters
    ----------
    path : Path
        The file.
    names : sequence of str
        A description of each image, such as its name or shape.
    series : int or None
        The choice, counted from 0; None for the only image.

    Raises
    ------
    InputError
        If several images are there and none is chosen, or there is no such image.
    """
    if series is None and len(names) == 1:
        return 0
    if series is not None and 0 <= series < len(names):
        return series
    some = [f"{number}: {name}" for number, name in enumerate(names[:SHOWN])]
    shown = ", ".join([*some, "..."] if len(names) > SHOWN else some)
    number = f"there are {len(names)} images in one file" if len(names) > 1 else "there is 1 image"
    missing = "" if series is None else f", none of number {series}"
    last = f" to {path.name}:series={len(names) - 1}" if len(names) > 1 else ", or leave it out"
    remedy = f"choose one: {path.name}:series=0{last}"
    raise InputError(f"{number} ({shown}){missing}", where=path, remedy=remedy)
