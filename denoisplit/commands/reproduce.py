"""``denoisplit reproduce``: figures of the paper, on images at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.images import Files
from denoisplit.reproduction.album import write_figures
from denoisplit.reproduction.fig_s1 import TASKS_OF_S1, fig_s1, fig_s1_of_task, table
from denoisplit.reproduction.fig_s2 import (
    TASKS_OF_S2,
    Denoiser,
    denoisers_of,
    jobs_of_s2,
    train_denoisers,
)
from denoisplit.reproduction.tables import as_markdown, jobs_of, run_jobs
from denoisplit.reproduction.tasks import TASKS, availability
from denoisplit.systems import SPLITTING

PathLike = str | Path

FIGURES = ("S1", "S2")  # with trainings of their own


def reproduce(
    items: Sequence[str],
    output: PathLike,
    *,
    structures: Mapping[str, Files] | None = None,
    data: PathLike | None = None,
    systems: Sequence[str] = SPLITTING,
    synthetic_poisson: Sequence[float] | None = None,
    synthetic_gaussian: Sequence[float] | None = None,
    dry_run: bool = False,
    **options: Any,
) -> str:
    """Reproduce figures and tables of the paper; returns them as text.

    Parameters
    ----------
    items : sequence of str
        "T1" to "T9", see `denoisplit.reproduction.tasks`, "all" for all nine: their rows of the
        tables, and the figures of `denoisplit.reproduction.album`. "S1", see
        `denoisplit.reproduction.fig_s1`, on ``structures``, or else on the tasks beside it (T1 and
        T2 by default). "S2": denoiSplit and the denoisers of Fig. S.2, of the tasks beside it (T1
        to T3 by default).
    output : path
        Folder of all results; what is there already is not repeated.
    structures : mapping of name to files
        Images for S1.
    data : path
        Folder of downloads, for all but S1 on ``structures``.
    systems : sequence of str
        For T1 to T9.
    synthetic_poisson, synthetic_gaussian : sequence of float, optional
        Rows of the tables, or levels of S1; all by default.
    dry_run : bool
        Say which trainings there would be, and do none.
    **options
        As of `denoisplit.train`.

    Raises
    ------
    InputError
        For items, images or settings that do not fit.
    """
    tasks = list(TASKS) if "all" in items else [item for item in items if item not in FIGURES]
    jobs = jobs_of(tasks, systems, synthetic_poisson, synthetic_gaussian) if tasks else []
    denoisers: list[Denoiser] = []
    if "S2" in items:
        of_s2 = jobs_of_s2(tasks or TASKS_OF_S2, synthetic_poisson, synthetic_gaussian)
        jobs, denoisers = [*jobs, *(job for job in of_s2 if job not in jobs)], denoisers_of(of_s2)
    text = []
    if "S1" in items and not dry_run:
        if not (structures or data):
            raise InputError(
                "S1", "no --structure NAME FILES", "images of each structure", "name them"
            )
        noise: dict[str, Any] = {}
        if synthetic_gaussian is not None:
            noise["synthetic_gaussian"] = synthetic_gaussian
        if synthetic_poisson:
            noise["synthetic_poisson"] = synthetic_poisson[0]
        if structures:
            text.append(table(fig_s1(structures, output, **noise, **options)))
        for name in () if structures else tasks or TASKS_OF_S1:
            scores = fig_s1_of_task(name, Path(data or ""), Path(output), **noise, **options)
            text.append(f"{name}\n{table(scores)}")
    if not jobs:
        return "".join(text)
    if dry_run:
        names = [*(job.name for job in jobs), *(denoiser.name for denoiser in denoisers)]
        text.append("".join(f"{name}\n" for name in names))
        text.append("" if data is None else availability(Path(data)))
    elif data is None:
        raise InputError(jobs[0].task, "no --data DIR", "the folder of downloads", "name it")
    else:
        text.append(as_markdown(run_jobs(jobs, data, output, **options)))
        train_denoisers(denoisers, Path(data), Path(output), **options)
        drawn = write_figures([job.task for job in jobs], Path(data), Path(output))
        text.append("\nFigures\n" + "".join(f"- {outcome}\n" for outcome in drawn))
    return "".join(text)
