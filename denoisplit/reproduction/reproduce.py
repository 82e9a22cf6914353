"""``denoisplit reproduce``: figures of the paper, on images at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.commands.compare import options_of
from denoisplit.commands.train_several import Training
from denoisplit.config.presets import merged
from denoisplit.errors import InputError
from denoisplit.images import Files
from denoisplit.reproduction.all_figures import write_figures
from denoisplit.reproduction.fig_eq import fig_eq, trainings_of_eq
from denoisplit.reproduction.fig_eq import table as eq_table
from denoisplit.reproduction.fig_s1 import fig_s1, table, trainings_of_s1
from denoisplit.reproduction.fig_s2 import S2, denoisers_of, jobs_of_s2, train_denoisers
from denoisplit.reproduction.table_rows import as_markdown
from denoisplit.reproduction.tables import jobs_of, run_jobs
from denoisplit.reproduction.tasks import TASKS, availability, doubts_of, images_for

PathLike = str | Path


class Trained(NamedTuple):
    """A figure with trainings of its own."""

    make: Callable[..., Any]  # trains and draws
    table: Callable[..., str]  # prints its numbers
    trainings: Callable[..., list[Training]]  # only lists


FIGURES = {
    "S1": Trained(fig_s1, table, trainings_of_s1),
    "EQ": Trained(fig_eq, eq_table, trainings_of_eq),
}


def reproduce(
    items: Sequence[str],
    output: PathLike,
    *,
    structures: Mapping[str, Files] | None = None,
    data: PathLike | None = None,
    systems: Sequence[str] | None = None,
    synthetic_poisson: Sequence[float] | None = None,
    synthetic_gaussian: Sequence[float] | None = None,
    dry_run: bool = False,
    jobs: int | None = None,
    **options: Any,
) -> str:
    """Reproduce figures and tables of the paper; returns them as text.

    Parameters
    ----------
    items : sequence of str
        "S1", see `denoisplit.reproduction.fig_s1`; "EQ", Eq. 3 against Eq. 4, see
        `denoisplit.reproduction.fig_eq`; "T1" to "T9", see
        `denoisplit.reproduction.tasks`; "all" for all nine: their rows of the tables, and the
        figures of `denoisplit.reproduction.all_figures`. "S2": denoiSplit and the denoisers of
        Fig. S.2, of the tasks beside it (T1 to T3 by default).
    output : path
        Folder of all results; what is there already is not repeated.
    structures : mapping of name to files
        Images for S1 and EQ; without them they are made of the tasks beside them (T1 and T2 by
        default).
    data : path
        Folder of downloads for T1 to T9, S2, and S1 of tasks.
    systems : sequence of str, optional
        For T1 to T9; those with a published result by default.
    synthetic_poisson, synthetic_gaussian : sequence of float, optional
        Rows of the tables, or levels of S1 and EQ; all by default.
    dry_run : bool
        Say which trainings there would be, and do none.
    jobs : int, optional
        Trainings at a time; by default as many as there are GPUs.
    **options
        As of `denoisplit.train`.

    Raises
    ------
    InputError
        For items, images or settings that do not fit.
    """
    tasks = list(TASKS) if "all" in items else [i for i in items if i not in (*FIGURES, S2)]
    figures = [item for item in dict.fromkeys(items) if item in FIGURES]
    if figures and not (structures or data or dry_run):
        raise InputError(
            where=figures[0],
            found="no --structure NAME FILES",
            expected="images of each structure",
            remedy="name them",
        )
    text = []
    own = options_of("denoisplit", options)  # no training of these figures is a chain
    if synthetic_gaussian is not None:
        own["synthetic_gaussian"] = synthetic_gaussian
    if synthetic_poisson:
        own["synthetic_poisson"] = synthetic_poisson[0]
    factors = set(synthetic_poisson or ())
    if figures and len(factors) > 1:
        raise InputError(
            where="--synthetic-poisson",
            found=f"{len(factors)} factors",
            expected=f"one for {' and '.join(figures)}",
            remedy="reproduce the others in a call of their own",
        )
    for item in figures:
        made = FIGURES[item]
        for given, folder, usual in images_for(
            item, structures, tasks, data, output, written=not dry_run
        ):
            values = merged(usual, own)
            if dry_run:
                text += [
                    f"{training.run.relative_to(output)}: {training.about}\n"
                    for training in made.trainings(given, folder, **values)
                ]
            else:
                text.append(made.table(made.make(given, folder, jobs=jobs, **values)))
    of_s2 = jobs_of_s2(tasks, synthetic_poisson, synthetic_gaussian) if S2 in items else []
    denoisers = denoisers_of(of_s2)
    if tasks or of_s2:
        trainings = jobs_of(tasks, systems, synthetic_poisson, synthetic_gaussian) if tasks else []
        trainings += [job for job in of_s2 if job not in trainings]
        if dry_run:
            text.append("".join(f"{job.name}\n" for job in trainings))
            text.append("".join(f"{denoiser.name}\n" for denoiser in denoisers))
            if data is None:
                doubts = doubts_of(job.task for job in trainings)
                text.append("".join(f"doubtful  {doubt}\n" for doubt in doubts))
            else:  # with the doubts about all
                text.append(availability(Path(data)))
        elif data is None:
            raise InputError(
                where=items[0],
                found="no --data DIR",
                expected="the folder of downloads",
                remedy="name it",
            )
        else:
            text.append(as_markdown(run_jobs(trainings, data, output, workers=jobs, **options)))
            train_denoisers(denoisers, data, output, jobs=jobs, **options_of("hdn", options))
            text.append(write_figures([job.task for job in trainings], data, output))
    return "".join(text)
