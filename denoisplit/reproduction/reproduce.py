"""``denoisplit reproduce``: train and draw the tables and figures of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.config.commands import REPRODUCE
from denoisplit.config.options import documented
from denoisplit.config.presets import merged
from denoisplit.config.systems import options_for
from denoisplit.errors import InputError
from denoisplit.files.outputs import check_folder
from denoisplit.images import Files
from denoisplit.reproduction.all_figures import write_figures
from denoisplit.reproduction.fig_eq import FIG_EQ
from denoisplit.reproduction.fig_s1 import FIG_S1
from denoisplit.reproduction.fig_s2 import S2, denoisers_of, splitting_runs_of_s2, train_denoisers
from denoisplit.reproduction.table_rows import as_markdown
from denoisplit.reproduction.tables import table_runs, train_table_runs
from denoisplit.reproduction.tasks import (
    TASKS,
    availability,
    doubts_of,
    images_of,
    sigma_of,
    task_of,
)

PathLike = str | Path

LEVEL_FIGURES = {figure.name: figure for figure in (FIG_S1, FIG_EQ)}


@documented(REPRODUCE)
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
    """Reproduce figures and tables of the paper, and return them as text.

    See `denoisplit.reproduction.tasks` for the tasks T1 to T9, `denoisplit.reproduction.fig_s1` for
    S1, `denoisplit.reproduction.fig_eq` for EQ, and `denoisplit.reproduction.all_figures` for the
    figures. Tasks beside S1, EQ (T1 and T2 by default) and S2 (T1 to T3) give their images.
    ``options`` are those of `denoisplit.train`.

    Parameters
    ----------
    {options}

    Raises
    ------
    InputError
        For unknown items, or unusable images or settings.
    """
    output = Path(output)
    if not dry_run:
        check_folder(output)
    tasks = list(TASKS) if "all" in items else [i for i in items if i not in (*LEVEL_FIGURES, S2)]
    figures = [item for item in dict.fromkeys(items) if item in LEVEL_FIGURES]
    if figures and not (structures or data or dry_run):
        raise InputError(
            "there are no images to train on",
            where=figures[0],
            remedy="provide `structures`, or `data` for the images of the tasks",
        )
    factors = set(synthetic_poisson or ())
    if figures and len(factors) > 1:
        raise InputError(
            where="synthetic_poisson",
            found=f"{len(factors)} factors",
            expected=f"one for {' and '.join(figures)}",
            remedy="reproduce the others in a separate call",
        )
    text = []
    noise: dict[str, Any] = {}
    if synthetic_gaussian is not None:
        noise["synthetic_gaussian"] = synthetic_gaussian
    if synthetic_poisson:
        noise["synthetic_poisson"] = synthetic_poisson[0]
    values = options_for("denoisplit", options) | noise  # no training of these figures is a chain
    for item in figures:
        figure = LEVEL_FIGURES[item]
        inputs: list[tuple[Path, Mapping[str, Files], dict[str, Any]]]
        if structures:
            inputs = [(output, structures, {})]
        else:
            names = tasks or ("T1", "T2")
            inputs = [(output / item / n, *_task_inputs(n, data, output, dry_run)) for n in names]
        for folder, images, published in inputs:
            settings = merged(published, values)
            if dry_run:
                text += [
                    f"{training.run.relative_to(output)}: {training.about}\n"
                    for training in figure.trainings(images, folder, **settings)
                ]
            else:
                text.append(figure.table(figure.run(images, folder, jobs=jobs, **settings)))
    rows = synthetic_poisson, synthetic_gaussian
    of_s2 = splitting_runs_of_s2(tasks, *rows) if S2 in items else []
    denoisers = denoisers_of(of_s2)
    runs = table_runs(tasks, systems, *rows) if tasks else []
    runs += [run for run in of_s2 if run not in runs]
    if dry_run and runs:
        text += [f"{name}\n" for name in [r.name for r in runs] + [d.name for d in denoisers]]
        if data is None:
            text += [f"doubtful  {doubt}\n" for doubt in doubts_of(run.task for run in runs)]
        else:  # ends with the doubts about all tasks
            text.append(availability(Path(data)))
    elif runs:
        if data is None:
            raise InputError(
                "the folder of downloads is not given", where=items[0], remedy="provide `data`"
            )
        text.append(as_markdown(train_table_runs(runs, data, output, workers=jobs, **options)))
        train_denoisers(denoisers, data, output, jobs=jobs, **options_for("hdn", options))
        text.append(write_figures([run.task for run in runs], data, output))
    return "".join(text)


def _task_inputs(
    name: str, data: PathLike | None, output: Path, dry_run: bool
) -> tuple[Mapping[str, Files], dict[str, Any]]:
    """Return the images of a task, and its published settings in a figure.

    A dry run reads nothing: the files are named, but need not exist.
    """
    task, folder = task_of(name), Path(data or "")
    if dry_run:
        paths = {s.name: folder / s.file for s in task.structures}
    else:
        paths = images_of(task, folder, output / "images")
    published = {
        **task.settings(pairing="in-order"),
        "synthetic_poisson": max(task.source.poisson),
        "sigma": None if dry_run else sigma_of(task, 1.0, list(paths.values())),
    }
    return {structure: [path] for structure, path in paths.items()}, published
