"""The report of a run: one self-contained HTML file with metrics, figures and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from denoisplit.config.settings import RunConfig
from denoisplit.config.systems import SYSTEMS
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.risk import SquaredErrors
from denoisplit.images import ImageFile
from denoisplit.images.display import ink
from denoisplit.jobs.alarm import Tiles
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.storage import FittedNoiseModel
from denoisplit.prediction.frame import Prediction
from denoisplit.report.alarm_map import alarm_section
from denoisplit.report.bar_plots import groups_figure, sparsification_figure
from denoisplit.report.example import choose_example_frame
from denoisplit.report.html import document, figure, head, paragraphs, section, small
from denoisplit.report.noise_page import noise_section
from denoisplit.report.pictures import overview_figure, structure_figure
from denoisplit.report.plots import (
    NoiseModelRow,
    StructureCalibration,
    calibration_figure,
    loss_figure,
    noise_models_figure,
    read_history,
    structure_calibrations,
)
from denoisplit.report.sentences import (
    added_noise,
    enumeration,
    metrics_note,
    overview_caption,
    panels_note,
    std_paragraphs,
    summary,
)
from denoisplit.report.tables import html_table, legend, metrics_columns
from denoisplit.report.verdicts import (
    SPARSIFICATION,
    coverage_sentences,
    error_bar_sentences,
    groups_caption,
    verdict_sentences,
)

REPORT = "report.html"


def report(
    config: RunConfig,
    frames: EvaluationFrames,
    predictions: Sequence[Prediction],
    calibration: Mapping[str, Any],
    metrics: Mapping[str, Any],
    noise_models: Sequence[FittedNoiseModel],
    history: Path | None = None,
    *,
    errors: Sequence[SquaredErrors] | None = None,
    tiles: Sequence[Tiles] = (),
) -> str:
    """Return the report of a run as a self-contained HTML page.

    Verdicts and scores of error bars are shown if the metrics have them: "verdicts" (as from
    `denoisplit.evaluation.verdict`) and "error_bars" (`denoisplit.evaluation.error_bars`).

    Parameters
    ----------
    frames : EvaluationFrames
        The test frames.
    predictions : sequence of Prediction
        One per test frame, with spread, at least the first two samples, and error bars if the run
        has an error map.
    calibration, metrics : mapping
        As in calibration.json and metrics.json.
    noise_models : sequence of FittedNoiseModel
        One per structure, or none; with quality and pairs if the training has fitted them.
    history : Path, optional
        history.csv of the training.
    errors : sequence of SquaredErrors, optional
        Estimated errors of the posterior means; needed only without a truth.
    tiles : sequence of Tiles
        Tiles of each test frame as judged by the run's alarm; none without one.
    """
    names = config.settings.names
    scalars = {name: float(calibration["scalars"][name]) for name in names}
    example = choose_example_frame(
        frames,
        predictions,
        scalars,
        antithetic=config.settings.prediction.antithetic,
        pixel_size_um=config.facts.pixel_size_um.get("x"),
        errors=errors,
    )
    structures = structure_calibrations(frames, predictions, scalars, errors)
    sections = [
        _head(config, metrics),
        figure(overview_figure(example), "Input, prediction and truth", overview_caption(example)),
        '<div class="pair">',
        section("Metrics", _metrics(metrics) + paragraphs(*metrics_note(metrics))),
        section(
            "What the standard deviation means",
            paragraphs(
                *std_paragraphs(
                    calibration,
                    {s.name: s.within for s in structures if s.within is not None},
                    error_map=predictions[0].bars is not None,
                    denoised=SYSTEMS[config.settings.system].denoised,
                )
            ),
        ),
        "</div>",
        section(
            "Structures",
            "".join(
                f"<h3>{escape(name)}</h3>" * (len(names) > 1)
                + figure(structure_figure(example, k), f"Panels of {name}", "")
                for k, name in enumerate(names)
            )
            + small(panels_note(example)),
        ),
        _error_bars(metrics),
        _calibration(structures, has_truth=frames.has_truth),
        alarm_section(frames, tiles),
        _noise_section(frames, names, noise_models),
    ]
    if history is not None and history.is_file():
        drawn = figure(loss_figure(read_history(history)), "Losses over the steps", "")
        sections.append(section("Losses during training", drawn))
    sections.append(section("Settings", _settings(config)))
    return document(f"{', '.join(names)}: report of a denoiSplit run", *sections)


def _head(config: RunConfig, metrics: Mapping[str, Any]) -> str:
    settings, names = config.settings, config.settings.names
    task = "Split into " + enumeration(names) if len(names) > 1 else f"Denoised: {names[0]}"
    return (
        head(task, SYSTEMS[settings.system].title, f"{settings.preset} preset")
        + "".join(f'<p class="verdict">{escape(text)}</p>\n' for text in verdict_sentences(metrics))
        + paragraphs(*error_bar_sentences(metrics))
        + f'<p class="summary">{escape(summary(metrics, names))}</p>'
    )


def _metrics(metrics: Mapping[str, Any]) -> str:
    columns = metrics_columns(metrics)
    counts = f"{metrics['frames']} test frames, {metrics['samples']} posterior samples."
    return html_table(columns) + small(f"{counts} {legend(columns)}")


def _error_bars(metrics: Mapping[str, Any]) -> str:
    """Show how error bars and intervals hold by intensity, and how they rank the errors."""
    scores = metrics.get("error_bars")
    if not scores:
        return ""
    drawn = figure(groups_figure(scores), "Error bars by intensity", groups_caption(scores))
    if any(score["sparsification"] for score in scores.values()):
        drawn += figure(sparsification_figure(scores), "Sparsification curves", SPARSIFICATION)
    return section("Error bars", paragraphs(*coverage_sentences(metrics)) + drawn)


def _calibration(structures: Sequence[StructureCalibration], *, has_truth: bool) -> str:
    """Show the calibration plot of the spread, where errors are known or estimated."""
    if not structures:
        reason = "The errors are neither known nor estimated, so that there is no calibration plot."
        return section("Calibration of the spread", paragraphs(reason))
    origin = "" if has_truth else " The real error of each bin is estimated without truth."
    return section(
        "Calibration of the spread",
        figure(
            calibration_figure(structures),
            "Real error against predicted error",
            "Pixels of all test frames in 30 bins of the spread of their samples, of equal width; "
            "larger dots stand for more pixels. On the dashed line, predicted and real error are "
            f"equal.{origin}",
        ),
    )


def _noise_section(
    frames: EvaluationFrames, names: Sequence[str], noise_models: Sequence[FittedNoiseModel]
) -> str:
    if not noise_models:
        return ""
    parts = []
    for k, (name, (model, quality, pairs)) in enumerate(zip(names, noise_models, strict=True)):
        parts.append(f"<h3>{escape(name)}</h3>" * (len(names) > 1))
        if quality is not None and pairs is not None:
            parts.append(noise_section(model, quality, pairs, colour=ink(k)))
        else:
            parts.append(_given_noise_model(frames, model, name, k))
    return section("Noise models", "".join(parts))


def _given_noise_model(frames: EvaluationFrames, model: GaussianMixture, name: str, k: int) -> str:
    """Show a noise model that was read from a file, without the pairs of its fit."""
    row = NoiseModelRow(model, name, ink(k))
    legend = (
        "Left: density of the noise model to the power of 0.25. Middle: densities at the two "
        "signals marked on the left."
    )
    if frames.has_truth:
        signal = [frame[k] for frame in frames.truth]
        row = row._replace(signal=signal, observed=[frame[k] for frame in frames.observed])
        legend = (
            "Left: joint histogram of signal and observation in the test frames (colour: count to "
            "the power of 0.25). Middle: densities of the noise model (lines) and observations "
            "(grey) at the two signals marked on the left."
        )
    return (
        paragraphs("This noise model was read from a file.")
        + figure(noise_models_figure([row]), f"Noise model of {name}", "")
        + small(legend + " Right: variance of the noise. All in raw intensity.")
    )


def _settings(config: RunConfig) -> str:
    values = config.model_dump(mode="json")
    for structure in values["settings"]["structures"]:  # a shared report must not show folders
        for key in ("files", "repeats"):
            structure[key] = [ImageFile.of(file).name for file in structure[key]]
        if structure["noise_model"] is not None:
            structure["noise_model"] = Path(structure["noise_model"]).name
    for fingerprints in values["facts"]["fingerprints"].values():
        for entry in fingerprints:
            entry["sha256"] = f"{entry['sha256'][:12]}..."
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    counts = ", ".join(f"{count} {part}" for part, count in config.facts.frames.items())
    return (
        f"<p>Frames: {escape(counts)}. Input: {escape(config.settings.data.superposition)} of the "
        f"structures. {escape(added_noise(config))}</p>"
        f"<details><summary>All settings</summary><pre>{escape(text)}</pre></details>"
    )
