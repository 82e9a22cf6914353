"""The tables of the paper, computed anew beside the published numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.commands.evaluate import evaluate
from denoisplit.commands.train import train
from denoisplit.config.presets import QUICK, SHORT, merged
from denoisplit.config.systems import SPLITTING, SYSTEMS, options_for
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_text
from denoisplit.files.json_file import read_json, write_json
from denoisplit.machine.process_pool import parallel_jobs, run_calls
from denoisplit.progress import logger
from denoisplit.report.plots import read_history
from denoisplit.reproduction.table_rows import (
    METRIC_NAMES,
    TableEntry,
    TaskRun,
    TrainingRecord,
    as_csv,
    as_markdown,
    from_csv,
    published,
)
from denoisplit.reproduction.tasks import (
    BIOSR,
    TASKS,
    images_of,
    noisy_test_frames,
    sigma_of,
    task_of,
)
from denoisplit.run import DENOISERS, HISTORY, METRICS, load_config

PathLike = str | Path

TABLE = "tables.csv"
# denoisers of T9, the Hagen data with real noise; those of T8, whose noise is synthetic, have the
# settings of BioSR (the paper has no result of the chain there)
REAL_NOISE_DENOISER: dict[str, Any] = {
    "network": {"levels": 3, "log_variance_max": 20.0},
    "objective": {"closed_form": False},
}


def table_runs(
    tasks: Sequence[str],
    systems: Sequence[str] | None,
    poisson: Sequence[float] | None,
    levels: Sequence[float] | None,
) -> list[TaskRun]:
    """Return the trainings of some rows of the tables.

    Parameters
    ----------
    tasks : sequence of str
    systems : sequence of str, optional
        By default those that have a published result.
    poisson, levels : sequence of float, optional
        Poisson factors and levels of Gaussian noise; all by default.

    Raises
    ------
    InputError
        For a task, a system or a noise that the tables do not have.
    """
    runs = []
    results = list(published())
    for name in tasks:
        task = task_of(name)
        known = {run.system for run, _ in results if run.task == name}
        for system in [s for s in SPLITTING if s in known] if systems is None else systems:
            if system not in SPLITTING:
                expected = f"some of {', '.join(SPLITTING)}"
                raise InputError(where="systems", found=system, expected=expected)
            rows = [
                TaskRun(name, system, factor, level)
                for factor, level in task.noises
                if poisson is None or factor in poisson
                if levels is None or level in levels or not level
            ]
            if not rows:
                logger.warning("%s: the tables have no row of %s with this noise", name, system)
            runs += rows
    if not runs:
        remedy = "`synthetic_poisson` from 0 and 1000, `synthetic_gaussian` from 1, 1.5, 2 and 4"
        raise InputError("the tables have no row with this noise", remedy=f"choose {remedy}")
    return list(dict.fromkeys(runs))


def train_table_runs(
    runs: Iterable[TaskRun],
    data: PathLike,
    output: PathLike,
    *,
    workers: int | None = None,
    **options: Any,
) -> list[TableEntry]:
    """Train the runs that are not finished, and rewrite the tables after each.

    Parameters
    ----------
    runs : iterable of TaskRun
    data : path
        Folder of downloads.
    output : path
        Folder of the runs and tables; an interrupted call resumes.
    workers : int, optional
        Trainings at a time, each in a process and, if there are GPUs, on one of its own; by default
        as many as there are GPUs.
    **options
        As for `denoisplit.train`; the preset is "paper" unless another is given.

    Raises
    ------
    InputError
        If files are missing or unsuitable.
    """
    data, output = Path(data), Path(output)
    known, runs = published(), list(runs)
    entries = _read_table(output / TABLE, known)
    for name in dict.fromkeys(run.task for run in runs):
        # check all files, and write channels and test frames, before any training
        task = TASKS[name]
        paths = images_of(task, data, output / "images")
        if task.real_noise:
            noisy_test_frames(task, paths, data, output / "images")
    calls = [(run, data, output, options) for run in runs]
    names = [run.name for run in runs]
    for (run, *_), (metrics, record) in run_calls(_train_run, calls, names, parallel_jobs(workers)):
        for metric in METRIC_NAMES:
            key, score = (run, metric), metrics["mean"][metric]
            entries[key] = TableEntry(*key, score["mean"], score["sem"], known.get(key), record)
        rows = [entries[key] for key in sorted(entries)]
        write_text(output / TABLE, as_csv(rows))
        write_text(output / "tables.md", as_markdown(rows))
    return [entries[key] for key in sorted(entries)]


def _read_table(
    path: Path, known: dict[tuple[TaskRun, str], float]
) -> dict[tuple[TaskRun, str], TableEntry]:
    """Read the numbers of earlier calls, if there are any."""
    if not path.is_file():
        return {}
    try:
        entries = from_csv(path.read_text(encoding="utf-8"), known)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"this file is no table of `denoisplit reproduce` ({type(error).__name__}: {error})",
            where=path,
            remedy="move it, or choose another `output`",
        ) from None
    return {(entry.run, entry.metric): entry for entry in entries}


def _train_run(
    run: TaskRun, data: Path, output: Path, options: dict[str, Any]
) -> tuple[dict[str, Any], TrainingRecord]:
    """Train a run unless it is finished; return its metrics, and how it was trained."""
    task, folder, cache = TASKS[run.task], output / run.name, output / "images"
    paths = images_of(task, data, cache)
    if run.level and folder.exists():
        sigma = load_config(folder).settings.data.gaussian_sigma
    else:
        sigma = sigma_of(task, run.level, list(paths.values()))
    settings = _settings_of(run, sigma, options)
    images = {name: [path] for name, path in paths.items()}
    trained = train(images, folder, resume=folder.exists(), **settings)
    metrics = folder / METRICS
    if task.real_noise:
        metrics = folder / "against_truth.json"
        if not metrics.is_file():
            test, truth = noisy_test_frames(task, paths, data, cache)
            samples = trained.config.settings.prediction.calibration_samples
            write_json(metrics, evaluate(trained, test, truth=truth, samples=samples))
    config, steps = load_config(folder), _last(folder / HISTORY, "step")
    sigma, preset = config.facts.gaussian_sigma, config.settings.preset
    steps = None if steps is None else int(steps)
    return read_json(metrics), TrainingRecord(sigma, hours_of(folder), preset, steps)


def _settings_of(run: TaskRun, sigma: float | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the published settings of a run, replaced by the options where these set them."""
    task, system = TASKS[run.task], SYSTEMS[run.system]
    base = task.settings(pairing="in-order")
    planes = task.source.planes
    more_planes = system.context and planes > BIOSR.planes
    if run.task == "T9" or more_planes:
        base["training"] = SHORT
    if system.context and not system.denoised:
        base["network"] = {"planes": planes}
        if more_planes:
            base["objective"] = {"monitor": "psnr"}
    values = {**merged(base, options_for(run.system, options)), "system": run.system}
    if system.denoised and task.real_noise and values["preset"] not in QUICK:
        values = merged({"denoiser": REAL_NOISE_DENOISER}, values)
    if run.level:
        values["data"] = {**values["data"], "gaussian_sigma": sigma}
    return values | synthetic_noise(run.poisson, run.level)


def synthetic_noise(poisson: float, level: float) -> dict[str, float]:
    """Return the settings of the synthetic noise of a run, without those that are zero."""
    noise = {"synthetic_poisson": poisson, "synthetic_gaussian": level}
    return {name: value for name, value in noise.items() if value}


def hours_of(folder: Path) -> float | None:
    """Return the hours of training of a run and its denoisers; None if one is not recorded."""
    histories = (folder / HISTORY, *folder.glob(f"{DENOISERS}/*/{HISTORY}"))
    seconds = [_last(path, "seconds") for path in histories]
    known = [value for value in seconds if value is not None]
    return sum(known) / 3600 if len(known) == len(seconds) else None


def _last(history: Path, column: str) -> float | None:
    """Return the last value of a column of a history; None if it has none."""
    try:
        value = float(read_history(history)[column][-1])
    except (OSError, LookupError, ValueError):  # an earlier release, or a run that was copied
        return None
    return value if math.isfinite(value) else None
