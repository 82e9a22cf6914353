"""Every figure that the runs of a reproduction allow, and what the others lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from denoisplit.config.settings import RunConfig
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.report.style import png
from denoisplit.reproduction.fig_s2 import FOLDER as DENOISERS_OF_S2
from denoisplit.reproduction.fig_s2 import TASKS_OF_S2
from denoisplit.reproduction.figure_inputs import Subject, beside, subjects_of
from denoisplit.reproduction.paper_figures import (
    SAMPLES,
    fig_2,
    fig_3,
    fig_4,
    fig_calibration,
    fig_denoising,
    fig_noise_model,
    fig_s2,
    fig_s3,
    gif_of_samples,
)
from denoisplit.reproduction.table_rows import Job
from denoisplit.reproduction.tasks import TASKS, frames_to_test, images_of
from denoisplit.run import CALIBRATION, CONFIG, METRICS, WEIGHTS, load, load_config

FOLDER = "figures"
SHOWN = (1000.0, 1.5)  # Poisson factor and level of the paper's pictures
OURS, MUSPLIT, CHAIN = "denoisplit", "musplit", "hdn_musplit"

Content = Callable[[], bytes]


class Outcome(NamedTuple):
    """A figure, and why it is not there, or nothing."""

    path: Path
    lacks: str = ""

    def __str__(self) -> str:
        return f"{self.path}: not drawn, {self.lacks}" if self.lacks else f"{self.path}"


def write_figures(tasks: Iterable[str], data: str | Path, output: str | Path) -> str:
    """Draw the figures of tasks into ``output/figures``, from the runs that are finished.

    A figure that is newer than its runs is left as it is. Pictures show the Poisson factor 1000
    and the level 1.5 as in the paper, or, where that was not run, the noise that most systems have.

    Parameters
    ----------
    tasks : iterable of str
        "T1" to "T9".
    data, output : path
        Folders of the downloads and of the results.

    Returns
    -------
    str
        A line per figure, also of those that could not be drawn.
    """
    data, output = Path(data), Path(output)
    runs = finished_runs(output)
    found = []
    for name in dict.fromkeys(tasks):
        found += Album(name, data, output, runs).draw()
    found.append(_drawn_s2(output / FOLDER / "S2.png", runs, output))
    return "\nFigures\n" + "".join(f"- {outcome}\n" for outcome in found)


def finished_runs(output: Path) -> dict[Path, RunConfig]:
    """All finished runs below a folder."""
    found = {}
    for path in sorted(output.rglob(CONFIG)):
        if all((path.parent / name).is_file() for name in (WEIGHTS, CALIBRATION, METRICS)):
            try:
                found[path.parent] = load_config(path.parent)
            except InputError:
                continue  # something else of this name
    return found


class Album:
    """The figures of one task."""

    def __init__(self, name: str, data: Path, output: Path, runs: dict[Path, RunConfig]) -> None:
        self.name, self.data, self.output, self.runs = name, data, output, runs
        self.task = TASKS[name]
        self.noise = min(
            ((f, level) for f in self.task.poisson for level in self.task.levels),
            key=lambda noise: (
                -(self.folder(OURS, noise) in runs),
                noise != SHOWN,
                -sum(self.folder(system, noise) in runs for system in (MUSPLIT, CHAIN)),
                abs(noise[0] - SHOWN[0]),
                abs(noise[1] - SHOWN[1]),
            ),
        )

    def folder(self, system: str, noise: tuple[float, float] | None = None) -> Path:
        """Of the run of a system."""
        return self.output / Job(self.name, system, *(noise or self.noise)).name

    @cached_property
    def ours(self) -> Subject:
        """The run of denoiSplit on its test frames, or on these with the truth recorded apart."""
        run = load(self.folder(OURS))
        apart = {s.name: [self.data / s.truth] for s in self.task.structures if s.truth}
        if not apart:
            return subjects_of([run])[0]
        cache, rule = self.output / "images", self.task.split
        files = images_of(self.task, self.data, cache)
        return subjects_of(
            [run],
            {n: frames_to_test([path], cache, rule) for n, path in files.items()},
            {n: frames_to_test(paths, cache, rule) for n, paths in apart.items()},
        )[0]

    @property
    def samples(self) -> int:
        """Of the posterior, as the run itself was calibrated with."""
        config = self.runs.get(self.folder(OURS))
        return config.settings.prediction.calibration_samples if config else 0

    def draw(self) -> list[Outcome]:
        """All figures of the task."""
        most = 4 * self.samples  # 200 of 50
        of_one: dict[str, Content] = {
            "fig3.png": lambda: png(fig_3(self.ours, samples=self.samples)),
            "calibration.png": lambda: png(fig_calibration(self.ours, samples=self.samples)),
            "S3.png": lambda: png(fig_s3(self.ours, samples=[s for s in SAMPLES if s <= most])),
            "noise-model.png": lambda: png(fig_noise_model(self.ours.run)),
            "sampling.gif": lambda: gif_of_samples(self.ours, samples=self.samples),
        }
        return [
            self._together("fig2.png", MUSPLIT, lambda s: png(fig_2(s, samples=self.samples))),
            *(self._drawn(name, [self.folder(OURS)], make) for name, make in of_one.items()),
            self._together("fig4.png", CHAIN, lambda s: png(fig_4(s, samples=self.samples))),
            self._denoising(),
            self._routes(),
        ]

    def _together(
        self, file: str, other: str, make: Callable[[Sequence[Subject]], bytes]
    ) -> Outcome:
        """A figure of another system and ours."""
        folder = self.folder(other)
        return self._drawn(
            file,
            [self.folder(OURS), folder],
            lambda: make([beside(self.ours, load(folder)), self.ours]),
        )

    def _denoising(self) -> Outcome:
        config = self.runs.get(self.folder(OURS))
        target = self.output / FOLDER / f"{self.name}_denoising.png"
        if config is None:
            return Outcome(target, f"needs a finished run in {self.folder(OURS)}")
        folders = [_denoiser(self.runs, config, name) for name in config.settings.names]
        present = [folder for folder in folders if folder is not None]
        if len(present) < len(folders):
            return Outcome(
                target,
                "needs denoisers of its structures, which `denoisplit reproduce "
                f"{self.name} S2` trains",
            )
        return self._drawn(
            "denoising.png",
            present,
            lambda: png(
                fig_denoising(
                    [subjects_of([load(folder)])[0] for folder in present],
                    samples=self.samples,
                )
            ),
        )

    def _routes(self) -> Outcome:
        """Fig. S.1 lies beside its own runs."""
        target = self.output / "S1" / self.name / "S1.png"
        lacks = f"needs runs that `denoisplit reproduce {self.name} S1` trains"
        return Outcome(target, "" if target.is_file() else lacks)

    def _drawn(self, file: str, folders: Sequence[Path], make: Content) -> Outcome:
        return drawn(self.output / FOLDER / f"{self.name}_{file}", folders, self.runs, make)


def drawn(
    target: Path, folders: Sequence[Path], runs: dict[Path, RunConfig], make: Content
) -> Outcome:
    """Draw a figure, unless it is there already or lacks a run."""
    for folder in folders:
        if folder not in runs:
            return Outcome(target, f"needs a finished run in {folder}")
    newest = max((folder / METRICS).stat().st_mtime_ns for folder in folders)
    if target.is_file() and target.stat().st_mtime_ns > newest:
        return Outcome(target)
    try:
        content = make()
    except InputError as error:
        return Outcome(target, str(error))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, content)
    return Outcome(target)


def _drawn_s2(target: Path, runs: dict[Path, RunConfig], output: Path) -> Outcome:
    """Denoising against splitting, over all tasks of that figure."""
    split = {
        path: config
        for path, config in runs.items()
        if config.settings.system == OURS
        and path.parent.parent == output
        and path.parent.name in TASKS_OF_S2
    }
    factors = [config.settings.data.synthetic_poisson for config in split.values()]
    factor = SHOWN[0] if SHOWN[0] in factors else max(factors, key=factors.count, default=0.0)
    split = {
        path: config
        for path, config in split.items()
        if config.settings.data.synthetic_poisson == factor
    }
    alone = [
        path
        for path, config in runs.items()
        if path.parent == output / DENOISERS_OF_S2  # those of a chain may be trained otherwise
        and any(_denoises(config, c, n) for c in split.values() for n in c.settings.names)
    ]
    if not split or not alone:
        which = "denoiSplit on T1, T2 or T3" if not split else "denoisers of the structures"
        return Outcome(target, f"needs {which}, which `denoisplit reproduce S2` trains")
    folders = [*alone, *split]
    return drawn(target, folders, runs, lambda: png(fig_s2(folders)))


def _denoises(config: RunConfig, of: RunConfig, name: str) -> bool:
    """Whether a run denoises the images of a structure of another run, with its Poisson noise."""
    if config.settings.system != "hdn" or config.settings.names != (name,):
        return False
    prints = [[entry["sha256"] for entry in c.facts.fingerprints[name]] for c in (config, of)]
    factors = [c.settings.data.synthetic_poisson for c in (config, of)]
    return prints[0] == prints[1] and factors[0] == factors[1]


def _denoiser(runs: dict[Path, RunConfig], of: RunConfig, name: str) -> Path | None:
    """The denoiser of a structure whose Gaussian noise is nearest to that of another run."""
    fitting = [path for path, config in runs.items() if _denoises(config, of, name)]
    return min(
        fitting,
        key=lambda path: abs(runs[path].facts.gaussian_sigma - of.facts.gaussian_sigma),
        default=None,
    )
