"""Computed numbers beside those of the paper, with notes on what is uncertain; CSV and Markdown."""

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
    "the paper does not say in which units MS-SSIM was computed, or whether predictions were "
    "fitted to the truth first; here both are in raw units and nothing is fitted"
)
NOTE_NO_TARGET = (
    "the MS-SSIM of T9 in the paper mixes several ways of computing it, or repeats a value, so no "
    "difference is given. Here the truth of T9, which was recorded separately, is fitted to the "
    "noisy images by gain and offset"
)
NOTE_HOURS = (
    "Hours are the time spent in training loops, summed over the networks of a chain, from the "
    "shortest to the longest of the rows; the paper does not name its machine."
)
NOTE_PRESET = (
    "Presets other than paper have other network sizes and training settings: their numbers are a "
    "preview, not a reproduction."
)
NOTE_PAPER = (
    "As in the paper, rows and columns beyond the last multiple of 64 px are not evaluated (960 of "
    "the 1004 px of BioSR are). sigma is taken from Table S.3 if the standard deviation of the "
    "data is within 10 % of the published one, else it is the level times the standard deviation "
    "of the data at hand; tables.csv lists it."
)


class TaskRun(NamedTuple):
    """A training of the tables: a task, a system and the synthetic noise."""

    task: str
    system: str
    poisson: float  # factor
    level: float  # of Gaussian noise

    @property
    def name(self) -> str:
        """Run folder, relative to the folder of results."""
        return f"{self.task}/{self.system} poisson-{self.poisson:g} gaussian-{self.level:g}"


class TrainingRecord(NamedTuple):
    """How a run was trained."""

    sigma: float | None = None  # of the Gaussian noise, raw intensity
    hours: float | None = None
    preset: str = ""
    steps: int | None = None  # of the network that splits


NOT_RECORDED = TrainingRecord()


@dataclass(frozen=True)
class TableEntry:
    """A computed number beside the published one."""

    run: TaskRun
    metric: str
    value: float | None
    sem: float | None
    published: float | None
    training: TrainingRecord = NOT_RECORDED

    @property
    def comparable(self) -> bool:
        """Whether the published number can be compared with."""
        return (self.run.task, self.metric) != NO_TARGET

    @property
    def note(self) -> str:
        """What is uncertain about the published number."""
        doubts = [TASKS[self.run.task].doubt]
        if self.metric == "ms_ssim":
            doubts.append(NOTE_SSIM if self.comparable else NOTE_NO_TARGET)
        return "; ".join(doubt for doubt in doubts if doubt)

    @property
    def difference(self) -> float | None:
        """Computed minus published number; None if they cannot be compared."""
        if self.value is None or self.published is None or not self.comparable:
            return None
        return self.value - self.published


def published() -> dict[tuple[TaskRun, str], float]:
    """Return the numbers of the paper, by run and metric."""
    numbers = {}
    for row in (row for row in _paper_rows() if row["value"]):
        noise = (float(row[n] or 0) for n in ("poisson_factor", "gaussian_sigma_relative"))
        numbers[TaskRun(row["task"], row["system"], *noise), row["metric"]] = float(row["value"])
    return numbers


def published_hours() -> dict[tuple[str, str], float]:
    """Return the paper's hours of training, by task and system; it has them for T1 to T6."""
    return {
        (row["task"], row["system"]): float(row["training_hours"])
        for row in _paper_rows()
        if row["training_hours"]
    }


def _paper_rows() -> list[dict[str, str]]:
    text = (files("denoisplit.reproduction") / "paper.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    return [{**row, "system": PUBLISHED_NAMES.get(row["model"], row["model"])} for row in rows]


def as_csv(entries: Sequence[TableEntry]) -> str:
    """Return one line per number."""
    values = ("metric", "value", "sem", "published", "difference")
    columns = (*TaskRun._fields, *values, *TrainingRecord._fields, "published_hours", "note")
    hours = published_hours()
    rows = (
        (
            *e.run,
            *(getattr(e, value) for value in values),
            *e.training,
            hours.get((e.run.task, e.run.system)),
            e.note,
        )
        for e in entries
    )
    return csv_text(columns, rows)


def from_csv(text: str, known: Mapping[tuple[TaskRun, str], float]) -> list[TableEntry]:
    """Read the numbers that `as_csv` wrote, and add the published ones.

    Raises
    ------
    LookupError, TypeError, ValueError, OverflowError
        If the text is no such table.
    """
    entries = []
    for row in csv.DictReader(io.StringIO(text)):
        run = TaskRun(row["task"], row["system"], float(row["poisson"]), float(row["level"]))
        value, sem, sigma, hours, steps = (
            float(row[name]) if row.get(name) else None
            for name in ("value", "sem", "sigma", "hours", "steps")
        )
        if run.task not in TASKS or run.system not in SYSTEMS:
            raise ValueError(f"no task {run.task} or no system {run.system}")
        count = None if steps is None else int(steps)
        training = TrainingRecord(sigma, hours, row.get("preset") or "", count)
        key = (run, row["metric"])
        entries.append(TableEntry(*key, value, sem, known.get(key), training))
    return entries


def as_markdown(entries: Sequence[TableEntry]) -> str:
    """Return a table with the published numbers, and notes on them."""
    lines = [
        "| task | system | Poisson | level | metric | computed | paper | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for e in entries:
        digits = 2 if e.metric == "psnr" else 3
        value, sem, paper, difference = (
            "-" if number is None else f"{number:.{digits}f}"
            for number in (e.value, e.sem, e.published, e.difference)
        )
        run, doubt = e.run, "*" if TASKS[e.run.task].doubt else ""
        lines.append(
            f"| {run.task}{doubt} | {SYSTEMS[run.system].title} | {run.poisson:g} | {run.level:g} "
            f"| {e.metric} | {value}{'' if e.sem is None else f' ± {sem}'} "
            f"| {paper}{'' if e.comparable else '†'} | {difference} |"
        )
    notes = [f"\\* {doubt}." for doubt in doubts_of(e.run.task for e in entries)]
    if not all(e.comparable for e in entries):
        notes.append(f"† {NOTE_NO_TARGET}.")
    notes += [f"MS-SSIM: {NOTE_SSIM}.", NOTE_PAPER]
    return "\n".join([*lines, "", *notes, *_training_lines(entries)]) + "\n"


def _training_lines(entries: Sequence[TableEntry]) -> list[str]:
    """Return a table of presets, steps and hours of training, with the hours of the paper."""
    groups: dict[tuple[str, str], list[TrainingRecord]] = {}
    for e in entries:
        groups.setdefault((e.run.task, e.run.system), []).append(e.training)
    paper = published_hours()
    lines = [
        "",
        "| task | system | preset | steps | hours of training | paper |",
        "|---|---|---|---|---|---|",
    ]
    for (task, system), records in groups.items():
        presets = ", ".join(sorted({r.preset for r in records if r.preset})) or "-"
        steps = _span((r.steps for r in records), ".0f")
        hours = _span((r.hours for r in records), ".3g")
        published = _span([paper.get((task, system))], "g")
        lines.append(
            f"| {task} | {SYSTEMS[system].title} | {presets} | {steps} | {hours} | {published} |"
        )
    notes = [NOTE_HOURS]
    if any(e.training.preset not in ("", "paper") for e in entries):
        notes.append(NOTE_PRESET)
    return [*lines, "", *notes]


def _span(values: Iterable[float | None], form: str) -> str:
    """Return the smallest and the largest of the known values."""
    known = [value for value in values if value is not None]
    ends = (min(known), max(known)) if known else ()
    return " to ".join(dict.fromkeys(f"{value:{form}}" for value in ends)) or "-"
