"""report.html: one file that shows what a run has learned, without any other file or network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import yaml

from denoisplit.config.settings import RunConfig
from denoisplit.config.systems import SYSTEMS
from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.files.atomic import write_text
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.storage import FittedNoiseModel
from denoisplit.prediction.frame import Prediction
from denoisplit.report.example import pick_example
from denoisplit.report.html import document, figure, paragraphs, section, small
from denoisplit.report.noise_page import noise_section
from denoisplit.report.pictures import overview_figure, structure_figure
from denoisplit.report.plots import (
    calibrated,
    calibration_figure,
    loss_figure,
    noise_figure,
    read_history,
)
from denoisplit.report.sentences import (
    listed,
    noise_added,
    numbers_note,
    overview_caption,
    panels_note,
    reference_note,
    std_note,
    summary,
)
from denoisplit.report.style import ink
from denoisplit.report.tables import html_table, metrics_columns
from denoisplit.version import __version__

REPORT = "report.html"


def write_report(
    path: Path,
    config: RunConfig,
    scenes: EvaluationFrames,
    predictions: Sequence[Prediction],
    calibration: Mapping[str, Any],
    metrics: Mapping[str, Any],
    noise_models: Sequence[FittedNoiseModel],
    history: Path | None = None,
) -> None:
    """Write the report of a run.

    Parameters
    ----------
    path : Path
        The HTML file; replaced if it is there.
    config : RunConfig
    scenes : EvaluationFrames
        The test frames.
    predictions : sequence of Prediction
        One per test frame, with std and the first two or more samples.
    calibration, metrics : mapping
        As in calibration.json and metrics.json.
    noise_models : sequence of FittedNoiseModel
        One per structure, or none; with quality and pairs where they were fitted by the training.
    history : Path, optional
        history.csv of the training.
    """
    write_text(
        path,
        report(config, scenes, predictions, calibration, metrics, noise_models, history),
    )


def report(
    config: RunConfig,
    scenes: EvaluationFrames,
    predictions: Sequence[Prediction],
    calibration: Mapping[str, Any],
    metrics: Mapping[str, Any],
    noise_models: Sequence[FittedNoiseModel],
    history: Path | None = None,
) -> str:
    """The HTML of a report; see `write_report`."""
    names = config.settings.names
    scalars = {name: float(calibration["scalars"][name]) for name in names}
    size = config.facts.pixel_size_um.get("x")
    example = pick_example(
        scenes,
        predictions,
        scalars,
        antithetic=config.settings.prediction.antithetic,
        pixel_size_um=size,
    )
    curves = calibrated(scenes, predictions, scalars, [fitted.model for fitted in noise_models])
    sections = [
        _head(config, metrics),
        figure(overview_figure(example), "Input, split and truth", overview_caption(example)),
        '<div class="pair">',
        section("Numbers", _numbers(metrics) + paragraphs(numbers_note(scenes))),
        section(
            "What the standard deviation means",
            paragraphs(
                *std_note(
                    calibration,
                    curves,
                    truth_known=scenes.has_truth,
                    denoised=SYSTEMS[config.settings.system].denoised,
                )
            ),
        ),
        "</div>",
        section(
            "Every structure",
            "".join(
                f"<h3>{escape(name)}</h3>" * (len(names) > 1)
                + figure(structure_figure(example, k), f"Panels of {name}", "")
                for k, name in enumerate(names)
            )
            + small(panels_note(example)),
        ),
        section(
            "Calibration",
            figure(
                calibration_figure(curves),
                "Real error against predicted error",
                "Pixels of all test frames, in 30 bins of equal width of their std; larger dots "
                "hold more pixels. On the dashed line the predicted error is the real one."
                + reference_note(scenes, bool(noise_models)),
            ),
        ),
        _noise_section(scenes, names, noise_models),
    ]
    if history is not None and history.is_file():
        drawn = figure(loss_figure(read_history(history)), "Losses over the steps", "")
        sections.append(section("Course of training", drawn))
    sections.append(section("Settings", _settings(config)))
    return document(f"{', '.join(names)}: report of a denoiSplit run", *sections)


def _head(config: RunConfig, metrics: Mapping[str, Any]) -> str:
    settings, names = config.settings, config.settings.names
    task = "Split into " + listed(names) if len(names) > 1 else f"Denoised: {names[0]}"
    facts = [
        SYSTEMS[settings.system].title,
        f"{settings.preset} preset",
        f"denoisplit {__version__}",
        datetime.now(UTC).astimezone().strftime("%d %B %Y").lstrip("0"),
    ]
    return (
        f"<h1>{escape(task)}</h1>\n"
        f'<p class="facts">{escape(" · ".join(facts))}</p>\n'
        f'<p class="summary">{escape(summary(metrics, names))}</p>'
    )


def _numbers(metrics: Mapping[str, Any]) -> str:
    return html_table(metrics_columns(metrics)) + small(
        f"{metrics['frames']} test frames, {metrics['samples']} posterior samples; "
        "± is the standard error over frames. PSNR is higher where better, MS-SSIM at most 1; "
        "a calibration error of 0.1 means error bars that are off by 10 %."
    )


def _noise_section(
    scenes: EvaluationFrames, names: Sequence[str], noise_models: Sequence[FittedNoiseModel]
) -> str:
    if not noise_models:
        return ""
    parts = []
    for k, (name, (model, quality, pairs)) in enumerate(zip(names, noise_models, strict=True)):
        parts.append(f"<h3>{escape(name)}</h3>" * (len(names) > 1))
        if quality is not None and pairs is not None:
            parts.append(noise_section(model, quality, pairs, colour=ink(k)))
        else:
            parts.append(_given_noise_model(scenes, model, name, k))
    return section("Noise models", "".join(parts))


def _given_noise_model(scenes: EvaluationFrames, model: GaussianMixture, name: str, k: int) -> str:
    """Of a file nothing is known but the model itself."""
    pairs = {}
    left = (
        "Left: density of the noise model to the power of 0.25. Middle: at the two signals marked "
        "left."
    )
    if scenes.has_truth:
        pairs = {
            "signal": [frame[k] for frame in scenes.truth],
            "observed": [frame[k] for frame in scenes.observed],
        }
        left = (
            "Left: pairs of signal and observation in the test frames (colour: count to the power "
            "of 0.25). Middle: the densities of the noise model (lines) at the two signals marked "
            "left, over what was observed there (grey)."
        )
    return (
        paragraphs("This noise model was given as a file.")
        + figure(noise_figure(model, name, colour=ink(k), **pairs), f"Noise model of {name}", "")
        + small(left + " Right: variance of the noise. All in raw intensity.")
    )


def _settings(config: RunConfig) -> str:
    values = config.model_dump(mode="json")
    for structure in values["settings"]["structures"]:  # a report is passed on; folders are not
        for key in ("files", "repeats"):
            structure[key] = [Path(file).name for file in structure[key]]
        if structure["noise_model"] is not None:
            structure["noise_model"] = Path(structure["noise_model"]).name
    for prints in values["facts"]["fingerprints"].values():
        for entry in prints:
            entry["sha256"] = f"{entry['sha256'][:12]}..."
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    frames = ", ".join(f"{count} {part}" for part, count in config.facts.frames.items())
    return (
        f"<p>Frames: {escape(frames)}. Input: {escape(config.settings.data.superposition)} of the "
        f"structures. {escape(noise_added(config))}</p>"
        f"<details><summary>All settings</summary><pre>{escape(text)}</pre></details>"
    )
