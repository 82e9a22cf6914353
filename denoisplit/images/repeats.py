"""Repeats of static scenes: several shots of the same field of view, one stack per field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.files import Files, list_files
from denoisplit.images.frames import equal_images, read_frames
from denoisplit.images.selection import ImageFile


def read_repeats(files: Files) -> list[NDArray[Any]]:
    """Read repeats of static scenes.

    Parameters
    ----------
    files : sequence of Path or str
        Files and folders, see `list_files`. A file of several planes is a stack of shots by
        itself; all files of one plane together are one more stack.

    Returns
    -------
    list of array (T, Y, X)
        Raw intensity, T >= 2.

    Raises
    ------
    InputError
        As `read_frames`, for a single shot, if shots of one stack differ in size, or two files hold
        the same shot.
    """
    stacks: list[NDArray[Any]] = []
    shots: list[tuple[ImageFile, NDArray[Any]]] = []
    named: list[tuple[ImageFile, NDArray[Any]]] = []
    for file in list_files(files):
        images = read_frames([file]).images
        named += [(file, image) for image in images]
        if len(images) > 1:
            stacks.append(np.stack(images))
        else:
            shots.append((file, images[0]))
    for file, image in shots:
        if image.shape != shots[0][1].shape:
            raise InputError(
                f"this shot has {image.shape[0]} x {image.shape[1]} px, unlike {shots[0][0]}, but "
                "single shots form one stack",
                where=file,
                remedy="save the shots of every further field as a stack",
            )
    if len(shots) == 1:
        problem = "there is only one shot, but two or more of a static scene are needed"
        remedy = "provide a stack of shots, or one file per shot"
        raise InputError(problem, where=shots[0][0], remedy=remedy)
    for first, other in equal_images(named):
        if first != other:
            problem = f"this holds the same shot as {first}, pixel by pixel"
            raise InputError(problem, where=other, remedy="leave one of them out")
    return [*stacks, np.stack([image for _, image in shots])] if shots else stacks
