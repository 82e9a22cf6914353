"""Check that the frames of several structures belong together, and none of them comes twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from denoisplit.errors import InputError
from denoisplit.images import Frames, ImageFile
from denoisplit.images.frames import equal_images
from denoisplit.images.lengths import warn_of_pixel_sizes
from denoisplit.progress import logger

INDEX = re.compile(r"\[\d+\]$")  # of a frame of a stack, behind its file


def check_together(
    frames: Sequence[Frames], names: Sequence[str], *, paired: bool = True, distinct: bool = False
) -> None:
    """Check images of several structures, and warn of what is unlikely.

    Warnings name pixel sizes that differ and, if frames are ``paired``, numbers in file names that
    differ.

    Parameters
    ----------
    frames : sequence of Frames
        Of each structure.
    names : sequence of str
        Of the structures.
    paired : bool
        Whether frame j of all structures shows one field of view.
    distinct : bool
        Refuse a frame that comes twice in one file, too.

    Raises
    ------
    InputError
        If two structures or two files have the same image, whatever they are called.
    """
    refuse_same(frames, names, distinct=distinct)
    warn_of_pixel_sizes([(f.files[0], f.pixel_size_um) for f in frames])
    if paired:
        for other in frames[1:]:
            warn_of_numbers(frames[0], other)


def refuse_same(frames: Sequence[Frames], names: Sequence[str], *, distinct: bool) -> None:
    """Refuse images with equal pixels in two structures, two files or, if ``distinct``, in one.

    Raises
    ------
    InputError
    """
    images = (
        ((name, origin), image)
        for name, group in zip(names, frames, strict=True)
        for origin, image in zip(group.origins, group.images, strict=True)
    )
    for (first, where), (name, origin) in equal_images(images):
        if distinct or first != name or INDEX.sub("", where) != INDEX.sub("", origin):
            structures = f"structures {first} and {name}" if first != name else f"{name}"
            problem = f"this is the same image as {where}, pixel by pixel, in {structures}"
            raise InputError(problem, where=origin, remedy="leave one of them out")


def warn_of_numbers(frames: Frames, others: Frames) -> None:
    """Warn if the numbers in the file names of paired frames differ.

    Only numbers that vary among the files of one structure are compared: a date or a wavelength
    does not tell fields of view apart.
    """
    pairs = list(zip(_numbers(frames), _numbers(others), strict=False))
    if any(len(a) != len(b) for a, b in pairs):
        pairs = [(a[-1:], b[-1:]) for a, b in pairs]
    different = [j for j, (a, b) in enumerate(pairs) if a and b and a != b]
    if different:
        logger.warning(
            "%d of %d pairs of frames have different numbers in their file names, the first are %s "
            "and %s: check that they show the same field of view",
            *(len(different), len(pairs)),
            *(group.origins[different[0]] for group in (frames, others)),
        )


def _numbers(frames: Frames) -> list[tuple[int, ...]]:
    """Return the numbers in the path of each frame that vary among them."""
    files = [ImageFile.of(INDEX.sub("", origin)) for origin in frames.origins]
    paths = [str(replace(file, channel=None)) for file in files]
    numbers = [tuple(map(int, re.findall(r"\d+", path))) for path in paths]
    if len({len(some) for some in numbers}) > 1:
        return [some[-1:] for some in numbers]
    varying = [n for n, column in enumerate(zip(*numbers, strict=True)) if len({*column}) > 1]
    return [tuple(some[n] for n in varying) for some in numbers]
