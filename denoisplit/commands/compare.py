"""``denoisplit compare``: several systems on the user's own images, with equal effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.commands.train_several import Training, train_each
from denoisplit.config.groups import DenoiserSettings, NetworkSettings, TrainingSettings
from denoisplit.config.presets import merged
from denoisplit.config.settings import Settings, settings_from
from denoisplit.config.systems import SPLITTING, SYSTEMS
from denoisplit.config.training_options import settings_values
from denoisplit.errors import InputError
from denoisplit.evaluation.held_out import held_out_frames
from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.files.atomic import write_text
from denoisplit.files.json_file import read_json, write_json
from denoisplit.images import Files
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import Sampling, predict_frame
from denoisplit.report.comparison import Row, comparison_figure
from denoisplit.report.example import CROP, busiest_crop
from denoisplit.report.html import document, figure, section, small
from denoisplit.report.plots import read_history
from denoisplit.report.tables import html_table, text_table
from denoisplit.run import DENOISERS, HISTORY, METRICS, Run, load

PathLike = str | Path
Array = npt.NDArray[np.float32]

PAGE, NUMBERS = "compare.html", "compare.json"
SHOWN_SAMPLES = 16
EPOCH = 100  # steps, about, where no other length is given


class Done(NamedTuple):
    """What a network was trained with."""

    steps: int
    pixels: int  # of the crops of each step

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.pixels} pixels"


class Comparison(NamedTuple):
    """Of each system what metrics.json of its run holds, and how its networks were trained."""

    metrics: dict[str, dict[str, Any]]
    done: dict[str, list[Done]]

    @property
    def columns(self) -> dict[str, dict[str, Any]]:
        """Of the mean over structures, or of the only one."""
        return {SYSTEMS[name].title: found["mean"] for name, found in self.metrics.items()}

    @property
    def text(self) -> str:
        """One row per metric, one column per system."""
        return text_table(self.columns, "mean over structures") + f"{self.note}\n"

    @property
    def note(self) -> str:
        """What the networks were trained with, and how many there are."""
        efforts = {name: sorted(set(done)) for name, done in self.done.items()}
        kinds = {done for found in efforts.values() for done in found}
        if len(kinds) == 1:
            said = [f"Every network was trained {kinds.pop()}."]
        else:
            said = [
                f"{SYSTEMS[name].title} was trained {' and '.join(map(str, found))}."
                for name, found in efforts.items()
            ]
        several = [
            f"{SYSTEMS[name].title} has {len(done)} networks."
            for name, done in self.done.items()
            if len(done) > 1
        ]
        return " ".join(said + several)


class Effort(NamedTuple):
    """What the training of a network is set to, so that it ends after its steps and not before."""

    epochs: int
    steps_per_epoch: int
    batch: int

    @property
    def settings(self) -> dict[str, int]:
        """Of the group ``training``."""
        return {
            "batch": self.batch,
            "max_steps": self.epochs * self.steps_per_epoch,
            "steps_per_epoch": self.steps_per_epoch,
            "max_epochs": self.epochs,
            "early_stop_patience": self.epochs,
        }


class Efforts(NamedTuple):
    """Of a system's network, and of its denoisers if it has some."""

    network: Effort
    denoiser: Effort | None = None


def compare(
    structures: Mapping[str, Files],
    output: PathLike,
    *,
    systems: Sequence[str] = SPLITTING,
    jobs: int | None = None,
    **options: Any,
) -> Comparison:
    """Train each system on the same images with equal steps, and equal pixels in each step.

    Of HDN(+)muSplit this is said of each of its C + 2 networks, as it is in the paper. No training
    ends early, and all epochs are of equally many steps, whatever the systems have otherwise:
    ``max_steps`` is rounded down to whole epochs of about 100, the same for all. The pixels are the
    fewest that any system has by itself.

    Each is a run of its own in ``output``; what is there already is kept, and an interrupted one
    goes on. A table and a page of pictures are written beside them.

    Parameters
    ----------
    structures : mapping of name to files
    output : path
    systems : sequence of str
        Two or more of `denoisplit.config.systems.SPLITTING`.
    jobs : int, optional
        Trainings at a time; by default as many as there are GPUs.
    **options
        As of `denoisplit.train`; ``max_steps`` or a preset that sets it has to be among them, and
        nothing that ends a training otherwise.

    Raises
    ------
    InputError
        For systems, images or settings that do not fit.
    """
    for name in systems:
        if name not in SPLITTING:
            raise InputError(
                where="--systems",
                found=name,
                expected=f"some of {', '.join(SPLITTING)}",
                remedy="choose others",
            )
    if len(set(systems)) < max(2, len(systems)):
        raise InputError(
            where="--systems",
            found=", ".join(systems),
            expected="two or more different ones",
            remedy="add one",
        )
    output = Path(output)
    efforts = _efforts(structures, systems, options)
    trainings = {
        name: Training(
            output / name,
            structures,
            {"system": name, **_with_efforts(options_of(name, options), efforts[name])},
            SYSTEMS[name].title,
        )
        for name in systems
    }
    train_each(list(trainings.values()), jobs)
    runs = {name: load(training.run) for name, training in trainings.items()}
    found = Comparison(
        {name: read_json(run.path / METRICS) for name, run in runs.items()},
        {name: _done(run) for name, run in runs.items()},
    )
    write_json(output / NUMBERS, found.metrics)
    write_text(output / PAGE, _page(found, runs))
    return found


def options_of(system: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of all systems without those that this one does not know."""
    left_out: set[str] = set() if SYSTEMS[system].denoised else {"denoiser"}
    return {key: value for key, value in options.items() if key not in left_out}


def _with_efforts(options: Mapping[str, Any], efforts: Efforts) -> dict[str, Any]:
    over: dict[str, Any] = {"training": efforts.network.settings}
    if efforts.denoiser is not None:
        over["denoiser"] = {"training": efforts.denoiser.settings}
    both = merged(dict(options), over)
    both.pop("max_steps", None)  # it is in the group, rounded
    return both


def _efforts(
    structures: Mapping[str, Files], systems: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Efforts]:
    """The same steps for all, of patches that make as many pixels.

    Whichever systems are asked for, in whatever order, theirs are the steps and pixels of all that
    the options suit: so that one can be compared later with those that were trained before.
    """
    _refuse_other_ends(options)
    every: dict[str, Settings] = {}
    for name in SPLITTING:
        own = {**options_of(name, options), "system": name}
        try:
            every[name] = settings_from(settings_values(structures, None, None, None, own))
        except InputError:
            if name in systems:
                raise
    first = next(iter(every.values())).training
    pixels = min(s.training.batch * s.network.patch**2 for s in every.values())
    found = {}
    for name in systems:
        chain = every[name].denoiser
        found[name] = Efforts(
            _effort(first, pixels, every[name].network),
            _effort(first, pixels, chain.network) if chain else None,
        )
    return found


def _effort(first: TrainingSettings, pixels: int, network: NetworkSettings) -> Effort:
    steps = first.max_steps
    if steps is None:
        raise InputError(
            where="compare",
            found="no number of steps",
            expected="the same number for all systems",
            remedy="give --max-steps, or --preset small",
        )
    length = first.steps_per_epoch or max(EPOCH, first.min_steps_per_epoch)
    epochs = max(1, round(steps / length))
    return Effort(epochs, steps // epochs, max(1, round(pixels / network.patch**2)))


def _refuse_other_ends(options: Mapping[str, Any]) -> None:
    """What would let a training end before the others."""
    groups = {
        "training": options.get("training"),
        "denoiser.training": (options.get("denoiser") or {}).get("training"),
    }
    for group, values in groups.items():
        ends = {"max_epochs", "early_stop_patience"}
        if group != "training":
            ends |= {"max_steps", "steps_per_epoch"}
        for key in sorted(ends & set(values or {})):
            raise InputError(
                where="compare",
                found=f"{group}.{key}",
                expected="as many steps of every network",
                remedy="leave it out, and say --max-steps",
            )


def _done(run: Run) -> list[Done]:
    """Of the network of a run, then of its denoisers."""
    settings = run.config.settings
    found = [_steps(run.path, settings)]
    if settings.denoiser:
        found += [
            _steps(path, settings.denoiser) for path in sorted((run.path / DENOISERS).iterdir())
        ]
    return found


def _steps(run: Path, settings: Settings | DenoiserSettings) -> Done:
    steps = int(read_history(run / HISTORY)["step"][-1])
    return Done(steps, settings.training.batch * settings.network.patch**2)


def _page(found: Comparison, runs: Mapping[str, Run]) -> str:
    first = next(iter(runs.values()))
    settings = first.config.settings
    return document(
        "Systems compared",
        f"<h1>{escape(' and '.join(settings.names))}: systems compared</h1>",
        section(
            "Numbers",
            html_table(found.columns)
            + small(
                f"Means over structures, of {found.metrics[settings.system]['frames']} test "
                "frames; the same frames with the same noise for all. " + escape(found.note)
            ),
        ),
        section(
            "One test frame",
            figure(
                comparison_figure(_rows(runs), settings.names),
                "Predictions of every system",
                "Means of posterior samples, in the grey scale of the truth; "
                "the input has its own.",
            ),
        ),
    )


def _rows(runs: Mapping[str, Run]) -> list[Row]:
    """Recorded, true, and predicted structures of the first test frame, or its busiest part."""
    first = next(iter(runs.values()))
    scenes, seed = held_out_frames(first), first.config.settings.seed
    truth = scenes.truth[0]
    y, x = busiest_crop(truth)
    crop: Any = np.s_[..., y : y + CROP, x : x + CROP]

    def row(title: str, images: Array) -> Row:
        scores = [range_invariant_psnr(g, p) for g, p in zip(truth, images, strict=True)]
        return Row(title, images[crop], [f"{s:.1f} dB" if np.isfinite(s) else "" for s in scores])

    rows = [row("noisy input", np.broadcast_to(scenes.inputs[0], truth.shape))]
    for name, run in runs.items():
        sampling = Sampling(SHOWN_SAMPLES, seed, run.config.settings.prediction.antithetic)
        predicted = predict_frame(
            inference_form(run.model), scenes.inputs[0], sampling, tile=run.tile, halo=run.halo
        )
        rows.append(row(SYSTEMS[name].title, predicted.mean))
    title = "truth" if scenes.has_truth else "recorded, noisy"
    return [*rows, Row(title, truth[crop], [""] * len(truth))]
