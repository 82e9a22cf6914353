"""report.html: one file that shows what a run has learned, without any other file or network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import denoisplit
from denoisplit.atomic import write_text
from denoisplit.config import RunConfig
from denoisplit.evaluation import Scenes
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction import Prediction
from denoisplit.report.example import pick_example
from denoisplit.report.pictures import overview_figure, structure_figure
from denoisplit.report.plots import (
    calibrated,
    calibration_figure,
    loss_figure,
    noise_figure,
    read_history,
)
from denoisplit.report.style import WIDTH, ink, png
from denoisplit.report.table import ROWS, cell, metrics_columns
from denoisplit.report.words import (
    listed,
    noise_added,
    numbers_note,
    overview_caption,
    panels_note,
    reference_note,
    std_note,
    summary,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"
SYSTEMS = {"denoisplit": "denoiSplit", "altered_musplit": "Altered muSplit"}

CSS = """
:root { color-scheme: light dark; }
body { margin: 0; background: light-dark(#f5f6f8, #17191d); color: light-dark(#26282d, #e4e6ea);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 34px 0 8px; }
p { margin: 6px 0; max-width: 95ch; }
.facts, figcaption, .small { color: light-dark(#666b75, #a5abb6); font-size: 13px; }
.summary { font-size: 17px; margin: 14px 0 16px; }
figure { margin: 10px 0; }
figure img { display: block; box-sizing: border-box; padding: 10px;
  background: #fff; border-radius: 8px; box-shadow: 0 1px 3px rgb(0 0 0 / .16); }
figcaption { margin-top: 6px; max-width: 120ch; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 0 4px 26px; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; font-weight: 400; padding-left: 0; }
tr.inner th { padding-left: 18px; color: light-dark(#666b75, #a5abb6); }
thead th { border-bottom: 1px solid light-dark(#c9cdd4, #4a4f58); font-weight: 600; }
tbody tr.main td { font-weight: 600; }
.pair { display: flex; flex-wrap: wrap; gap: 0 56px; }
.pair section { flex: 1 1 380px; } .pair section:first-child { flex: 0 1 auto; max-width: 100%; }
.pair section:first-child p { max-width: 64ch; }
pre { background: light-dark(#fff, #22252b); padding: 14px; border-radius: 8px; overflow-x: auto;
  font-size: 12.5px; line-height: 1.45; }
summary { cursor: pointer; }
@media print { body { background: #fff; } figure { break-inside: avoid; } }
"""


def write_report(
    path: Path,
    config: RunConfig,
    scenes: Scenes,
    predictions: Sequence[Prediction],
    calibration: Mapping[str, Any],
    metrics: Mapping[str, Any],
    noise_models: Sequence[GaussianMixture],
    history: Path | None = None,
) -> None:
    """Write the report of a run.

    Parameters
    ----------
    path : Path
        The HTML file; replaced if it is there.
    config : RunConfig
    scenes : Scenes
        The test frames.
    predictions : sequence of Prediction
        One per test frame, with std and the first two or more samples.
    calibration, metrics : mapping
        As in calibration.json and metrics.json.
    noise_models : sequence of GaussianMixture
        One per structure, or none.
    history : Path, optional
        history.csv of the training.
    """
    write_text(
        path,
        report(config, scenes, predictions, calibration, metrics, noise_models, history),
    )


def report(
    config: RunConfig,
    scenes: Scenes,
    predictions: Sequence[Prediction],
    calibration: Mapping[str, Any],
    metrics: Mapping[str, Any],
    noise_models: Sequence[GaussianMixture],
    history: Path | None = None,
) -> str:
    """The HTML of a report; see `write_report`."""
    names = config.settings.names
    scalars = {name: float(calibration["scalars"][name]) for name in names}
    size = config.facts.pixel_size_um.get("x")
    example = pick_example(
        scenes, predictions, scalars,
        antithetic=config.settings.prediction.antithetic, pixel_size_um=size,
    )  # fmt: skip
    curves = calibrated(scenes, predictions, scalars, noise_models)
    sections = [
        _head(config, metrics),
        _figure(overview_figure(example), "Input, split and truth", overview_caption(example)),
        '<div class="pair">',
        _section("Numbers", _numbers(metrics) + _paragraphs(numbers_note(scenes))),
        _section(
            "What the standard deviation means",
            _paragraphs(*std_note(calibration, curves, truth_known=scenes.has_truth)),
        ),
        "</div>",
        _section(
            "Every structure",
            "".join(
                f"<h3>{escape(name)}</h3>" * (len(names) > 1)
                + _figure(structure_figure(example, k), f"Panels of {name}", "")
                for k, name in enumerate(names)
            )
            + _small(panels_note(example)),
        ),
        _section(
            "Calibration",
            _figure(
                calibration_figure(curves), "Real error against predicted error",
                "Pixels of all test frames, in 30 bins of equal width of their std; larger dots "
                "hold more pixels. On the dashed line the predicted error is the real one."
                + reference_note(scenes, bool(noise_models)),
            ),
        ),
        _noise_section(scenes, names, noise_models),
    ]  # fmt: skip
    if history is not None and history.is_file():
        figure = _figure(loss_figure(read_history(history)), "Losses over the steps", "")
        sections.append(_section("Course of training", figure))
    sections.append(_section("Settings", _settings(config)))
    title = escape(f"{', '.join(names)}: report of a denoiSplit run")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(config: RunConfig, metrics: Mapping[str, Any]) -> str:
    settings, names = config.settings, config.settings.names
    task = "Split into " + listed(names) if len(names) > 1 else f"Denoised: {names[0]}"
    facts = [
        SYSTEMS[settings.system],
        f"{settings.preset} preset",
        f"denoisplit {denoisplit.__version__}",
        datetime.now(UTC).astimezone().strftime("%d %B %Y").lstrip("0"),
    ]
    return (
        f"<h1>{escape(task)}</h1>\n"
        f'<p class="facts">{escape(" · ".join(facts))}</p>\n'
        f'<p class="summary">{escape(summary(metrics, names))}</p>'
    )


def _numbers(metrics: Mapping[str, Any]) -> str:
    columns = metrics_columns(metrics)
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = []
    for key, label in ROWS.items():
        cells = "".join(f"<td>{cell(column[key], key)}</td>" for column in columns.values())
        kind = "inner" if label.startswith(" ") else "main"
        body.append(f'<tr class="{kind}"><th>{escape(label.strip())}</th>{cells}</tr>')
    return (
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        + _small(
            f"{metrics['frames']} test frames, {metrics['samples']} posterior samples; "
            "± is the standard error over frames. PSNR is higher where better, MS-SSIM at most 1; "
            "a calibration error of 0.1 means error bars that are off by 10 %."
        )
    )


def _noise_section(
    scenes: Scenes, names: Sequence[str], noise_models: Sequence[GaussianMixture]
) -> str:
    if not noise_models:
        return ""
    figures = []
    for k, (name, model) in enumerate(zip(names, noise_models, strict=True)):
        pairs = {}
        if scenes.has_truth:
            pairs = {
                "signal": [frame[k] for frame in scenes.truth],
                "observed": [frame[k] for frame in scenes.observed],
            }
        drawn = noise_figure(model, name, colour=ink(k), **pairs)
        figures.append(_figure(drawn, f"Noise model of {name}", ""))
    left = (
        "Left: pairs of signal and observation in the test frames (colour: count to the power of "
        "0.25). Middle: the densities of the noise model (lines) at the two signals marked left, "
        "over what was observed there (grey)."
        if scenes.has_truth
        else "Left: density of the noise model to the power of 0.25. Middle: at the two signals "
        "marked left."
    )
    note = _small(left + " Right: variance of the noise. All in raw intensity.")
    return _section("Noise models", "".join(figures) + note)


def _settings(config: RunConfig) -> str:
    values = config.model_dump(mode="json")
    for structure in values["settings"]["structures"]:  # a report is passed on; folders are not
        structure["files"] = [Path(file).name for file in structure["files"]]
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


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _figure(figure: Figure, alternative: str, caption: str) -> str:
    data = base64.b64encode(png(figure)).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    share = 100 * figure.get_figwidth() / WIDTH
    image = (
        f'<img alt="{escape(alternative)}" style="width:{share:.0f}%" '
        f'src="data:image/png;base64,{data}">'
    )
    return f"<figure>{image}{below}</figure>"


def _paragraphs(*texts: str) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts if text)


def _small(text: str) -> str:
    return f'<p class="small">{escape(text)}</p>'
