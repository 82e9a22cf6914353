"""Eq. 3 against Eq. 4: how much of the input's noise is left with either form of the KL.

The data term rewards to keep the input's noise, which is in the targets too; the bottleneck does
not. So the same network is trained twice on the same noisy images, with the KL of muSplit (Eq. 3,
the mean over latent elements) and with that of denoiSplit (Eq. 4, the sum over them per pixel).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from denoisplit.commands.train import PathLike
from denoisplit.commands.train_several import Training, levels_of, train_each, with_level
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import held_out_frames
from denoisplit.evaluation.metrics import noise_left, range_invariant_psnr
from denoisplit.evaluation.metrics import score as averaged
from denoisplit.evaluation.scoring import split_frames
from denoisplit.files.atomic import write_bytes, write_text
from denoisplit.images import Files
from denoisplit.prediction.frame import Sampling
from denoisplit.report.style import INKS, legend, new_figure, plain, png
from denoisplit.report.tables import cell, csv_text
from denoisplit.run import Run, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEM = "altered_musplit"  # with a Gaussian data term, as muSplit, and without context
# Eq. 3 as in muSplit: the term has the weight 1 beside a data term that is a mean over structures
FORMS = {"eq3": "Eq. 3", "eq4": "Eq. 4"}
LEVELS = (1.0, 2.0, 4.0)
MARKERS = ("s", "o")
SAMPLES = 16
PANEL = 3.4  # inches


class Left(NamedTuple):
    """One structure in the test frames of one run: mean over frames, and its standard error."""

    level: float
    form: str
    structure: str
    left: float | None  # share of the input's noise, see `denoisplit.evaluation.metrics.noise_left`
    left_sem: float | None
    psnr: float | None  # dB
    psnr_sem: float | None


def fig_eq(
    structures: Mapping[str, Files],
    output: PathLike,
    *,
    synthetic_gaussian: Sequence[float] = LEVELS,
    sigma: float | None = None,
    jobs: int | None = None,
    **options: Any,
) -> list[Left]:
    """Train with either form of the KL at every level of noise, and measure what is left of it.

    Runs go to ``output/eq3-level-1`` and so on. Finished ones are not repeated, interrupted ones go
    on. At the end ``EQ.csv`` and ``EQ.png`` are written beside them.

    Parameters
    ----------
    structures : mapping of name to files
        Clean images of each structure, two or more.
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
    trainings = trainings_of_eq(
        structures, output, synthetic_gaussian=synthetic_gaussian, sigma=sigma, **options
    )
    train_each(trainings, jobs)
    found = []
    for training in trainings:
        level, form = (training.options[k] for k in ("synthetic_gaussian", "objective"))
        found += _measured(load(training.run), level, form["kl_form"])
    write_text(Path(output) / "EQ.csv", as_csv(found))
    write_bytes(Path(output) / "EQ.png", png(figure(found)))
    return found


def trainings_of_eq(
    structures: Mapping[str, Files],
    output: PathLike,
    *,
    synthetic_gaussian: Sequence[float] = LEVELS,
    sigma: float | None = None,
    **options: Any,
) -> list[Training]:
    """What `fig_eq` trains, with the same arguments and errors; nothing is read or written."""
    if len(structures) < 2:
        raise InputError(
            where="--structure",
            found=f"{len(structures)} structures",
            expected="two or more, to be split",
            remedy="name more",
        )
    objective = options.pop("objective", {})
    trainings = []
    for level in levels_of(synthetic_gaussian, above_zero=True):
        for form, title in FORMS.items():
            own: dict[str, Any] = {"kl_form": form}
            if form == "eq3":
                own |= {"free_bits": 0.0, "beta": float(len(structures))}
            values = {"system": SYSTEM, "objective": {**objective, **own}}
            trainings.append(
                Training(
                    Path(output) / f"{form}-level-{level:g}",
                    structures,
                    with_level(options, level, sigma) | values,
                    f"KL of {title}",
                )
            )
    return trainings


def _measured(run: Run, level: float, form: str) -> list[Left]:
    """Of the test frames of a run."""
    settings = run.config.settings
    scenes = held_out_frames(run)
    sampling = Sampling(SAMPLES, settings.seed, settings.prediction.antithetic)
    predictions = split_frames(
        run.model, scenes, sampling, tile=run.tile, halo=run.halo, label="measuring"
    )
    # the input as a mean: what a sum has of noise, it has of all structures
    scale = run.superposition.scale * len(settings.names)
    rows = []
    for k, name in enumerate(settings.names):
        frames = list(zip(scenes.truth, predictions, strict=True))
        noises = [
            (noisy - clean) / scale
            for noisy, clean in zip(scenes.inputs, scenes.clean_inputs, strict=True)
        ]
        left = averaged(
            [noise_left(p.mean[k] - t[k], n) for (t, p), n in zip(frames, noises, strict=True)]
        )
        psnr = averaged(
            [
                range_invariant_psnr(t[k], p.mean[k]) if t[k].min() < t[k].max() else None
                for t, p in frames
            ]
        )
        rows.append(Left(level, form, name, *left.as_dict().values(), *psnr.as_dict().values()))
    return rows


def as_csv(found: Sequence[Left]) -> str:
    """One line per run and structure."""
    return csv_text(Left._fields, found)


def table(found: Sequence[Left]) -> str:
    """Share of noise left and PSNR: a row per structure and level, columns per form."""
    names = _structures(found)
    width = max(11, *(len(name) + 2 for name in names))
    heads = [f"left, {title}" for title in FORMS.values()]
    heads += [f"PSNR, {title}" for title in FORMS.values()]
    lines = [f"{'noise':<{width}}{'level':>7}" + "".join(f"{head:>16}" for head in heads)]
    for name in names:
        for level in sorted({row.level for row in found}):
            row = {r.form: r for r in found if (r.structure, r.level) == (name, level)}
            cells = [_percent(row[form].left) for form in FORMS]
            cells += [cell({"mean": row[f].psnr, "sem": row[f].psnr_sem}, "psnr") for f in FORMS]
            lines.append(f"{name:<{width}}{level:>7g}" + "".join(f"{text:>16}" for text in cells))
    return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def figure(found: Sequence[Left]) -> Figure:
    """Share of noise left, and PSNR below, over the level of noise: a column per structure."""
    names = _structures(found)
    drawn = new_figure(2 * PANEL, PANEL * max(2, len(names)))
    for place, name in enumerate(names, 1):
        for below, (value, sem, label, factor) in enumerate(
            [("left", "left_sem", "noise left (%)", 100.0), ("psnr", "psnr_sem", "PSNR (dB)", 1.0)]
        ):
            axes = drawn.add_subplot(2, len(names), below * len(names) + place)
            plain(
                axes,
                "" if below else name,
                "level of Gaussian noise" if below else "",
                label if place == 1 else "",
            )
            for k, (form, title) in enumerate(FORMS.items()):
                line = [r for r in found if (r.structure, r.form) == (name, form)]
                axes.errorbar(
                    [r.level for r in line],
                    [_scaled(getattr(r, value), factor) for r in line],
                    yerr=[factor * (getattr(r, sem) or 0.0) for r in line],
                    color=INKS[k],
                    marker=MARKERS[k],
                    markersize=4,
                    linewidth=1.6,
                    capsize=2,
                    label=title,
                )
            levels = sorted({row.level for row in found})
            axes.set_xticks(levels, [f"{level:g}" for level in levels])
            axes.margins(x=0.15)
            if not below:
                axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
                if place == 1:
                    legend(axes)
    drawn.tight_layout()
    return drawn


def _scaled(value: float | None, factor: float) -> float:
    return float("nan") if value is None else factor * value


def _structures(found: Sequence[Left]) -> list[str]:
    return list(dict.fromkeys(row.structure for row in found))
