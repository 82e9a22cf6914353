"""The tables of the paper, computed anew and laid beside the published numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from denoisplit.commands.compare import options_of
from denoisplit.commands.evaluate import evaluate
from denoisplit.commands.train import train
from denoisplit.config.presets import SHORT, merged
from denoisplit.config.systems import SPLITTING, SYSTEMS
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_text
from denoisplit.files.json_file import read_json, write_json
from denoisplit.machine.process_pool import finished, workers_of
from denoisplit.progress import logger
from denoisplit.report.plots import read_history
from denoisplit.reproduction.table_rows import (
    METRIC_NAMES,
    Job,
    Made,
    Score,
    as_csv,
    as_markdown,
    from_csv,
    published,
)
from denoisplit.reproduction.tasks import CELL, TASKS, Task, frames_to_test, images_of, sigma_of
from denoisplit.run import DENOISERS, HISTORY, METRICS, load_config

PathLike = str | Path

BIOSR_PLANES = 3
TABLE = "tables.csv"
# of denoisers where the noise of the Hagen data is real: T9. Those of T8, whose noise is synthetic,
# are as on BioSR (the paper has no result of the chain there)
REAL_NOISE_DENOISER: dict[str, Any] = {
    "network": {"levels": 3, "log_variance_max": 20.0},
    "objective": {"closed_form": False},
}


def jobs_of(
    tasks: Sequence[str],
    systems: Sequence[str] | None,
    poisson: Sequence[float] | None,
    levels: Sequence[float] | None,
) -> list[Job]:
    """All trainings of some rows of the tables; all rows that have a result, if no system is named.

    Raises
    ------
    InputError
        For a task, a system or a noise that the tables do not have.
    """
    found = []
    for name in tasks:
        if name not in TASKS:
            raise InputError(
                where="reproduce",
                found=name,
                expected=f"some of {', '.join(TASKS)}",
                remedy="choose others",
            )
        task = TASKS[name]
        for system in _in_the_paper(name) if systems is None else systems:
            if system not in SPLITTING:
                raise InputError(
                    where="--system",
                    found=system,
                    expected=f"some of {', '.join(SPLITTING)}",
                    remedy="choose others",
                )
            rows = [
                Job(name, system, f, level)
                for f in task.poisson
                if poisson is None or f in poisson
                for level in task.levels
                if levels is None or level in levels or not level
            ]
            if not rows:
                logger.warning("%s: the tables have no row of %s with this noise", name, system)
            found += rows
    if not found:
        raise InputError(
            where="reproduce",
            found="no row of the tables with this noise",
            expected="Poisson 0 or 1000 and levels 1, 1.5, 2, 4",
            remedy="choose others",
        )
    return list(dict.fromkeys(found))


def _in_the_paper(task: str) -> list[str]:
    """Systems with a result."""
    known = {job.system for job, _ in published() if job.task == task}
    return [system for system in SPLITTING if system in known]


def run_jobs(
    jobs: Iterable[Job],
    data: PathLike,
    output: PathLike,
    *,
    workers: int | None = None,
    **options: Any,
) -> list[Score]:
    """Train what is not there yet, and write the tables anew after each.

    Parameters
    ----------
    jobs : iterable of Job
    data : path
        Folder of downloads.
    output : path
        Folder of the runs and tables; an interrupted call goes on.
    workers : int, optional
        Trainings at a time, each in a process and, where there are GPUs, on one of its own; by
        default as many as there are GPUs.
    **options
        As of `denoisplit.train`; the preset is "paper" unless another is named.

    Raises
    ------
    InputError
        If files are missing or do not fit.
    """
    data, output = Path(data), Path(output)
    known, jobs = published(), list(jobs)
    scores = _earlier(output / TABLE, known)
    for name in dict.fromkeys(job.task for job in jobs):
        # all are looked for, and written where they are, before any training
        paths = images_of(TASKS[name], data, output / "images")
        if TASKS[name].real_noise:
            _against(TASKS[name], paths, data, output / "images")
    calls = [(job, data, output, options) for job in jobs]
    for (job, *_), (metrics, made) in finished(
        _result, calls, [job.name for job in jobs], workers_of(workers)
    ):
        for metric in METRIC_NAMES:
            key, value = (job, metric), metrics["mean"][metric]
            scores[key] = Score(*key, value["mean"], value["sem"], known.get(key), made)
        rows = [scores[key] for key in sorted(scores)]
        write_text(output / TABLE, as_csv(rows))
        write_text(output / "tables.md", as_markdown(rows))
    return [scores[key] for key in sorted(scores)]


def _earlier(path: Path, known: dict[tuple[Job, str], float]) -> dict[tuple[Job, str], Score]:
    """The numbers of earlier calls, which a table holds."""
    if not path.is_file():
        return {}
    try:
        scores = from_csv(path.read_text(encoding="utf-8"), known)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            where=path,
            found=f"no table of an earlier call ({type(error).__name__}: {error})",
            expected="such a one",
            remedy="move it away, or choose another output",
        ) from None
    return {(score.job, score.metric): score for score in scores}


def _result(
    job: Job, data: Path, output: Path, options: dict[str, Any]
) -> tuple[dict[str, Any], Made]:
    """Metrics of a job, and how it was made."""
    metrics = _metrics(job, data, output, options)
    run = output / job.name
    config = load_config(run)
    steps = _last(run / HISTORY, "step")
    return metrics, Made(
        config.facts.gaussian_sigma,
        hours_of(run),
        config.settings.preset,
        None if steps is None else int(steps),
    )


def hours_of(run: Path) -> float | None:
    """What the trainings of a run took, those of its denoisers too; None if it does not say."""
    histories = (run / HISTORY, *run.glob(f"{DENOISERS}/*/{HISTORY}"))
    found = [_last(path, "seconds") for path in histories]
    known = [value for value in found if value is not None]
    return sum(known) / 3600 if len(known) == len(found) else None


def _last(history: Path, column: str) -> float | None:
    """The last value of a training; None if its history does not say."""
    try:
        value = float(read_history(history)[column][-1])
    except (OSError, LookupError, ValueError):  # an earlier release, or a run that was copied
        return None
    return value if math.isfinite(value) else None


def _against(
    task: Task, paths: Mapping[str, Path], data: Path, cache: Path
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Test frames, and the truth that was recorded apart."""
    truth = {
        s.name: frames_to_test([data / s.truth], cache, task.split)
        for s in task.structures
        if s.truth
    }
    return {n: frames_to_test([path], cache, task.split) for n, path in paths.items()}, truth


def _metrics(job: Job, data: Path, output: Path, options: dict[str, Any]) -> dict[str, Any]:
    task = TASKS[job.task]
    cache = output / "images"
    paths = images_of(task, data, cache)
    run = output / job.name
    system = SYSTEMS[job.system]
    values: dict[str, Any] = {
        "preset": "paper",
        **options_of(job.system, options),
        "system": job.system,
    }
    values["prediction"] = {"judged_cell": CELL, **options.get("prediction", {})}
    values["data"] = {"split": task.split, "pairing": "in-order", **options.get("data", {})}
    if job.task == "T9" or (system.context and task.planes > BIOSR_PLANES):
        values["training"] = {**SHORT, **options.get("training", {})}
    if system.denoised and task.real_noise and values["preset"] != "small":
        values["denoiser"] = merged(REAL_NOISE_DENOISER, options.get("denoiser", {}))
    if system.context and not system.denoised:
        values["network"] = {"planes": task.planes, **options.get("network", {})}
        if task.planes > BIOSR_PLANES:
            values["objective"] = {"monitor": "psnr", **options.get("objective", {})}
    if job.poisson:
        values["synthetic_poisson"] = job.poisson
    if job.level:
        values["synthetic_gaussian"] = job.level
        sigma = (
            load_config(run).settings.data.gaussian_sigma
            if run.exists()
            else sigma_of(task, job.level, list(paths.values()))
        )
        values["data"]["gaussian_sigma"] = sigma
    trained = train({n: [p] for n, p in paths.items()}, run, resume=run.exists(), **values)
    if not task.real_noise:
        found: dict[str, Any] = read_json(trained.path / METRICS)
        return found
    # real noise: the truth was recorded apart
    against = run / "against_truth.json"
    if not against.is_file():
        test, truth = _against(task, paths, data, cache)
        samples = trained.config.settings.prediction.calibration_samples
        write_json(against, evaluate(trained, test, truth=truth, samples=samples))
    found = read_json(against)
    return found
