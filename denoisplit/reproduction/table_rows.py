"""Computed numbers beside those of the paper, and the doubts about them, as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from denoisplit.config.systems import SYSTEMS
from denoisplit.report.tables import csv_text
from denoisplit.reproduction.tasks import TASKS, doubts_of

PUBLISHED_NAMES = {"denoiSplit": "denoisplit"}
METRIC_NAMES = ("psnr", "ms_ssim")
NO_TARGET = ("T9", "ms_ssim")
NOTE_SSIM = (
    "the paper does not say in which units MS-SSIM was computed, and whether after a fit; here "
    "prediction and truth are in raw units, and neither is fitted to the other"
)
NOTE_NO_TARGET = (
    "the MS-SSIM of T9 in the paper mixes several ways to compute it, or repeats a value: it is no "
    "target, and no difference is given. Here the truth of T9, which was recorded apart, is "
    "brought to the units of the noisy images by gain and offset"
)
NOTE_HOURS = (
    "Hours are those of the training loops, all networks of a chain together, from the least to "
    "the most over the rows; the paper does not say on which machine."
)
NOTE_PRESET = (
    "Networks of another preset than paper have other sizes and another training: a quick look, "
    "and no reproduction."
)
NOTE_PAPER = (
    "As in the paper, rows and columns after the last multiple of 64 are not judged (of 1004 px of "
    "BioSR 960 are). sigma is that of Table S.3 for data whose standard deviation is within "
    "10 % of the published one, else the level times the standard deviation of the data at hand; "
    "tables.csv holds it."
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


class Made(NamedTuple):
    """How the training of a job was done."""

    sigma: float | None = None  # of the Gaussian noise, raw intensity
    hours: float | None = None
    preset: str = ""
    steps: int | None = None  # of the network that splits


NOT_SAID = Made()


@dataclass(frozen=True)
class Score:
    """One computed number beside the published one."""

    job: Job
    metric: str
    value: float | None
    sem: float | None
    published: float | None
    made: Made = NOT_SAID

    @property
    def comparable(self) -> bool:
        """Whether the published number is one to aim at."""
        return (self.job.task, self.metric) != NO_TARGET

    @property
    def note(self) -> str:
        """What to doubt about the published number."""
        doubts = [TASKS[self.job.task].doubt]
        if self.metric == "ms_ssim":
            doubts.append(NOTE_SSIM if self.comparable else NOTE_NO_TARGET)
        return "; ".join(doubt for doubt in doubts if doubt)

    @property
    def difference(self) -> float | None:
        """Computed less published; none where that would be no comparison."""
        if self.value is None or self.published is None or not self.comparable:
            return None
        return self.value - self.published


def published() -> dict[tuple[Job, str], float]:
    """The numbers of the paper, by job and metric."""
    found = {}
    for row in _rows():
        if not row["value"]:
            continue
        job = Job(
            row["task"],
            _system(row),
            float(row["poisson_factor"] or 0),
            float(row["gaussian_sigma_relative"] or 0),
        )
        found[job, row["metric"]] = float(row["value"])
    return found


def published_hours() -> dict[tuple[str, str], float]:
    """Hours of training in the paper, by task and system; it has them for T1 to T6."""
    return {
        (row["task"], _system(row)): float(row["training_hours"])
        for row in _rows()
        if row["training_hours"]
    }


def _rows() -> list[dict[str, str]]:
    text = (files("denoisplit.reproduction") / "paper.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def _system(row: Mapping[str, str]) -> str:
    return PUBLISHED_NAMES.get(row["model"], row["model"])


def as_csv(scores: Sequence[Score]) -> str:
    """One line per number."""
    columns = (
        *Job._fields,
        "metric",
        "value",
        "sem",
        "published",
        "difference",
        *Made._fields,
        "published_hours",
        "note",
    )
    hours = published_hours()
    return csv_text(
        columns,
        (
            (
                *s.job,
                s.metric,
                s.value,
                s.sem,
                s.published,
                s.difference,
                *s.made,
                hours.get((s.job.task, s.job.system)),
                s.note,
            )
            for s in scores
        ),
    )


def from_csv(text: str, known: Mapping[tuple[Job, str], float]) -> list[Score]:
    """What `as_csv` wrote, beside published numbers.

    Raises
    ------
    LookupError, TypeError, ValueError, OverflowError
        For another text.
    """
    found = []
    for row in csv.DictReader(io.StringIO(text)):
        job = Job(row["task"], row["system"], float(row["poisson"]), float(row["level"]))
        value, sem, sigma, hours, steps = (
            float(row[name]) if row.get(name) else None
            for name in ("value", "sem", "sigma", "hours", "steps")
        )
        if job.task not in TASKS or job.system not in SYSTEMS:
            raise ValueError(f"no task {job.task} or no system {job.system}")
        made = Made(sigma, hours, row.get("preset") or "", None if steps is None else int(steps))
        key = (job, row["metric"])
        found.append(Score(*key, value, sem, known.get(key), made))
    return found


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
            f"| {value} | {text(s.published)}{'' if s.comparable else '†'} | {text(s.difference)} |"
        )
    notes = [f"\\* {doubt}." for doubt in doubts_of(s.job.task for s in scores)]
    if not all(s.comparable for s in scores):
        notes.append(f"† {NOTE_NO_TARGET}.")
    notes += [f"MS-SSIM: {NOTE_SSIM}.", NOTE_PAPER]
    return "\n".join([*lines, "", *notes, *_trainings(scores)]) + "\n"


def _trainings(scores: Sequence[Score]) -> list[str]:
    """A table of how the networks were trained, and the hours of it in the paper."""
    groups: dict[tuple[str, str], list[Made]] = {}
    for s in scores:
        groups.setdefault((s.job.task, s.job.system), []).append(s.made)
    paper = published_hours()
    lines = [
        "",
        "| task | system | preset | steps | hours of training | paper |",
        "|---|---|---|---|---|---|",
    ]
    for (task, system), made in groups.items():
        presets = ", ".join(sorted({m.preset for m in made if m.preset})) or "-"
        there = f"{paper[task, system]:g}" if (task, system) in paper else "-"
        steps = _ends((m.steps for m in made), ".0f")
        hours = _ends((m.hours for m in made), ".3g")
        lines.append(
            f"| {task} | {SYSTEMS[system].title} | {presets} | {steps} | {hours} | {there} |"
        )
    notes = [NOTE_HOURS]
    if any(s.made.preset not in ("", "paper") for s in scores):
        notes.append(NOTE_PRESET)
    return [*lines, "", *notes]


def _ends(values: Iterable[float | None], form: str) -> str:
    """The least and the most of those that are known."""
    known = [value for value in values if value is not None]
    ends = (min(known), max(known)) if known else ()
    return " to ".join(dict.fromkeys(f"{value:{form}}" for value in ends)) or "-"
