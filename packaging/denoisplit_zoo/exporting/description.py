"""The description and the model card of a package, filled in from the templates."""

from __future__ import annotations

import csv
import hashlib
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml

from denoisplit.files.json_file import read_json
from denoisplit.report.tables import metrics_columns, table_rows
from denoisplit.run import HISTORY, METRICS, WEIGHTS, Run, noise_model_path
from denoisplit.version import __version__
from denoisplit_zoo.exporting.about import About
from denoisplit_zoo.exporting.example_image import Example
from denoisplit_zoo.exporting.kinds import KINDS
from denoisplit_zoo.exporting.phrases import CITATIONS, words
from denoisplit_zoo.exporting.weights import OPSET

TAGS = (
    "fluorescence-light-microscopy",
    "2d",
    "cells",
    "pytorch",
    "unet",
    "image-restoration",
    "denoising",
    "ilastik",
    "fiji",
    "imagej",
    "deepimagej",
    "denoisplit",
    "variational-autoencoder",
    "uncertainty",
)
PACKAGE_VERSION = 1  # of what config.denoisplit and the attachments hold
# of the largest test value: above what reduced precision does, half of what the format allows
ABSOLUTE_TOLERANCE = 0.005


@dataclass(frozen=True)
class Package:
    """What is described."""

    run: Run
    name: str
    about: About
    kind: str
    callable: str  # class of the graph
    arguments: Mapping[str, Any]  # of the graph
    channels: Sequence[str]  # of the output
    tile: int
    halo: int
    example: Example
    output: npt.NDArray[np.float32]  # (1, channels, N, N) of the example


def description(package: Package, contents: Mapping[str, bytes], attached: Sequence[str]) -> str:
    """rdf.yaml of the other contents."""
    run, about = package.run, package.about
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    trained = datetime.fromtimestamp((run.path / WEIGHTS).stat().st_mtime, UTC)
    said = _words(package)
    more = CITATIONS.get(run.config.settings.system)
    limit = ABSOLUTE_TOLERANCE * float(package.output.max())
    values = {
        "name": package.name,
        "description": about.description or said["summary"],
        "authors": _people(about.authors),
        "maintainers": _people(about.maintainers),
        "license": about.license,
        "version": about.version,
        "timestamp": trained.isoformat(timespec="seconds"),
        "tags": list(dict.fromkeys((*TAGS, *said["tag"].split(), *about.tags))),
        "input_description": said["input_description"],
        "input_channel": said["input_channel"],
        "output_description": KINDS[package.kind].output,
        "tile": package.tile,
        "halo": package.halo,
        "channels": list(package.channels),
        "callable": package.callable,
        "kwargs": dict(package.arguments),
        "pytorch_version": torch.__version__.split("+")[0],
        "opset": OPSET,
        "nickname": re.sub(r"[^a-z0-9]+", "-", package.name.lower()).strip("-") or "denoisplit",
        "absolute_tolerance": float(f"{limit:.1e}"),
    }
    named = {f"sha_{re.sub(r'[^a-z0-9]', '_', name)}": digest for name, digest in hashes.items()}
    entries = [{"source": name, "sha256": hashes[name]} for name in attached]
    return _template("model.yaml").substitute(
        {key: _flow(value) for key, value in values.items()},
        **named,
        git_repo=f"git_repo: {_flow(about.git_repo)}" if about.git_repo else "",
        more_citations=_block([more._asdict()], indent=0) if more else "",
        attachments=_block(entries, indent=0),
        facts=_block(_facts(package), indent=4),
    )


def card(package: Package) -> str:
    """README.md."""
    run, settings, facts = package.run, package.run.config.settings, package.run.config.facts
    counts = ", ".join(f"{count} {part}" for part, count in facts.frames.items())
    steps = _steps(run)
    training = f"{steps} steps" if steps else "an unknown number of steps"
    kind, said = KINDS[package.kind], _words(package)
    more = CITATIONS.get(settings.system)
    meaning = Template(kind.channels).substitute(
        structures=len(run.names), samples=package.arguments["samples"]
    )
    return _template("card.md").substitute(
        name=package.name,
        description=package.about.description or said["summary"],
        task=_wrapped(
            f"{said['task']} For every image there are many plausible answers; this package draws "
            f"{package.arguments['samples']} of them and {kind.returns}."
        ),
        use=_wrapped(said["use"]),
        picture=said["picture"],
        validate=_wrapped(said["validate"]),
        trained_for=said["trained_for"],
        untold=_wrapped(said["untold"], indent="  ").lstrip(),
        more_citations=f"\n{_wrapped(f'{more.text}, doi {more.doi}.')}\n" if more else "",
        seed=package.arguments["seed"],
        channels=", ".join(f"`{name}`" for name in package.channels),
        channel_count=len(package.channels),
        channel_meaning=_wrapped(meaning, indent="  "),
        deviations=_deviations(package),
        names=" and ".join(run.names),
        tile=package.tile,
        halo=package.halo,
        halo_error=_halo_error(package),
        stride=run.model.stride,
        validation=_validation(run),
        training_data=package.about.training_data,
        frames=f"Frames: {counts}.",
        training=training,
        test_image=package.example.origin,
    )


def _deviations(package: Package) -> str:
    """The calibration, where there is something that it applies to."""
    if package.kind != "mmse":
        return ""
    factors = ", ".join(f"{name} {a:.3g}" for name, a in package.run.calibration.items())
    return (
        f"Standard deviations are multiplied by these calibration factors: {factors}. They were "
        "calibrated on average: single pixels, and images unlike those of the training, may have "
        "larger errors than they say.\n"
    )


def _halo_error(package: Package) -> str:
    """What the halo of a package was measured to cost."""
    error = package.run.halo_errors.get(package.halo)
    if error is None:
        return "not measured for this halo"
    return f"by {error:.1g} of the data range at most, on validation images"


def _words(package: Package) -> Mapping[str, str]:
    settings = package.run.config.settings
    return words(
        package.run.names, settings.data.superposition, settings.system, KINDS[package.kind]
    )


def _facts(package: Package) -> dict[str, Any]:
    """What only this project reads, under config.denoisplit."""
    run, settings, facts = package.run, package.run.config.settings, package.run.config.facts
    noise = {}
    for name in run.names:
        if noise_model_path(run.path, name).is_file():
            model = next(m for n, m in zip(run.names, run.noise_models(), strict=True) if n == name)
            noise[name] = {
                **model.about,
                "min_signal": float(model.min_signal),
                "max_signal": float(model.max_signal),
                "min_variance": float(model.min_variance),
                "components": model.weight.shape[0] // 3,
            }
    return {
        "format_version": PACKAGE_VERSION,
        "denoisplit": __version__,
        "kind": package.kind,
        "structures": list(run.names),
        "system": settings.system,
        "superposition": settings.data.superposition,
        "samples": package.arguments["samples"],
        "seed": package.arguments["seed"],
        "antithetic": package.arguments["antithetic"],
        "content_quantum": package.arguments["quantum"],
        "calibration": run.calibration,
        "noise_models": noise,
        "pixel_size_um": facts.pixel_size_um,
        "training": {
            "frames": facts.frames,
            "steps": _steps(run),
            "preset": settings.preset,
            "patch": settings.network.patch,
            "beta": settings.objective.beta,
            "synthetic_poisson": settings.data.synthetic_poisson,
            "synthetic_gaussian_sigma": facts.gaussian_sigma,
            "input_mean": facts.input_frame_mean[0],
            "input_noise_std": facts.input_noise_std,
        },
        "test_image": package.example.origin,
    }


def _validation(run: Run) -> str:
    """The metrics of the run on its test frames, as a table."""
    if not (run.path / METRICS).is_file():
        return "This run was not evaluated."
    metrics = read_json(run.path / METRICS)
    columns = metrics_columns(metrics)
    lines = [
        f"Measured on {metrics['frames']} test frames that the training did not see, with "
        f"{metrics['samples']} posterior samples, against {metrics.get('reference', 'known')} "
        "references (mean and standard error over frames):",
        "",
        f"| | {' | '.join(columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for label, cells in table_rows(columns):
        lines.append(f"| {label.strip()} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _steps(run: Run) -> int | None:
    """Training steps, as the history of the run tells."""
    if not (run.path / HISTORY).is_file():
        return None
    with (run.path / HISTORY).open(newline="", encoding="utf-8") as stream:
        steps = [int(row["step"]) for row in csv.DictReader(stream)]
    return max(steps, default=None)


def _people(people: Sequence[Any]) -> list[dict[str, str]]:
    return [person.model_dump(exclude_none=True) for person in people]


def _wrapped(text: str, *, indent: str = "") -> str:
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent)


def _template(name: str) -> Template:
    return Template((files("denoisplit_zoo.rdf_templates") / name).read_text(encoding="utf-8"))


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(
        [value], default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False
    )
    return text.strip()[1:-1]


def _block(value: Any, *, indent: int) -> str:
    """A value as YAML on many lines."""
    text = yaml.safe_dump(value, width=100, allow_unicode=True, sort_keys=False)
    return textwrap.indent(text.rstrip(), " " * indent)
