"""Fig. S.1: PSNR with noise models from repeated shots (A), clean (B) and noisy images (C)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from denoisplit.config.settings import RunConfig
from denoisplit.config.systems import SYSTEMS
from denoisplit.errors import InputError
from denoisplit.evaluation.metrics import FrameAverage
from denoisplit.files.json_file import read_json
from denoisplit.reproduction.figure_inputs import image_hashes
from denoisplit.reproduction.level_figure import LevelFigure, LevelScore, Quantity, Variant
from denoisplit.reproduction.tasks import PAPER_LEVELS
from denoisplit.run import METRICS, load_config

SOURCES = {"A": "simulated shots", "B": "clean images", "C": "noisy images alone"}


def scores_of_routes(folders: Sequence[Path]) -> list[LevelScore]:
    """Return the PSNR that finished runs of denoiSplit measured in their own evaluations.

    Raises
    ------
    InputError
        For a run of another system, without a route to its noise models or without synthetic noise,
        runs of other structures, images or Poisson noise, or the same route and level twice.
    """
    scores: list[LevelScore] = []
    first: tuple[Any, ...] = ()
    shown: dict[tuple[float, str], Path] = {}
    for folder in folders:
        config = load_config(folder)
        level, route = _level_and_route(folder, config)
        if (level, route) in shown:
            raise InputError(
                f"route {route} at level {level:g} is already shown by {shown[level, route]}",
                where=folder,
                remedy="leave one of the two runs out",
            )
        shown[level, route] = folder
        first = first or _common(config)
        if _common(config) != first:
            raise InputError(
                f"structures, images or Poisson noise differ from those of {folders[0]}",
                where=folder,
                remedy="choose runs that differ only in route and level",
            )
        metrics = read_json(folder / METRICS)["structures"]
        scores += [
            LevelScore(level, route, name, {"psnr": FrameAverage(**metrics[name]["psnr"])})
            for name in config.settings.names
        ]
    return scores


def _level_and_route(folder: Path, config: RunConfig) -> tuple[float, str]:
    """Return the level of a run's Gaussian noise, and the route to its noise models."""
    settings, facts = config.settings, config.facts
    route, data = settings.noise_model_fit.route, settings.data
    given = [s.noise_model for s in settings.structures if s.noise_model]
    unfit = (
        f"a run of {SYSTEMS[settings.system].title}"
        if settings.system != "denoisplit"
        else f"the noise model of {given[0]}"
        if given
        else f"noise models by route {route}"
        if route not in SOURCES
        else "no synthetic noise"
        if not (data.synthetic_poisson or facts.gaussian_sigma)
        else ""
    )
    if unfit:
        raise InputError(
            where=folder,
            found=unfit,
            expected="a run of denoiSplit with synthetic noise and "
            f"noise_model_fit: {{route: {' or '.join(SOURCES)}}}",
        )
    # noise that was set in raw intensity has a level too
    return data.synthetic_gaussian or facts.gaussian_sigma / facts.pooled_std, route


def _common(config: RunConfig) -> tuple[Any, ...]:
    """Return what all runs of the figure have in common."""
    settings, held_out = config.settings, config.facts.held_out
    images = image_hashes(config, settings.names)
    return settings.names, images, held_out, settings.data.synthetic_poisson


FIG_S1 = LevelFigure(
    name="S1",
    compared="route",
    prefix="route-",
    corner="PSNR (dB)",
    levels=PAPER_LEVELS,
    above_zero=False,
    variants={
        route: Variant(f"{route}: {source}", f"route {route}", f"noise models from {source}")
        for route, source in SOURCES.items()
    },
    quantities=(Quantity("psnr", "sem", "PSNR (dB)"),),
    settings=lambda route, _: {"noise_model_fit": {"route": route}},
    measure=scores_of_routes,
    side_by_side=True,
)
