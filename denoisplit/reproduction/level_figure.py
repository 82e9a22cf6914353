"""Figures of the paper that train on the same images at several levels of Gaussian noise.

`denoisplit.reproduction.fig_s1` compares the routes to a noise model, `fig_eq` the forms of the KL.
Both have one run per level and variant, and a table, a CSV file and a plot of the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from denoisplit.commands.train import PathLike
from denoisplit.commands.train_several import Training, train_each
from denoisplit.config.presets import merged
from denoisplit.errors import InputError
from denoisplit.evaluation.metrics import FrameAverage
from denoisplit.files.atomic import write_bytes, write_text
from denoisplit.images import Files
from denoisplit.report.style import legend, new_figure, plain, png
from denoisplit.report.tables import cell, csv_text
from denoisplit.reproduction.drawing.paper_plots import PANEL, line_with_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Variant(NamedTuple):
    """One of the compared trainings, as it is named in the plot, the table and a dry run."""

    legend: str
    column: str
    about: str


class Quantity(NamedTuple):
    """A measured quantity, and how tables and plots show it."""

    name: str  # key of the scores, column of the CSV file
    sem: str  # column of its standard error
    label: str  # of the axis
    column: str = ""  # before the name of the variant in the table
    percent: bool = False

    def text(self, score: FrameAverage) -> str:
        """Return the cell of a table."""
        if not self.percent:
            return cell(score.as_dict(), "psnr")
        return "-" if score.mean is None else f"{100 * score.mean:.1f} %"


class LevelScore(NamedTuple):
    """Scores of one structure in the test frames of one run, by the name of the quantity."""

    level: float
    variant: str
    structure: str
    scores: Mapping[str, FrameAverage]


@dataclass(frozen=True)
class LevelFigure:
    """A figure over the level of noise, with trainings of its own."""

    name: str  # the files are {name}.csv and {name}.png
    compared: str  # what the variants are, a column of the CSV file
    prefix: str  # of the run folders, {prefix}{variant}-level-{level}
    corner: str  # head of the first column of the table
    levels: tuple[float, ...]  # of Gaussian noise if the caller names none
    above_zero: bool  # whether a level of 0 is refused
    variants: Mapping[str, Variant]
    quantities: tuple[Quantity, ...]
    settings: Callable[[str, int], dict[str, Any]]  # from a variant and the number of structures
    measure: Callable[[Sequence[Path]], list[LevelScore]]  # from the folders of finished runs
    side_by_side: bool = False  # variants beside each other, so that no error bar hides another

    def run(
        self,
        structures: Mapping[str, Files],
        output: PathLike,
        *,
        jobs: int | None = None,
        **options: Any,
    ) -> list[LevelScore]:
        """Train every variant at every level; write the scores as CSV and as a plot.

        Finished runs are kept, interrupted ones resume.

        Parameters
        ----------
        structures : mapping of name to files
            Clean images of each structure.
        output : path
            Folder of the runs and of the results.
        jobs : int, optional
            Trainings at a time; by default as many as there are GPUs.
        **options
            As for `trainings`.

        Raises
        ------
        InputError
            For unusable images or settings, or if they differ from those of existing runs.
        """
        trainings = self.trainings(structures, output, **options)
        train_each(trainings, jobs)
        scores = self.measure([training.run for training in trainings])
        write_text(Path(output) / f"{self.name}.csv", self.csv(scores))
        write_bytes(Path(output) / f"{self.name}.png", png(self.draw(scores)))
        return scores

    def trainings(
        self,
        structures: Mapping[str, Files],
        output: PathLike,
        *,
        synthetic_gaussian: Sequence[float] | None = None,
        sigma: float | None = None,
        **options: Any,
    ) -> list[Training]:
        """List the trainings of the figure; nothing is read or written.

        Parameters
        ----------
        structures, output
            As for `run`.
        synthetic_gaussian : sequence of float, optional
            Levels, in units of the pooled std of the training frames.
        sigma : float, optional
            Standard deviation of the noise of level 1 in place of that unit, raw intensity.
        **options
            As for `denoisplit.train`: ``synthetic_poisson``, ``preset``, ``seed``, ...
        """
        levels = self.levels if synthetic_gaussian is None else synthetic_gaussian
        settings = {key: self.settings(key, len(structures)) for key in self.variants}
        return [
            Training(
                Path(output) / f"{self.prefix}{key}-level-{level:g}",
                structures,
                merged(_with_level(options, level, sigma), settings[key]),
                variant.about,
            )
            for level in _levels_of(levels, above_zero=self.above_zero)
            for key, variant in self.variants.items()
        ]

    def csv(self, scores: Sequence[LevelScore]) -> str:
        """Return one line per run and structure."""
        columns = [column for q in self.quantities for column in (q.name, q.sem)]
        rows = (
            (*s[:3], *(v for q in self.quantities for v in s.scores[q.name].as_dict().values()))
            for s in scores
        )
        return csv_text(("level", self.compared, "structure", *columns), rows)

    def table(self, scores: Sequence[LevelScore]) -> str:
        """Return a text table: a row per structure and level, a column per variant."""
        columns = [(q, key) for q in self.quantities for key in self.variants]
        heads = [q.column + self.variants[key].column for q, key in columns]
        rows = [[self.corner, "level", *heads]]
        by_run = {(s.structure, s.level, s.variant): s.scores for s in scores}
        for name in structures_of(scores):
            for level in levels_in(scores):
                texts = [q.text(by_run[name, level, key][q.name]) for q, key in columns]
                rows.append([name, f"{level:g}", *texts])
        width = max(11, *(len(name) + 2 for name in structures_of(scores)))
        return "".join(
            f"{name:<{width}}{level:>7}" + "".join(f"{text:>16}" for text in texts) + "\n"
            for name, level, *texts in rows
        )

    def draw(self, scores: Sequence[LevelScore]) -> Figure:
        """Draw every quantity over the level: a column per structure, a line per variant."""
        names, levels, rows = structures_of(scores), levels_in(scores), len(self.quantities)
        shift = _shift(levels) if self.side_by_side else 0.0
        figure = new_figure(PANEL * rows, PANEL * len(names) + 0.6)
        for column, name in enumerate(names):
            for row, quantity in enumerate(self.quantities):
                axes = figure.add_subplot(rows, len(names), row * len(names) + column + 1)
                below = "level of Gaussian noise" if row == rows - 1 else ""
                plain(axes, "" if row else name, below, "" if column else quantity.label)
                self._draw_lines(axes, name, quantity, scores, shift)
                axes.set_xticks(levels, [f"{level:g}" for level in levels])
                axes.margins(x=0.15)
                if row == column == 0:
                    legend(axes)
        figure.tight_layout()
        return figure

    def _draw_lines(
        self, axes: Any, name: str, quantity: Quantity, scores: Sequence[LevelScore], shift: float
    ) -> None:
        factor = 100.0 if quantity.percent else 1.0
        for k, (key, variant) in enumerate(self.variants.items()):
            line = [s for s in scores if (s.structure, s.variant) == (name, key)]
            if not line:
                continue
            line.sort(key=lambda score: score.level)
            x = [s.level + (k - (len(self.variants) - 1) / 2) * shift for s in line]
            values = [s.scores[quantity.name] for s in line]
            y = [float("nan") if v.mean is None else factor * v.mean for v in values]
            sem = [factor * (v.sem or 0.0) for v in values]
            line_with_errors(axes, k, x, y, sem, variant.legend)
        if quantity.percent:
            axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)


def structures_of(scores: Sequence[LevelScore]) -> list[str]:
    """Return the structures in their order."""
    return list(dict.fromkeys(score.structure for score in scores))


def levels_in(scores: Sequence[LevelScore]) -> list[float]:
    """Return the levels, ascending."""
    return sorted({score.level for score in scores})


def _shift(levels: Sequence[float]) -> float:
    """Return the distance between variants of one level, in units of the axis."""
    steps = [b - a for a, b in pairwise(levels)]
    return min(0.25 * min(steps), 0.03 * sum(steps)) if steps else 0.05


def _levels_of(given: Sequence[float], *, above_zero: bool = False) -> list[float]:
    """Return the distinct levels of Gaussian noise in ascending order.

    Raises
    ------
    InputError
        If there is none, or one of 0 that must be above 0.
    """
    levels = sorted({float(level) for level in given})
    if not levels or (above_zero and levels[0] <= 0):
        raise InputError(
            where="synthetic_gaussian",
            found=f"the levels {levels}",
            expected="one or more" + (", all above 0" if above_zero else ""),
            remedy="choose others",
        )
    return levels


def _with_level(options: Mapping[str, Any], level: float, sigma: float | None) -> dict[str, Any]:
    """Return options of a training with a level of Gaussian noise.

    ``sigma`` is the standard deviation at level 1, raw intensity; by default that of the images.
    """
    fixed = {} if sigma is None else {"data": {"gaussian_sigma": level * sigma}}
    return merged({**options, "synthetic_gaussian": level}, fixed)
