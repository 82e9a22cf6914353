"""All figures that the runs of a reproduction allow, and the reasons for those that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from denoisplit.config.settings import RunConfig
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.report.style import png
from denoisplit.reproduction.fig_s2 import DENOISER_RUNS, TASKS_OF_S2
from denoisplit.reproduction.figure import DRAW, MEASURED
from denoisplit.reproduction.figure_inputs import FigureInput, View, image_hashes, inputs_of
from denoisplit.reproduction.paper_figures import fig_noise_model
from denoisplit.reproduction.table_rows import TaskRun
from denoisplit.reproduction.tasks import TASKS, images_of, noisy_test_frames
from denoisplit.run import CALIBRATION, CONFIG, METRICS, WEIGHTS, load, load_config

FIGURE_FOLDER = "figures"
PICTURED = (1000.0, 1.5)  # Poisson factor and level of the paper's pictures
OURS, MUSPLIT, CHAIN = "denoisplit", "musplit", "hdn_musplit"

Runs = dict[Path, RunConfig]
Content = Callable[[], bytes]


class Outcome(NamedTuple):
    """The file of a figure, and the reason if it could not be drawn."""

    path: Path
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.path}: not drawn, {self.reason}" if self.reason else f"{self.path}"


def write_figures(tasks: Iterable[str], data: str | Path, output: str | Path) -> str:
    """Draw the figures of tasks into ``output/figures`` from the finished runs.

    A figure that is newer than its runs is kept. Pictures show Poisson factor 1000 and level 1.5 as
    in the paper or, if that was not trained, the noise that most systems were trained with.

    Parameters
    ----------
    tasks : iterable of str
        "T1" to "T9".
    data, output : path
        Folders of the downloads and of the results.

    Returns
    -------
    str
        A line per figure, including those that could not be drawn.
    """
    data, output = Path(data), Path(output)
    runs = finished_runs(output)
    outcomes = []
    for name in dict.fromkeys(tasks):
        outcomes += TaskFigures(name, data, output, runs).draw()
    outcomes.append(_draw_s2(output / FIGURE_FOLDER / "S2.png", runs, output))
    return "\nFigures\n" + "".join(f"- {outcome}\n" for outcome in outcomes)


def finished_runs(output: Path) -> Runs:
    """Return the finished runs in a folder and below, with their configurations."""
    runs = {}
    for path in sorted(output.rglob(CONFIG)):
        if all((path.parent / name).is_file() for name in (WEIGHTS, CALIBRATION, METRICS)):
            try:
                runs[path.parent] = load_config(path.parent)
            except InputError:
                continue  # another file of this name
    return runs


class TaskFigures:
    """The figures of one task."""

    def __init__(self, name: str, data: Path, output: Path, runs: Runs) -> None:
        self.name, self.data, self.output, self.runs = name, data, output, runs
        self.task = TASKS[name]
        self.noise = min(
            self.task.noises,
            key=lambda noise: (
                -(self.folder(OURS, noise) in runs),
                noise != PICTURED,
                -sum(self.folder(system, noise) in runs for system in (MUSPLIT, CHAIN)),
                abs(noise[0] - PICTURED[0]),
                abs(noise[1] - PICTURED[1]),
            ),
        )

    def folder(self, system: str, noise: tuple[float, float] | None = None) -> Path:
        """Return the run folder of a system."""
        return self.output / TaskRun(self.name, system, *(noise or self.noise)).name

    @cached_property
    def ours(self) -> FigureInput:
        """The run of denoiSplit on its test frames; with the truth if that was recorded apart."""
        run = load(self.folder(OURS))
        if not self.task.real_noise:
            return inputs_of([run])[0]
        cache = self.output / "images"
        files = images_of(self.task, self.data, cache)
        return inputs_of([run], *noisy_test_frames(self.task, files, self.data, cache))[0]

    def draw(self) -> list[Outcome]:
        """Draw all figures of the task."""
        config = self.runs.get(self.folder(OURS))
        # samples as in the calibration of the run itself
        samples = config.settings.prediction.calibration_samples if config else 50
        view, most = View(samples=samples), View(samples=4 * samples)
        of_one: dict[str, Content] = {
            "fig3.png": lambda: DRAW["3"]([self.ours], view),
            "calibration.png": lambda: DRAW["calibration"]([self.ours], view),
            "S3.png": lambda: DRAW["S3"]([self.ours], most),
            "noise-model.png": lambda: png(fig_noise_model(self.ours.run)),
            "sampling.gif": lambda: DRAW["sampling"]([self.ours], view),
        }
        return [
            self._draw_pair("2", MUSPLIT, view),
            *(self._draw(name, [self.folder(OURS)], make) for name, make in of_one.items()),
            self._draw_pair("4", CHAIN, view),
            self._draw_denoising(view),
            self._find_s1(),
        ]

    def _draw_pair(self, kind: str, system: str, view: View) -> Outcome:
        """Draw a figure of another system and ours."""
        ours, other = self.folder(OURS), self.folder(system)

        def content() -> bytes:
            return DRAW[kind]([self.ours.with_run(load(other)), self.ours], view)

        return self._draw(f"fig{kind}.png", [ours, other], content)

    def _draw_denoising(self, view: View) -> Outcome:
        target = self._target("denoising.png")
        config = self.runs.get(self.folder(OURS))
        if config is None:
            return Outcome(target, f"needs a finished run in {self.folder(OURS)}")
        nearest = [_nearest_denoiser(self.runs, config, name) for name in config.settings.names]
        folders = [folder for folder in nearest if folder is not None]
        if len(folders) < len(nearest):
            command = f"`denoisplit reproduce {self.name} S2`"
            return Outcome(target, f"needs denoisers of its structures, which {command} trains")
        return self._draw(
            "denoising.png",
            folders,
            lambda: DRAW["denoising"]([inputs_of([load(run)])[0] for run in folders], view),
        )

    def _find_s1(self) -> Outcome:
        """Return Fig. S.1, which lies beside its own runs."""
        target = self.output / "S1" / self.name / "S1.png"
        reason = f"needs runs that `denoisplit reproduce {self.name} S1` trains"
        return Outcome(target, "" if target.is_file() else reason)

    def _target(self, file: str) -> Path:
        return self.output / FIGURE_FOLDER / f"{self.name}_{file}"

    def _draw(self, file: str, folders: Sequence[Path], make: Content) -> Outcome:
        return _draw_from(folders, self.runs, self._target(file), make)


def _draw_from(folders: Sequence[Path], runs: Runs, target: Path, make: Content) -> Outcome:
    """Draw a figure from runs, unless it is up to date or one of them is not finished."""
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


def _draw_s2(target: Path, runs: Runs, output: Path) -> Outcome:
    """Draw denoising against splitting, over all tasks of that figure."""
    ours = {
        path: config
        for path, config in runs.items()
        if config.settings.system == OURS and path.parent in (output / t for t in TASKS_OF_S2)
    }
    factors = [_poisson(config) for config in ours.values()]
    factor = PICTURED[0] if PICTURED[0] in factors else max(factors, key=factors.count, default=0.0)
    split = {path: config for path, config in ours.items() if _poisson(config) == factor}
    alone = [
        path
        for path, config in runs.items()
        if path.parent == output / DENOISER_RUNS  # those of a chain may be trained differently
        and any(_denoises(config, c, n) for c in split.values() for n in c.settings.names)
    ]
    if not split or not alone:
        missing = "denoiSplit on T1, T2 or T3" if not split else "denoisers of the structures"
        return Outcome(target, f"needs {missing}, which `denoisplit reproduce S2` trains")
    folders = [*alone, *split]
    return _draw_from(folders, runs, target, lambda: MEASURED["S2"](folders))


def _poisson(config: RunConfig) -> float:
    return config.settings.data.synthetic_poisson


def _denoises(config: RunConfig, other: RunConfig, name: str) -> bool:
    """Return whether a run denoises a structure of another: same images and Poisson noise."""
    if config.settings.system != "hdn" or config.settings.names != (name,):
        return False
    same_images = image_hashes(config, [name]) == image_hashes(other, [name])
    return same_images and _poisson(config) == _poisson(other)


def _nearest_denoiser(runs: Runs, other: RunConfig, name: str) -> Path | None:
    """Return the denoiser of a structure with Gaussian noise closest to that of another run."""
    sigma = other.facts.gaussian_sigma
    return min(
        (path for path, config in runs.items() if _denoises(config, other, name)),
        key=lambda path: abs(runs[path].facts.gaussian_sigma - sigma),
        default=None,
    )
