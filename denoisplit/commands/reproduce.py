"""``denoisplit reproduce``: figures of the paper, on images at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.images import Files
from denoisplit.reproduction.fig_s1 import fig_s1, table
from denoisplit.reproduction.tables import as_markdown, jobs_of, run_jobs
from denoisplit.reproduction.tasks import TASKS, availability
from denoisplit.systems import SPLITTING

PathLike = str | Path

FIGURES = {"S1": (fig_s1, table)}


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
        "S1", see `denoisplit.reproduction.fig_s1`; "T1" to "T9", see
        `denoisplit.reproduction.tasks`; "all" for all nine.
    output : path
        Folder of all results; what is there already is not repeated.
    structures : mapping of name to files
        Images for S1.
    data : path
        Folder of downloads for T1 to T9.
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
    figures = [item for item in items if item in FIGURES]
    if figures and not structures:
        raise InputError(
            figures[0], "no --structure NAME FILES", "images of each structure", "name them"
        )
    text = []
    for item in [] if dry_run else figures:
        make, as_table = FIGURES[item]
        noise: dict[str, Any] = {}
        if synthetic_gaussian is not None:
            noise["synthetic_gaussian"] = synthetic_gaussian
        if synthetic_poisson:
            noise["synthetic_poisson"] = synthetic_poisson[0]
        text.append(as_table(make(structures or {}, output, **noise, **options)))
    if tasks:
        jobs = jobs_of(tasks, systems, synthetic_poisson, synthetic_gaussian)
        if dry_run:
            text.append("".join(f"{job.name}\n" for job in jobs))
            text.append("" if data is None else availability(Path(data)))
        elif data is None:
            raise InputError(tasks[0], "no --data DIR", "the folder of downloads", "name it")
        else:
            text.append(as_markdown(run_jobs(jobs, data, output, **options)))
    return "".join(text)
