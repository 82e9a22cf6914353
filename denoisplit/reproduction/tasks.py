"""The nine tasks of the paper: their public files, and the settings of their trainings.

Names, planes and noise levels are those of the paper's methods section and supplement; `Task.doubt`
says what is uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from denoisplit.data.splits import held_out_indices
from denoisplit.data.statistics import pooled_std
from denoisplit.errors import InputError
from denoisplit.images import Files, read_frames, read_image, write_ome_tiff
from denoisplit.progress import logger
from denoisplit.reproduction.downloads import (
    has_frames,
    header_of,
    not_as_published,
    read_channel,
)

PAPER_LEVELS = (1.0, 1.5, 2.0, 4.0)
JUDGED_CELL = 64  # px of the paper's grid; it left out the 44 px of BioSR after the last cell
SAME_DATA = 0.1  # largest relative difference from the published std, which is rounded


@dataclass(frozen=True)
class Source:
    """A public data set, with the settings that all of its tasks have."""

    title: str
    record: str
    poisson: tuple[float, ...] = (0.0,)  # factors of the tables
    planes: int = 5  # input planes of muSplit
    split: str = "truncated"


BIOSR = Source(
    "BioSR",
    "figshare 13264793, https://doi.org/10.6084/m9.figshare.13264793",
    poisson=(0.0, 1000.0),
    planes=3,
)
HAGEN = Source("Hagen et al. 2021", "GigaDB 100888, https://doi.org/10.5524/100888")
PAVIA = Source("PaviaATN", "Zenodo 8235843, https://doi.org/10.5281/zenodo.8235843", split="threes")


@dataclass(frozen=True)
class TaskStructure:
    """One structure of a task: its file in the data folder, and its channel in it."""

    name: str
    file: str
    channel: int | None = None
    truth: str | None = None  # file of the same fields without noise, if the noise is real


@dataclass(frozen=True)
class Task:
    """One task of the paper."""

    source: Source
    structures: tuple[TaskStructure, TaskStructure]
    sigma: float | None = None  # of level 1 (Table S.3), raw intensity: the std of the data
    levels: tuple[float, ...] = PAPER_LEVELS  # of Gaussian noise
    doubt: str = ""

    @property
    def real_noise(self) -> bool:
        """Whether the images are noisy as recorded and their truth was recorded separately."""
        return any(s.truth for s in self.structures)

    @property
    def noises(self) -> list[tuple[float, float]]:
        """Poisson factors and levels of Gaussian noise in the tables."""
        return [(factor, level) for factor in self.source.poisson for level in self.levels]

    def settings(self, **data: Any) -> dict[str, Any]:
        """Return the published settings of trainings on the task, and further ones of the data."""
        return {
            "preset": "paper",
            "data": {"split": self.source.split, **data},
            "prediction": {"judged_cell": JUDGED_CELL},
        }


def _hagen(name: str, snr: str) -> TaskStructure:
    """Return a structure of the Hagen data; high-SNR images are the truth of low-SNR ones."""
    low, high = (f"{name}-60x-noise2-{level}snr.tif" for level in ("low", "high"))
    return TaskStructure(name, low, truth=high) if snr == "low" else TaskStructure(name, high)


ER = TaskStructure("ER", "ER/GT_all.mrc")
CCPS = TaskStructure("CCPs", "CCPs/GT_all.mrc")
MT = TaskStructure("MT", "Microtubules/GT_all.mrc")
ACTIN = TaskStructure("F-actin", "F-actin/GT_all_a.mrc")
ATN = "OptiMEM100x014.tif"
SWAPPED = (
    "T5 and T6 are probably swapped in the paper: elsewhere, pairs with CCPs score near 38 dB and "
    "pairs without near 30 dB"
)
CHANNELS_INFERRED = "the assignment of the file's channels to structures is inferred"
POISSON_UNKNOWN = "the paper does not say whether there was Poisson noise"
TASKS = {
    "T1": Task(BIOSR, (ER, CCPS), sigma=3400),
    "T2": Task(BIOSR, (ER, MT), sigma=4450),
    "T3": Task(BIOSR, (CCPS, MT), sigma=3150),
    "T4": Task(BIOSR, (ACTIN, ER), sigma=4450),
    "T5": Task(BIOSR, (ACTIN, CCPS), sigma=3050, doubt=SWAPPED),
    "T6": Task(BIOSR, (ACTIN, MT), sigma=4300, doubt=SWAPPED),
    "T7": Task(
        PAVIA,
        (TaskStructure("actin", ATN, 2), TaskStructure("tubulin", ATN, 3)),
        sigma=152,
        doubt=CHANNELS_INFERRED,
    ),
    "T8": Task(
        HAGEN, (_hagen("actin", "high"), _hagen("mito", "high")), sigma=250, doubt=POISSON_UNKNOWN
    ),
    "T9": Task(HAGEN, (_hagen("actin", "low"), _hagen("mito", "low")), levels=(0.0,)),
}


def task_of(name: str) -> Task:
    """Return the task of a name, "T1" to "T9"; raise an `InputError` for any other."""
    if name not in TASKS:
        raise InputError(f"unknown item {name}", remedy="choose all, T1 to T9, S1, S2 or EQ")
    return TASKS[name]


def sigma_of(task: Task, level: float, paths: Sequence[Path]) -> float | None:
    """Return the published sigma of a level, raw intensity; None for other data than the paper's.

    Parameters
    ----------
    task : Task
    level : float
    paths : sequence of Path
        Images of each structure. If their standard deviation is far from the published one, they
        are other data or in other units, and the level is relative to their own.
    """
    if task.sigma is None or not level:
        return None
    std = pooled_std(tuple(read_frames([path]).images for path in paths))
    if abs(std / task.sigma - 1) > SAME_DATA:
        logger.warning(
            "the standard deviation of these images is %.4g, of the published data %g: sigma is "
            "the level times the former",
            std,
            task.sigma,
        )
        return None
    return level * task.sigma


def doubts_of(names: Iterable[str]) -> list[str]:
    """Return what is uncertain about some tasks, each doubt once with the tasks concerned."""
    concerned: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        concerned.setdefault(TASKS[name].doubt, []).append(name)
    return [f"{', '.join(tasks)}: {doubt}" for doubt, tasks in concerned.items() if doubt]


def find_file(file: str, folder: Path) -> Path | None:
    """Return a file of a task in a folder, or the folder of its frames; None if both are missing.

    In place of ``ER/GT_all.mrc`` there may be image files of one frame each in ``ER``, in the order
    of the numbers in their names.
    """
    path = folder / file
    if path.is_file():
        return path
    return path.parent if "/" in file and has_frames(path.parent) else None


def missing(task: Task, folder: Path) -> list[str]:
    """Return the files of a task that are not in a folder."""
    names = [s.file for s in task.structures] + [s.truth for s in task.structures if s.truth]
    return [name for name in dict.fromkeys(names) if find_file(name, folder) is None]


def problems(task: Task, folder: Path) -> list[InputError]:
    """Return the errors that the headers of a task's files show."""
    errors = [e for s in task.structures for e in _problems_of(s, folder, task.source.split)]
    return list({str(error): error for error in errors}.values())  # structures may share a file


def _problems_of(structure: TaskStructure, folder: Path, rule: str) -> Iterator[InputError]:
    several = structure.channel is not None
    least = next(n for n in count(1) if held_out_indices(n, rule)[1])
    headers = []
    for file in (structure.file, structure.truth):
        path = None if file is None else find_file(file, folder)
        if path is None:
            continue
        try:
            header = header_of(path, several=several)
        except InputError as error:
            yield error
            continue
        channels = 1 if structure.channel is None else structure.channel + 1
        if header.channels < channels or (header.channels > 1 and not several):
            wrong = f"{header.channels} channels", f"{channels}{' or more' if several else ''}"
        elif header.frames < least:
            wrong = f"{header}", f"at least {least} frames, to be split as in the paper"
        else:
            headers.append((path, header))
            continue
        yield not_as_published(path, *wrong)
    if headers and headers[0][1] != headers[-1][1]:  # image and truth
        (noisy, expected), (path, header) = headers
        yield not_as_published(path, f"{header}", f"{expected} as in {noisy}")


def availability(folder: Path) -> str:
    """Return one line per task: ready, or which files are missing or wrong; then the doubts.

    Only headers are read.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, remedy="check the name")
    lines = []
    for name, task in TASKS.items():
        pair = " vs ".join(s.name for s in task.structures)
        absent = missing(task, folder)
        notes = [f"missing {', '.join(absent)} ({task.source.record})"] if absent else []
        notes += [f"wrong: {error}" for error in problems(task, folder)]
        lines.append(f"{name}  {task.source.title}: {pair:<18} {'; '.join(notes) or 'ready'}")
    lines += [f"doubtful  {doubt}" for doubt in doubts_of(TASKS)]
    return "\n".join(lines) + "\n"


def images_of(task: Task, folder: Path, cache: Path) -> dict[str, Path]:
    """Return a file or a folder of frames per structure; channels are written into ``cache``.

    Raises
    ------
    InputError
        If a file is missing or unsuitable for the task.
    """
    absent = missing(task, folder)
    if absent:
        raise InputError(
            f"this file of {task.source.title} is missing",
            where=folder / absent[0],
            remedy=f"download it: {task.source.record}",
        )
    for error in problems(task, folder):
        raise error
    return {s.name: _single_channel(s, folder, cache) for s in task.structures}


def _single_channel(structure: TaskStructure, folder: Path, cache: Path) -> Path:
    """Return the images of a structure, written as a file of their own if they are a channel."""
    path = find_file(structure.file, folder) or folder / structure.file
    if structure.channel is None:
        return path
    target = cache / f"{path.stem}_{structure.name}.ome.tif"
    if not target.is_file():
        logger.info("%s: writing channel %d as %s", path, structure.channel, target)
        plane = read_channel(path, structure.channel)
        cache.mkdir(parents=True, exist_ok=True)
        write_ome_tiff(target, plane)
    return target


def noisy_test_frames(
    task: Task, paths: Mapping[str, Path], folder: Path, cache: Path
) -> tuple[dict[str, Files], dict[str, Files]]:
    """Return the test frames of a task with real noise, and their truth, recorded separately."""
    truth = {s.name: folder / s.truth for s in task.structures if s.truth}
    return _write_test_frames(task, paths, cache), _write_test_frames(task, truth, cache)


def _write_test_frames(task: Task, paths: Mapping[str, Path], cache: Path) -> dict[str, Files]:
    """Write the test frames of each structure's stack as a file in ``cache``, unless they exist."""
    cache.mkdir(parents=True, exist_ok=True)
    targets: dict[str, Files] = {}
    for name, path in paths.items():
        target = cache / f"{path.stem}_test.ome.tif"
        if not target.is_file():
            image = read_image(path)
            stack = image.values.reshape(-1, *image.shape[-2:])
            _, test = held_out_indices(len(stack), task.source.split)
            chosen = np.stack([stack[j] for j in test])
            write_ome_tiff(target, xr.DataArray(chosen, dims=("t", "y", "x"), attrs=image.attrs))
        targets[name] = [target]
    return targets
