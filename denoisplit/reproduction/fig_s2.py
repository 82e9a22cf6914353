"""The denoisers of Fig. S.2 and Figs. S.8 to S.14: an HDN per structure and noise of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.train_several import Training, train_each
from denoisplit.config.presets import QUICK, merged
from denoisplit.reproduction.table_rows import TaskRun
from denoisplit.reproduction.tables import REAL_NOISE_DENOISER, synthetic_noise, table_runs
from denoisplit.reproduction.tasks import TASKS, images_of

S2 = "S2"
DENOISER_RUNS = "denoisers"  # folder
TASKS_OF_S2 = ("T1", "T2", "T3")
PAPER_POISSON = 1000.0


class DenoiserRun(NamedTuple):
    """A training of an HDN on one structure."""

    task: str  # any of those with this structure
    structure: str
    poisson: float
    level: float  # in standard deviations of the structure

    @property
    def name(self) -> str:
        """Run folder, relative to the results; the same for all tasks of the structure."""
        source = TASKS[self.task].source.title.replace(".", "")
        noise = f"poisson-{self.poisson:g} gaussian-{self.level:g}"
        return f"{DENOISER_RUNS}/{source} {self.structure} {noise}"


def splitting_runs_of_s2(
    tasks: Sequence[str], poisson: Sequence[float] | None, levels: Sequence[float] | None
) -> list[TaskRun]:
    """Return the trainings of denoiSplit that denoisers are compared with.

    Parameters
    ----------
    tasks : sequence of str
        If empty, those of the paper's figure.
    poisson, levels : sequence of float, optional
        As for `denoisplit.reproduction.tables.table_runs`, with its errors; by default with Poisson
        noise if the task has it.
    """
    runs = []
    for name in tasks or TASKS_OF_S2:
        known = TASKS[name].source.poisson if name in TASKS else ()
        factors = [PAPER_POISSON] if poisson is None and PAPER_POISSON in known else poisson
        runs += table_runs([name], ["denoisplit"], factors, levels)
    return runs


def denoisers_of(runs: Iterable[TaskRun]) -> list[DenoiserRun]:
    """Return a denoiser for each structure of the runs at each of their noises, without repeats."""
    denoisers: dict[str, DenoiserRun] = {}
    for run in runs:
        for structure in TASKS[run.task].structures:
            denoiser = DenoiserRun(run.task, structure.name, run.poisson, run.level)
            denoisers.setdefault(denoiser.name, denoiser)
    return list(denoisers.values())


def train_denoisers(
    denoisers: Iterable[DenoiserRun],
    data: str | Path,
    output: str | Path,
    *,
    jobs: int | None = None,
    **options: Any,
) -> None:
    """Train the denoisers that are not finished.

    Parameters
    ----------
    denoisers : iterable of DenoiserRun
    data, output : path
        Folders of the downloads and of the runs; an interrupted call resumes.
    jobs : int, optional
        Trainings at a time; by default as many as there are GPUs.
    **options
        As for `denoisplit.train`; the preset is "paper" unless another is given.

    Raises
    ------
    InputError
        If files are missing or unsuitable.
    """
    trainings = []
    for denoiser in denoisers:
        task, name = TASKS[denoiser.task], denoiser.structure
        path = images_of(task, Path(data), Path(output) / "images")[name]
        values = {**merged(task.settings(), options), "system": "hdn"}
        if task.real_noise and values["preset"] not in QUICK:
            values = merged(REAL_NOISE_DENOISER, values)
        values |= synthetic_noise(denoiser.poisson, denoiser.level)
        folder = Path(output) / denoiser.name
        trainings.append(Training(folder, {name: [path]}, values, "denoiser"))
    train_each(trainings, jobs)
