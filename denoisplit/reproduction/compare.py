"""``denoisplit compare``: several systems on the user's own images, with equal effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.atomic import write_json, write_text
from denoisplit.commands.train_settings import settings_values
from denoisplit.config import settings_from
from denoisplit.data.prepare import prepare
from denoisplit.engine import inference_form
from denoisplit.errors import InputError
from denoisplit.evaluation import Scenes
from denoisplit.images import Files, read_frames
from denoisplit.metrics import range_invariant_psnr
from denoisplit.prediction import Sampling, predict_frame
from denoisplit.presets import merged
from denoisplit.report.comparison import Row, comparison_figure
from denoisplit.report.example import CROP, busiest_crop
from denoisplit.report.html import document, figure, section, small
from denoisplit.report.table import html_table, text_table
from denoisplit.reproduction.trainings import Training, train_each
from denoisplit.run import METRICS, Run, load, read_json
from denoisplit.systems import SPLITTING, SYSTEMS

PathLike = str | Path
Array = npt.NDArray[np.float32]

PAGE, NUMBERS = "compare.html", "compare.json"
SHOWN_SAMPLES = 16


class Comparison(NamedTuple):
    """Metrics of each system: name to what metrics.json of its run holds."""

    metrics: dict[str, dict[str, Any]]

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        """Of the mean over structures, or of the only one."""
        return {SYSTEMS[name].title: found["mean"] for name, found in self.metrics.items()}

    @property
    def text(self) -> str:
        """One row per metric, one column per system."""
        note = f"{self.note}\n" if self.note else ""
        return text_table(self.columns, "mean over structures") + note

    @property
    def note(self) -> str:
        """What equal effort does not mean."""
        chains = [name for name in self.metrics if SYSTEMS[name].denoised]
        if not chains:
            return ""
        networks = len(self.metrics[chains[0]]["structures"]) + 2
        return (
            f"{SYSTEMS[chains[0]].title} trains {networks} networks, each of them with as many "
            "steps and pixels as another system has in all."
        )


class Batches(NamedTuple):
    """Patches per step of a system's network, and of its denoisers if it has some."""

    network: int
    denoiser: int | None = None


def compare(
    structures: Mapping[str, Files],
    output: PathLike,
    *,
    systems: Sequence[str] = SPLITTING,
    jobs: int | None = None,
    **options: Any,
) -> Comparison:
    """Train each system on the same images with equal steps, and equal pixels in each step.

    Of HDN(+)muSplit this is said of each of its C + 2 networks, as it is in the paper.

    Each is a run of its own in ``output``; what is there already is kept, and an interrupted one
    goes on. A table and a page of pictures are written beside them.

    Parameters
    ----------
    structures : mapping of name to files
    output : path
    systems : sequence of str
        Two or more of `denoisplit.systems.SPLITTING`.
    jobs : int, optional
        Trainings at a time; by default as many as there are GPUs.
    **options
        As of `denoisplit.train`; ``max_steps`` or a preset that sets it has to be among them.

    Raises
    ------
    InputError
        For systems, images or settings that do not fit.
    """
    for name in systems:
        if name not in SPLITTING:
            raise InputError("--systems", name, f"some of {', '.join(SPLITTING)}", "choose others")
    if len(set(systems)) < max(2, len(systems)):
        raise InputError("--systems", ", ".join(systems), "two or more different ones", "add one")
    output = Path(output)
    batches = _batches(structures, systems, options)
    trainings = {
        name: Training(
            output / name, structures,
            {"system": name, **_with_batches(options_of(name, options), batches[name])},
            SYSTEMS[name].title,
        )
        for name in systems
    }  # fmt: skip
    train_each(list(trainings.values()), jobs)
    runs = {name: load(training.run) for name, training in trainings.items()}
    found = Comparison({name: read_json(run.path / METRICS) for name, run in runs.items()})
    write_json(output / NUMBERS, found.metrics)
    write_text(output / PAGE, _page(found, runs))
    return found


def options_of(system: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of all systems without those that this one does not know."""
    left_out: set[str] = set() if SYSTEMS[system].denoised else {"denoiser"}
    return {key: value for key, value in options.items() if key not in left_out}


def _with_batches(options: Mapping[str, Any], batches: Batches) -> dict[str, Any]:
    over: dict[str, Any] = {"training": {"batch": batches.network}}
    if batches.denoiser is not None:
        over["denoiser"] = {"training": {"batch": batches.denoiser}}
    return merged(dict(options), over)


def _batches(
    structures: Mapping[str, Files], systems: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Batches]:
    """Patches per step that make as many pixels as those of the first system."""
    pixels = 0
    found = {}
    for name in systems:
        own = {**options_of(name, options), "system": name}
        settings = settings_from(settings_values(structures, None, None, None, own))
        chain = settings.denoiser
        if settings.training.max_steps is None or (chain and chain.training.max_steps is None):
            raise InputError(
                "compare", "no number of steps", "the same number for all systems",
                "give --max-steps, or --preset small",
            )  # fmt: skip
        patch = settings.network.patch**2
        pixels = pixels or settings.training.batch * patch
        found[name] = Batches(
            max(1, round(pixels / patch)),
            max(1, round(pixels / chain.network.patch**2)) if chain else None,
        )
    return found


def _page(found: Comparison, runs: Mapping[str, Run]) -> str:
    first = next(iter(runs.values()))
    settings = first.config.settings
    steps, batch = settings.training.max_steps, settings.training.batch
    pixels = batch * settings.network.patch**2
    return document(
        "Systems compared",
        f"<h1>{escape(' and '.join(settings.names))}: systems compared</h1>",
        section(
            "Numbers",
            html_table(found.columns)
            + small(
                f"Means over structures, of {found.metrics[settings.system]['frames']} test "
                f"frames; each system trained {steps} steps of {pixels} pixels on the same frames "
                "with the same noise. " + escape(found.note)
            ),
        ),
        section("One test frame", figure(
            comparison_figure(_rows(runs), settings.names), "Predictions of every system",
            "Means of posterior samples; each column has one grey scale.",
        )),
    )  # fmt: skip


def _rows(runs: Mapping[str, Run]) -> list[Row]:
    """Recorded, true, and predicted structures of the first test frame, or its busiest part."""
    settings = next(iter(runs.values())).config.settings
    data = prepare([read_frames(s.files).images for s in settings.structures], settings)
    scenes = Scenes(
        data.clean.test, data.noise, data.superposition, seed=settings.seed, part="test"
    )
    truth = scenes.truth[0]
    y, x = busiest_crop(truth)
    crop: Any = np.s_[..., y : y + CROP, x : x + CROP]

    def row(title: str, images: Array) -> Row:
        scores = [range_invariant_psnr(g, p) for g, p in zip(truth, images, strict=True)]
        return Row(title, images[crop], [f"{s:.1f} dB" if np.isfinite(s) else "" for s in scores])

    rows = [row("noisy input", np.broadcast_to(scenes.inputs[0], truth.shape))]
    for name, run in runs.items():
        sampling = Sampling(SHOWN_SAMPLES, settings.seed, run.config.settings.prediction.antithetic)
        predicted = predict_frame(
            inference_form(run.model), scenes.inputs[0], sampling,
            tile=run.tile, halo=run.halo,
        )  # fmt: skip
        rows.append(row(SYSTEMS[name].title, predicted.mean))
    title = "truth" if scenes.has_truth else "recorded, noisy"
    return [*rows, Row(title, truth[crop], [""] * len(truth))]
