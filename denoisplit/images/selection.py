"""What is chosen of an image file: one of its images (series), and one of their channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError

SHOWN = 8  # series or channels that a message names
PATTERN = re.compile(r"[*?]")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")  # of Windows
SERIES = re.compile(r"series=([0-9]{1,9})(?::(.*))?", re.DOTALL)


@dataclass(frozen=True)
class ImageFile:
    """An image file, one of its images (series) and one of their channels.

    As text it is ``PATH``, ``PATH:CHANNEL``, ``PATH:series=N`` or ``PATH:series=N:CHANNEL``.
    """

    path: Path  # of a file; in lists of files also of a folder, or with a pattern
    series: int | None = None  # counted from 0; None for the only image
    channel: int | str | None = None  # number, counted from 0, or name; None for the only channel

    @classmethod
    def of(cls, entry: str | Path | ImageFile) -> ImageFile:
        """Read a text; a path that exists is never taken apart, nor a drive letter."""
        if isinstance(entry, ImageFile):
            return entry
        text = str(entry)
        if not (":" in text and split_at(text)):
            return cls(Path(text))
        left, right = text[: split_at(text)], text[split_at(text) + 1 :]
        match = SERIES.fullmatch(right)
        return cls(Path(left), int(match[1]), match[2]) if match else cls(Path(left), None, right)

    def __str__(self) -> str:
        series = "" if self.series is None else f":series={self.series}"
        return f"{self.path}{series}{'' if self.channel is None else f':{self.channel}'}"

    @property
    def name(self) -> str:
        """The text without the folder."""
        return str(replace(self, path=Path(self.path.name)))

    @property
    def endings(self) -> str:
        """What tells results of the parts of one file apart, in the name of a file."""
        parts = [] if self.series is None else [f"series{self.series}"]
        parts += [] if self.channel is None else [str(self.channel)]
        return "".join("_" + re.sub(r"[^\w.+-]+", "-", part) for part in parts)

    def resolve(self) -> ImageFile:
        """Return the same with the path made absolute, without symbolic links."""
        return replace(self, path=self.path.resolve())

    def with_channel(self, channel: int | str | None) -> ImageFile:
        """Choose a channel, unless it is None.

        Raises
        ------
        InputError
            If another one is chosen already.
        """
        if channel is None or self.channel == channel:
            return self
        if self.channel is not None:
            problem = f"the channel {channel!r} is chosen, but this names another one"
            raise InputError(problem, where=self, remedy="leave one of them out")
        return replace(self, channel=channel)


def matching(path: Path) -> list[Path]:
    """Return what matches a path that has patterns with ``*`` or ``?``, also in its folders."""
    if not PATTERN.search(str(path)):
        return []
    return [Path(one) for one in glob(str(path).replace("[", "[[]"))]


def is_there(path: Path) -> bool:
    """Return whether a path exists, or is a pattern that something matches."""
    return path.exists() or bool(matching(path))


def split_at(text: str) -> int:
    """Return the place of the colon behind the path in a text; 0 if it is a path as a whole.

    The longest path that exists is taken, else the shortest that looks like the name of a file.
    """
    first = 2 if DRIVE.match(text) else 1
    colons = [n for n, letter in enumerate(text) if letter == ":" and n >= first]
    if not colons or is_there(Path(text)):
        return 0
    there = (n for n in reversed(colons) if is_there(Path(text[:n])))
    named = (n for n in colons if Path(text[:n]).suffix)
    return next(there, next(named, 0))


def choose_channel(
    names: Sequence[str], count: int, channel: int | str | None, where: Any, *, remedy: str
) -> int:
    """Return the number of the channel to read, out of those of an image.

    Parameters
    ----------
    names : sequence of str
        One per channel, or none.
    count : int
        Number of channels.
    channel : int, str or None
        The choice: a number, counted from 0, a name, or a number as text; None for the only one.
    where : ImageFile, Path or str
        The image, for messages.
    remedy : str
        What to do if there are several and none is chosen.

    Raises
    ------
    InputError
        If several channels are there and none is chosen, or there is no such channel.
    """
    shown = f" ({', '.join([*names[:SHOWN], *(['...'] if count > SHOWN else [])])})"
    shown = shown if names else ""
    if channel is None:
        if count == 1:
            return 0
        problem = f"this image has {count} channels{shown}, expected one channel"
        raise InputError(problem, where=where, remedy=remedy)
    if isinstance(channel, str):
        if list(names).count(channel) == 1:
            return list(names).index(channel)
        number = int(channel) if re.fullmatch("[0-9]{1,9}", channel) else -1
    else:
        number = int(channel)
    if 0 <= number < count:
        return number
    numbers = "0, the only one" if count == 1 else f"a number from 0 to {count - 1}"
    raise InputError(
        where=where,
        found=f"channel {channel!r}",
        expected=f"{numbers}, or a name{shown}" if names else numbers,
        remedy="choose another channel",
    )


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
