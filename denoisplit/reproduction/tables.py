"""The tables of the paper, computed anew and laid beside the published numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from denoisplit.atomic import write_json, write_text
from denoisplit.commands.evaluate import evaluate
from denoisplit.commands.train import train
from denoisplit.errors import InputError
from denoisplit.progress import logger
from denoisplit.reproduction.tasks import TASKS, frames_to_test, images_of
from denoisplit.run import METRICS, read_json
from denoisplit.systems import SPLITTING, SYSTEMS

PathLike = str | Path

BIOSR_PLANES = 3
TABLE = "tables.csv"
PUBLISHED_NAMES = {"denoiSplit": "denoisplit"}
METRIC_NAMES = ("psnr", "ms_ssim")
NOTE_SSIM = (
    "The paper does not say whether MS-SSIM was computed before or after scale and offset were "
    "fitted; ours is without a fit."
)
NOTE_HDN = (
    "HDN(+)muSplit is not computed. Otherwise than in the paper: sigma is the level times the "
    "standard deviation of the data at hand, not rounded; whole frames are judged, with the strip "
    "that the published prediction left out; muSplit is monitored by its loss."
)


class Job(NamedTuple):
    """One training of the tables."""

    task: str
    system: str
    poisson: float
    level: float

    @property
    def name(self) -> str:
        """Its run folder, below that of the results."""
        return f"{self.task}/{self.system} poisson-{self.poisson:g} gaussian-{self.level:g}"


@dataclass(frozen=True)
class Score:
    """One computed number beside the published one."""

    job: Job
    metric: str
    value: float | None
    sem: float | None
    published: float | None

    @property
    def difference(self) -> float | None:
        """Computed less published."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published


def jobs_of(
    tasks: Sequence[str], systems: Sequence[str], poisson: Sequence[float] | None,
    levels: Sequence[float] | None,
) -> list[Job]:  # fmt: skip
    """All trainings of some rows of the tables.

    Raises
    ------
    InputError
        For a task, a system or a noise that the tables do not have.
    """
    found = []
    for name in tasks:
        if name not in TASKS:
            raise InputError("reproduce", name, f"some of {', '.join(TASKS)}", "choose others")
        task = TASKS[name]
        for system in systems:
            if system not in SPLITTING:
                raise InputError(
                    "--system", system, f"some of {', '.join(SPLITTING)}", "choose others"
                )
            found += [
                Job(name, system, f, level)
                for f in task.poisson if poisson is None or f in poisson
                for level in task.levels if levels is None or level in levels or not level
            ]  # fmt: skip
    if not found:
        raise InputError(
            "reproduce", "no row of the tables with this noise",
            "Poisson 0 or 1000 and levels 1, 1.5, 2, 4", "choose others",
        )  # fmt: skip
    return found


def published() -> dict[tuple[Job, str], float]:
    """The numbers of the paper, by job and metric."""
    text = (files("denoisplit.reproduction") / "paper.csv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        if not row["value"]:
            continue
        system = PUBLISHED_NAMES.get(row["model"], row["model"])
        job = Job(
            row["task"], system, float(row["poisson_factor"] or 0),
            float(row["gaussian_sigma_relative"] or 0),
        )  # fmt: skip
        found[job, row["metric"]] = float(row["value"])
    return found


def run_jobs(jobs: Iterable[Job], data: PathLike, output: PathLike, **options: Any) -> list[Score]:
    """Train what is not there yet, one after another, and write the tables anew after each.

    Parameters
    ----------
    jobs : iterable of Job
    data : path
        Folder of downloads.
    output : path
        Folder of the runs and tables; an interrupted call goes on.
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
        images_of(TASKS[name], data, output / "images")  # all are looked for before any training
    for number, job in enumerate(jobs, start=1):
        logger.info("job %d of %d: %s", number, len(jobs), job.name)
        found = _metrics(job, data, output, options)["mean"]
        for metric in METRIC_NAMES:
            key, value = (job, metric), found[metric]
            scores[key] = Score(*key, value["mean"], value["sem"], known.get(key))
        rows = [scores[key] for key in sorted(scores)]
        write_text(output / TABLE, as_csv(rows))
        write_text(output / "tables.md", as_markdown(rows))
    return [scores[key] for key in sorted(scores)]


def _earlier(path: Path, known: dict[tuple[Job, str], float]) -> dict[tuple[Job, str], Score]:
    """The numbers of earlier calls, which a table holds."""
    found = {}
    if path.is_file():
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
            job = Job(row["task"], row["system"], float(row["poisson"]), float(row["level"]))
            value, sem = (float(row[key]) if row[key] else None for key in ("value", "sem"))
            key = (job, row["metric"])
            found[key] = Score(*key, value, sem, known.get(key))
    return found


def _metrics(job: Job, data: Path, output: Path, options: dict[str, Any]) -> dict[str, Any]:
    task = TASKS[job.task]
    cache = output / "images"
    paths = images_of(task, data, cache)
    run = output / job.name
    values: dict[str, Any] = {"preset": "paper", **options, "system": job.system}
    values["data"] = {"split": task.split, "pairing": "in-order", **options.get("data", {})}
    if job.task == "T9" or (SYSTEMS[job.system].context and task.planes > BIOSR_PLANES):
        schedule = {"plateau_patience": 15, "early_stop_patience": 100, "max_epochs": 200}
        values["training"] = {**schedule, **options.get("training", {})}
    if SYSTEMS[job.system].context:
        values["network"] = {"planes": task.planes, **options.get("network", {})}
    if job.poisson:
        values["synthetic_poisson"] = job.poisson
    if job.level:
        values["synthetic_gaussian"] = job.level
    trained = train({n: [p] for n, p in paths.items()}, run, resume=run.exists(), **values)
    if not task.structures[0].truth:
        found: dict[str, Any] = read_json(trained.path / METRICS)
        return found
    # real noise: the truth was recorded apart
    against = run / "against_truth.json"
    if not against.is_file():
        truth = {
            s.name: frames_to_test([data / s.truth], cache, task.split)
            for s in task.structures if s.truth
        }  # fmt: skip
        test = {s.name: frames_to_test([paths[s.name]], cache, task.split) for s in task.structures}
        samples = trained.config.settings.prediction.calibration_samples
        write_json(against, evaluate(trained, test, truth=truth, samples=samples))
    found = read_json(against)
    return found


def as_csv(scores: Sequence[Score]) -> str:
    """One line per number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*Job._fields, "metric", "value", "sem", "published", "difference"))
    for s in scores:
        writer.writerow((*s.job, s.metric, s.value, s.sem, s.published, s.difference))
    return text.getvalue()


def as_markdown(scores: Sequence[Score]) -> str:
    """A table with the published numbers and what to doubt about them."""
    lines = [
        "| task | system | Poisson | level | metric | computed | paper | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in scores:
        digits = 2 if s.metric == "psnr" else 3

        def text(value: float | None, digits: int = digits) -> str:
            return "-" if value is None else f"{value:.{digits}f}"

        value = text(s.value) + (f" ± {text(s.sem)}" if s.sem is not None else "")
        title = SYSTEMS[s.job.system].title
        mark = "*" if TASKS[s.job.task].doubt else ""
        lines.append(
            f"| {s.job.task}{mark} | {title} | {s.job.poisson:g} | {s.job.level:g} | {s.metric} "
            f"| {value} | {text(s.published)} | {text(s.difference)} |"
        )
    doubts = dict.fromkeys(TASKS[s.job.task].doubt for s in scores)
    notes = [f"\\* {doubt}." for doubt in doubts if doubt]
    return "\n".join([*lines, "", *notes, NOTE_SSIM, NOTE_HDN]) + "\n"
