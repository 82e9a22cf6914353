"""Repeated shots of static scenes -> one stack per scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoisplit.errors import InputError
from denoisplit.images.files import Files, list_files
from denoisplit.images.frames import read_frames


def read_scenes(files: Files) -> list[NDArray[Any]]:
    """Read shots of scenes that do not move.

    Parameters
    ----------
    files : sequence of Path or str
        Files and folders, see `list_files`. A file of several planes is one scene; all files of
        one plane together are another.

    Returns
    -------
    list of array (T, Y, X)
        Raw intensity, T >= 2.

    Raises
    ------
    InputError
        What `read_frames` refuses, a single shot, or shots of different sizes.
    """
    scenes: list[NDArray[Any]] = []
    shots: list[tuple[Path, NDArray[Any]]] = []
    for file in list_files(files):
        images = read_frames([file]).images
        if len(images) > 1:
            scenes.append(np.stack(images))
        else:
            shots.append((file, images[0]))
    for file, image in shots:
        if image.shape != shots[0][1].shape:
            raise InputError(
                where=file,
                found=f"{image.shape[0]} x {image.shape[1]} px",
                expected=f"shots of one scene, as large as {shots[0][0]}",
                remedy="give the shots of every further scene as a stack",
            )
    if len(shots) == 1:
        raise InputError(
            where=shots[0][0],
            found="one shot only",
            expected="two shots or more of one static scene",
            remedy="give a stack of shots, or one file per shot",
        )
    return [*scenes, np.stack([image for _, image in shots])] if shots else scenes
