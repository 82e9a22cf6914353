"""Fig. S.1: PSNR with noise models from repeated shots (A), clean (B) and noisy images (C)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from denoisplit.commands.train import PathLike
from denoisplit.commands.train_several import Training, levels_of, train_each, with_level
from denoisplit.config.settings import RunConfig
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes, write_text
from denoisplit.files.json_file import read_json
from denoisplit.images import Files
from denoisplit.report.style import INKS, legend, new_figure, plain, png
from denoisplit.report.tables import cell, csv_text
from denoisplit.run import METRICS, load_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEM = "denoisplit"
LEVELS = (1.0, 1.5, 2.0, 4.0)
ROUTES = {"A": "simulated shots", "B": "clean images", "C": "noisy images alone"}
MARKERS = ("o", "s", "D")
PANEL = 3.4  # inches


class Score(NamedTuple):
    """PSNR of one structure in the test frames of one run, dB; ``sem`` where there are several."""

    level: float
    route: str
    structure: str
    psnr: float | None
    sem: float | None


def fig_s1(
    structures: Mapping[str, Files],
    output: PathLike,
    *,
    synthetic_gaussian: Sequence[float] = LEVELS,
    sigma: float | None = None,
    jobs: int | None = None,
    **options: Any,
) -> list[Score]:
    """Train with noise models by every route at every level of noise.

    Runs go to ``output/route-A-level-1.5`` and so on. Finished ones are not repeated, interrupted
    ones go on. At the end ``S1.csv`` and ``S1.png`` are written beside them.

    Parameters
    ----------
    structures : mapping of name to files
        Clean images of each structure.
    output : path
        Folder of all results.
    synthetic_gaussian : sequence of float
        Levels, in units of the pooled std of the training frames.
    sigma : float, optional
        That of level 1, raw intensity, in its place.
    jobs : int, optional
        Trainings at a time; by default as many as there are GPUs.
    **options
        As of `denoisplit.train`: ``synthetic_poisson``, ``preset``, ``seed``, ``max_steps``, ...

    Raises
    ------
    InputError
        For images or settings that do not fit, also to those of the runs that are there.
    """
    trainings = trainings_of_s1(
        structures, output, synthetic_gaussian=synthetic_gaussian, sigma=sigma, **options
    )
    train_each(trainings, jobs)
    scores = scores_of([training.run for training in trainings])
    write_text(Path(output) / "S1.csv", as_csv(scores))
    write_bytes(Path(output) / "S1.png", png(figure(scores)))
    return scores


def trainings_of_s1(
    structures: Mapping[str, Files],
    output: PathLike,
    *,
    synthetic_gaussian: Sequence[float] = LEVELS,
    sigma: float | None = None,
    **options: Any,
) -> list[Training]:
    """What `fig_s1` trains, with the same arguments and errors; nothing is read or written."""
    fit = options.pop("noise_model_fit", {})
    return [
        Training(
            Path(output) / f"route-{route}-level-{level:g}",
            structures,
            with_level(options, level, sigma) | {"noise_model_fit": {**fit, "route": route}},
            f"noise models from {ROUTES[route]}",
        )
        for level in levels_of(synthetic_gaussian)
        for route in ROUTES
    ]


def scores_of(folders: Sequence[Path]) -> list[Score]:
    """What finished runs of denoiSplit found in their own evaluations, in the order of the runs.

    Raises
    ------
    InputError
        For a run of another system, without a route to its noise models or without synthetic noise,
        runs of other structures, images or Poisson noise, or the same route and level twice.
    """
    scores: list[Score] = []
    first: tuple[Any, ...] = ()
    known: dict[tuple[str, float], Path] = {}
    for folder in folders:
        config = load_config(folder)
        key = _route_and_level(folder, config)
        if key in known:
            raise InputError(
                where=folder,
                found=f"route {key[0]} at level {key[1]:g}, as in {known[key]}",
                expected="each route once at every level",
                remedy="leave one of them out",
            )
        known[key] = folder
        first = first or _frames_of(config)
        if _frames_of(config) != first:
            raise InputError(
                where=folder,
                found=f"other structures, images or Poisson noise than in {folders[0]}",
                expected="runs that differ in route and level alone",
                remedy="choose others",
            )
        found = read_json(folder / METRICS)["structures"]
        scores += [
            Score(key[1], key[0], name, found[name]["psnr"]["mean"], found[name]["psnr"]["sem"])
            for name in config.settings.names
        ]
    return scores


def _route_and_level(folder: Path, config: RunConfig) -> tuple[str, float]:
    """Of the noise models of a run, and of its Gaussian noise."""
    settings, facts = config.settings, config.facts
    route, data = settings.noise_model_fit.route, settings.data
    given = [s.noise_model for s in settings.structures if s.noise_model]
    lacks = (
        f"a run of {SYSTEMS[settings.system].title}"
        if settings.system != SYSTEM
        else f"the noise model of {given[0]}"
        if given
        else f"noise models by route {route}"
        if route not in ROUTES
        else "no synthetic noise"
        if not (data.synthetic_poisson or facts.gaussian_sigma)
        else ""
    )
    if lacks:
        raise InputError(
            where=folder,
            found=lacks,
            expected="a run of denoiSplit with synthetic noise and noise_model_fit: "
            f"{{route: {' or '.join(ROUTES)}}}",
            remedy="choose another run",
        )
    # noise that was given in raw intensity has a level too
    return route, data.synthetic_gaussian or facts.gaussian_sigma / facts.pooled_std


def _frames_of(config: RunConfig) -> tuple[Any, ...]:
    """What all runs of the figure have in common."""
    settings, facts = config.settings, config.facts
    files = [[entry["sha256"] for entry in facts.fingerprints[name]] for name in settings.names]
    return settings.names, files, facts.held_out, settings.data.synthetic_poisson


def as_csv(scores: Sequence[Score]) -> str:
    """One line per run and structure."""
    return csv_text(Score._fields, scores)


def table(scores: Sequence[Score]) -> str:
    """PSNR in dB: a row per structure and level, a column per route."""
    names = _structures(scores)
    width = max(11, *(len(name) + 2 for name in names))
    lines = [f"{'PSNR (dB)':<{width}}{'level':>7}" + "".join(f"{f'route {r}':>16}" for r in ROUTES)]
    for name in names:
        for level in sorted({score.level for score in scores}):
            row = {s.route: s for s in scores if (s.structure, s.level) == (name, level)}
            cells = (cell({"mean": row[r].psnr, "sem": row[r].sem}, "psnr") for r in ROUTES)
            lines.append(f"{name:<{width}}{level:>7g}" + "".join(f"{text:>16}" for text in cells))
    return "\n".join(lines) + "\n"


def figure(scores: Sequence[Score]) -> Figure:
    """PSNR over the level of noise: a panel per structure, a line per route."""
    names = _structures(scores)
    levels = sorted({score.level for score in scores})
    ordered = sorted(scores, key=lambda score: score.level)
    # routes beside each other, or their error bars hide one another
    steps = [b - a for a, b in pairwise(levels)]
    apart = min(0.25 * min(steps), 0.03 * sum(steps)) if steps else 0.05
    drawn = new_figure(PANEL, max(PANEL, PANEL * len(names)) + 0.6)
    for place, name in enumerate(names, 1):
        axes = drawn.add_subplot(1, len(names), place)
        plain(axes, name, "level of Gaussian noise", "PSNR (dB)" if place == 1 else "")
        for k, (route, source) in enumerate(ROUTES.items()):
            line = [s for s in ordered if (s.structure, s.route) == (name, route)]
            if not line:
                continue
            axes.errorbar(
                [s.level + (k - 1) * apart for s in line],
                [float("nan") if s.psnr is None else s.psnr for s in line],
                yerr=[s.sem or 0.0 for s in line],
                color=INKS[k],
                marker=MARKERS[k],
                markersize=4,
                linewidth=1.6,
                capsize=2,
                label=f"{route}: {source}",
            )
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.margins(x=0.15)
        if place == 1:
            legend(axes)
    drawn.tight_layout()
    return drawn


def _structures(scores: Sequence[Score]) -> list[str]:
    return list(dict.fromkeys(score.structure for score in scores))
