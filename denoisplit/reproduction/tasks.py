"""The nine tasks of the paper: which public files they need, and what is done with them.

Names, planes and noise levels are those of method and supplement; what is uncertain says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from denoisplit.data.splits import held_out
from denoisplit.data.statistics import pooled_std
from denoisplit.errors import InputError
from denoisplit.images import Files, read_frames, read_image, write_ome_tiff
from denoisplit.progress import logger
from denoisplit.reproduction.downloads import AS_PUBLISHED, frames_in, header_of, read_channel

LEVELS = (1.0, 1.5, 2.0, 4.0)
NO_LEVEL = (0.0,)
CELL = 64  # px; what lies after the last one of the paper's grid was not judged: 44 px on BioSR
SAME_DATA = 0.1  # relative difference of the std, which the paper rounds


@dataclass(frozen=True)
class Source:
    """A public data set."""

    title: str
    record: str


BIOSR = Source("BioSR", "figshare 13264793, https://doi.org/10.6084/m9.figshare.13264793")
HAGEN = Source("Hagen et al. 2021", "GigaDB 100888, https://doi.org/10.5524/100888")
PAVIA = Source("PaviaATN", "Zenodo 8235843, https://doi.org/10.5281/zenodo.8235843")


@dataclass(frozen=True)
class Structure:
    """One structure of a task: its file below the data folder, and its plane there if several."""

    name: str
    file: str
    channel: int | None = None
    truth: str | None = None  # of the same fields, where the noise is real


@dataclass(frozen=True)
class Task:
    """One task of the paper."""

    source: Source
    structures: tuple[Structure, Structure]
    poisson: tuple[float, ...] = (0.0, 1000.0)  # factors of the tables
    levels: tuple[float, ...] = LEVELS  # of Gaussian noise
    planes: int = 3  # of muSplit
    split: str = "truncated"
    sigma: float | None = None  # of level 1 (Table S.3), raw intensity: the std of the data
    doubt: str = ""

    @property
    def real_noise(self) -> bool:
        """Whether the images are noisy as recorded, and their truth was recorded apart."""
        return any(s.truth for s in self.structures)


ER = Structure("ER", "ER/GT_all.mrc")
CCPS = Structure("CCPs", "CCPs/GT_all.mrc")
MT = Structure("MT", "Microtubules/GT_all.mrc")
ACTIN = Structure("F-actin", "F-actin/GT_all_a.mrc")
ATN = "OptiMEM100x014.tif"
SWAPPED = (
    "T5 and T6 are probably swapped in the paper: elsewhere pairs with CCPs score near 38 dB, "
    "pairs without near 30 dB"
)


def _hagen(name: str, snr: str) -> str:
    return f"{name}-60x-noise2-{snr}snr.tif"


TASKS = {
    "T1": Task(BIOSR, (ER, CCPS), sigma=3400),
    "T2": Task(BIOSR, (ER, MT), sigma=4450),
    "T3": Task(BIOSR, (CCPS, MT), sigma=3150),
    "T4": Task(BIOSR, (ACTIN, ER), sigma=4450),
    "T5": Task(BIOSR, (ACTIN, CCPS), sigma=3050, doubt=SWAPPED),
    "T6": Task(BIOSR, (ACTIN, MT), sigma=4300, doubt=SWAPPED),
    "T7": Task(
        PAVIA,
        (Structure("actin", ATN, 2), Structure("tubulin", ATN, 3)),
        poisson=(0.0,),
        planes=5,
        split="threes",
        sigma=152,
        doubt="which planes of the file are which structure is inferred",
    ),
    "T8": Task(
        HAGEN,
        (Structure("actin", _hagen("actin", "high")), Structure("mito", _hagen("mito", "high"))),
        poisson=(0.0,),
        planes=5,
        sigma=250,
        doubt="the paper does not say whether there was Poisson noise",
    ),
    "T9": Task(
        HAGEN,
        (
            Structure("actin", _hagen("actin", "low"), truth=_hagen("actin", "high")),
            Structure("mito", _hagen("mito", "low"), truth=_hagen("mito", "high")),
        ),
        poisson=(0.0,),
        levels=NO_LEVEL,
        planes=5,
    ),
}


def sigma_of(task: Task, level: float, paths: Sequence[Path]) -> float | None:
    """The published sigma of a level, raw intensity; None for data that are not those of the paper.

    Parameters
    ----------
    task : Task
    level : float
    paths : sequence of Path
        Images of each structure. Where their standard deviation is far from the published one, they
        are other data, or in other units, and a level has to be taken of what they are.
    """
    if task.sigma is None or not level:
        return None
    std = pooled_std(tuple(read_frames([path]).images for path in paths))
    if abs(std / task.sigma - 1) > SAME_DATA:
        logger.warning(
            "standard deviation %.4g, of the published data %g: sigma is the level times that of "
            "these images",
            std,
            task.sigma,
        )
        return None
    return level * task.sigma


def doubts_of(names: Iterable[str]) -> list[str]:
    """What is uncertain about some tasks, each doubt once with those that it is about."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(TASKS[name].doubt, []).append(name)
    return [f"{', '.join(tasks)}: {doubt}" for doubt, tasks in found.items() if doubt]


def place_of(file: str, folder: Path) -> Path | None:
    """A file of a task below a folder, or the frames beside where it would be; None without both.

    In place of ``ER/GT_all.mrc`` may be image files of one frame each in ``ER``, in the order of
    the numbers in their names.
    """
    path = folder / file
    if path.is_file():
        return path
    apart = "/" in file and frames_in(path.parent)
    return path.parent if apart else None


def missing(task: Task, folder: Path) -> list[str]:
    """Files of a task that are not below a folder."""
    names = [s.file for s in task.structures] + [s.truth for s in task.structures if s.truth]
    return [name for name in dict.fromkeys(names) if place_of(name, folder) is None]


def problems(task: Task, folder: Path) -> list[InputError]:
    """What is wrong with the files of a task that are there, as far as their headers tell."""
    found: dict[str, InputError] = {}
    for structure in task.structures:
        for error in _problems_of(structure, folder, task.split):
            found.setdefault(str(error), error)
    return list(found.values())


def _problems_of(structure: Structure, folder: Path, rule: str) -> Iterator[InputError]:
    several = structure.channel is not None
    least = next(n for n in count(1) if held_out(n, rule)[1])
    headers = []
    for file in (structure.file, structure.truth):
        path = None if file is None else place_of(file, folder)
        if path is None:
            continue
        try:
            header = header_of(path, several=several)
        except InputError as error:
            yield error
            continue
        channels = 1 if structure.channel is None else structure.channel + 1
        if header.channels < channels or (header.channels > 1 and not several):
            more = " or more" if several else ""
            yield InputError(
                where=path,
                found=f"{header.channels} channels",
                expected=f"{channels}{more}",
                remedy=AS_PUBLISHED,
            )
        elif header.frames < least:
            yield InputError(
                where=path,
                found=f"{header}",
                expected=f"at least {least} frames, to be split as in the paper",
                remedy=AS_PUBLISHED,
            )
        else:
            headers.append((path, header))
    if headers and headers[0][1] != headers[-1][1]:  # of a truth
        (noisy, expected), (path, header) = headers
        yield InputError(
            where=path, found=f"{header}", expected=f"{expected} as in {noisy}", remedy=AS_PUBLISHED
        )


def availability(folder: Path) -> str:
    """One line per task: whether a folder of downloads can run it, and what lacks or is wrong.

    Below are the doubts about tasks. Of the files the headers are read alone.

    Raises
    ------
    InputError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            where=folder,
            found="no such folder",
            expected="a folder of downloads",
            remedy="check the name",
        )
    lines = []
    for name, task in TASKS.items():
        pair = " vs ".join(s.name for s in task.structures)
        lacking = missing(task, folder)
        found = [f"missing {', '.join(lacking)} ({task.source.record})"] if lacking else []
        found += [f"wrong: {error}" for error in problems(task, folder)]
        told = "; ".join(found) or "ready"
        lines.append(f"{name}  {task.source.title}: {pair:<18} {told}")
    lines += [f"doubtful  {doubt}" for doubt in doubts_of(TASKS)]
    return "\n".join(lines) + "\n"


def images_of(task: Task, folder: Path, cache: Path) -> dict[str, Path]:
    """A file per structure, or a folder of frames; planes of several are written into ``cache``.

    Raises
    ------
    InputError
        If a file is missing, or is not what the task needs.
    """
    lacking = missing(task, folder)
    if lacking:
        raise InputError(
            where=folder / lacking[0],
            found="no such file",
            expected=f"that file of {task.source.title}",
            remedy=f"download it: {task.source.record}",
        )
    for error in problems(task, folder):
        raise error
    return {
        s.name: _alone(place_of(s.file, folder) or folder / s.file, s, cache)
        for s in task.structures
    }


def images_for(
    item: str,
    structures: Mapping[str, Files] | None,
    tasks: Sequence[str],
    data: str | Path | None,
    output: str | Path,
    *,
    written: bool = True,
) -> list[tuple[Mapping[str, Files], Path, dict[str, Any]]]:
    """What a figure with trainings of its own is made of: given images, or the files of tasks.

    Parameters
    ----------
    item : str
        The figure.
    structures : mapping of name to files, optional
        If they are given, they are all.
    tasks : sequence of str
        T1 and T2, as in the paper, if there are none.
    data, output : path
        Folders of the downloads and of all results.
    written : bool
        Whether planes of a file are written where they have to be. Else nothing is read, the files
        need not be there, and they are only named.

    Returns
    -------
    list of (images, folder, options)
        Images of each structure, where the results of them go, and options of the figure.
    """
    if structures:
        return [(structures, Path(output), {})]
    folder = Path(data or "")
    found: list[tuple[Mapping[str, Files], Path, dict[str, Any]]] = []
    for name in tasks or ("T1", "T2"):
        if name not in TASKS:
            raise InputError(
                where="reproduce",
                found=name,
                expected=f"some of {', '.join(TASKS)}",
                remedy="choose others",
            )
        files = (
            images_of(TASKS[name], folder, Path(output) / "images")
            if written
            else {s.name: folder / s.file for s in TASKS[name].structures}
        )
        own = {
            "preset": "paper",
            "synthetic_poisson": max(TASKS[name].poisson),
            "data": {"split": TASKS[name].split, "pairing": "in-order"},
            "prediction": {"judged_cell": CELL},
            "sigma": sigma_of(TASKS[name], 1.0, list(files.values())) if written else None,
        }
        images: dict[str, Files] = {n: [file] for n, file in files.items()}
        found.append((images, Path(output) / item / name, own))
    return found


def _alone(path: Path, structure: Structure, cache: Path) -> Path:
    if structure.channel is None:
        return path
    target = cache / f"{path.stem}_{structure.name}.ome.tif"
    if target.is_file():
        return target
    logger.info("%s: writing channel %d as %s", path, structure.channel, target)
    plane = read_channel(path, structure.channel)
    cache.mkdir(parents=True, exist_ok=True)
    write_ome_tiff(target, plane)
    return target


def frames_to_test(paths: Sequence[Path], cache: Path, rule: str) -> list[Path]:
    """The test frames of stacks in files of their own, for images with real noise."""
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for path in paths:
        target = cache / f"{path.stem}_test.ome.tif"
        if not target.is_file():
            image = read_image(path)
            stack = image.values.reshape(-1, *image.shape[-2:])
            _, test = held_out(len(stack), rule)
            chosen = np.stack([stack[j] for j in test])
            write_ome_tiff(target, xr.DataArray(chosen, dims=("t", "y", "x"), attrs=image.attrs))
        found.append(target)
    return found
