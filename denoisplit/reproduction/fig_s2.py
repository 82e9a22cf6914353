"""The denoisers of Fig. S.2 and Figs. S.8 to S.14: an HDN for every structure and noise of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.train_several import Training, train_each
from denoisplit.config.presets import merged
from denoisplit.reproduction.table_rows import Job
from denoisplit.reproduction.tables import REAL_NOISE_DENOISER, jobs_of
from denoisplit.reproduction.tasks import CELL, TASKS, images_of

S2 = "S2"
FOLDER = "denoisers"  # of their runs
TASKS_OF_S2 = ("T1", "T2", "T3")
PAPER_POISSON = 1000.0


class Denoiser(NamedTuple):
    """One training of an HDN; ``task`` is any of those with this structure."""

    task: str
    structure: str
    poisson: float
    level: float  # in standard deviations of the structure

    @property
    def name(self) -> str:
        """Its run folder, below that of the results: the same for all tasks of the structure."""
        source = TASKS[self.task].source.title.replace(".", "")
        noise = f"poisson-{self.poisson:g} gaussian-{self.level:g}"
        return f"{FOLDER}/{source} {self.structure} {noise}"


def jobs_of_s2(
    tasks: Sequence[str], poisson: Sequence[float] | None, levels: Sequence[float] | None
) -> list[Job]:
    """The trainings of denoiSplit that denoisers are compared with.

    Of the tasks of the paper's figure where none is named, with Poisson noise where nothing is said
    and the task has it; see `tables.jobs_of` for errors.
    """
    found = []
    for name in tasks or TASKS_OF_S2:
        known = TASKS[name].poisson if name in TASKS else ()
        factors = [PAPER_POISSON] if poisson is None and PAPER_POISSON in known else poisson
        found += jobs_of([name], ["denoisplit"], factors, levels)
    return found


def denoisers_of(jobs: Iterable[Job]) -> list[Denoiser]:
    """A denoiser for each structure of the jobs, at each of their noises; none twice."""
    found: dict[str, Denoiser] = {}
    for job in jobs:
        for structure in TASKS[job.task].structures:
            denoiser = Denoiser(job.task, structure.name, job.poisson, job.level)
            found.setdefault(denoiser.name, denoiser)
    return list(found.values())


def train_denoisers(
    denoisers: Iterable[Denoiser],
    data: str | Path,
    output: str | Path,
    *,
    jobs: int | None = None,
    **options: Any,
) -> None:
    """Train what is not there yet, one after another or side by side.

    Parameters
    ----------
    denoisers : iterable of Denoiser
    data, output : path
        Folders of the downloads and of the runs; an interrupted call goes on.
    jobs : int, optional
        Trainings at a time; by default as many as there are GPUs.
    **options
        As of `denoisplit.train`; the preset is "paper" unless another is named.

    Raises
    ------
    InputError
        If files are missing or do not fit.
    """
    trainings = []
    for denoiser in denoisers:
        task, name = TASKS[denoiser.task], denoiser.structure
        files = images_of(task, Path(data), Path(output) / "images")
        values: dict[str, Any] = {"preset": "paper", **options, "system": "hdn"}
        if task.real_noise and values["preset"] != "small":
            values = merged(REAL_NOISE_DENOISER, values)
        values["data"] = {"split": task.split, **options.get("data", {})}
        values["prediction"] = {"judged_cell": CELL, **options.get("prediction", {})}
        if denoiser.poisson:
            values["synthetic_poisson"] = denoiser.poisson
        if denoiser.level:
            values["synthetic_gaussian"] = denoiser.level
        trainings.append(
            Training(Path(output) / denoiser.name, {name: [files[name]]}, values, "denoiser")
        )
    train_each(trainings, jobs)
