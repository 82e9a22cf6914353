"""Description (``rdf.yaml``) and model card of a package, filled in from the templates."""

from __future__ import annotations

import csv
import hashlib
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml

from denoisplit.config.systems import SYSTEMS
from denoisplit.files.json_file import read_json
from denoisplit.report.tables import metrics_columns, reference_text, table_rows
from denoisplit.report.verdicts import error_bar_sentences, verdict_sentences
from denoisplit.run import HISTORY, METRICS, WEIGHTS, Run
from denoisplit.version import __version__
from denoisplit_zoo.exporting.about import About
from denoisplit_zoo.exporting.example_image import ExampleImage
from denoisplit_zoo.exporting.kinds import PackageKind, package_kind
from denoisplit_zoo.exporting.phrases import CITATIONS, package_texts
from denoisplit_zoo.exporting.weights import OPSET

TAGS = (
    "fluorescence-light-microscopy 2d cells pytorch unet image-restoration denoising ilastik fiji "
    "imagej deepimagej denoisplit variational-autoencoder uncertainty"
)
# arguments of graphs that draw samples -> their names in config.denoisplit
SAMPLING_FACTS = {"seed": "seed", "antithetic": "antithetic", "quantum": "content_quantum"}
PACKAGE_VERSION = 1  # of config.denoisplit and the attachments
# share of the largest test value, above errors of reduced precision; half of the format's limit
ABSOLUTE_TOLERANCE = 0.005


@dataclass(frozen=True)
class Package:
    """Facts about a package that its description and card state."""

    run: Run
    name: str
    about: About
    kind: str
    coverage: float | None  # of the intervals; None for a package without
    arguments: Mapping[str, Any]  # of the graph
    channels: Sequence[str]  # names of the output channels
    tile: int  # px
    halo: int  # px
    example: ExampleImage
    output: npt.NDArray[np.float32]  # (1, channels, N, N), of the example

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Texts that depend on system, structures and kind, by their names in the templates."""
        return package_texts(self.run, self.of_kind, self.arguments, self.coverage)

    @cached_property
    def of_kind(self) -> PackageKind:
        """What is common to all packages of the kind."""
        return package_kind(self.kind, self.run)


def description(package: Package, contents: Mapping[str, bytes], attached: Sequence[str]) -> str:
    """Return the text of ``rdf.yaml``, which names all other files with their SHA-256.

    ``attached`` are the names of those that the format calls attachments.
    """
    run, about = package.run, package.about
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    created = run.config.created  # an older release kept no date, and that of a file may change
    if created is None:
        created = datetime.fromtimestamp((run.path / WEIGHTS).stat().st_mtime, UTC)
    citation = CITATIONS.get(run.config.settings.system)
    limit = ABSOLUTE_TOLERANCE * float(package.output.max())
    values = {
        "name": package.name,
        "description": about.description or package.texts["summary"],
        "authors": [person.model_dump(exclude_none=True) for person in about.authors],
        "maintainers": [person.model_dump(exclude_none=True) for person in about.maintainers],
        "license": about.license,
        "version": about.version,
        "timestamp": created.astimezone(UTC).isoformat(timespec="seconds"),
        "tags": list(dict.fromkeys((*TAGS.split(), *package.texts["tag"].split(), *about.tags))),
        "input_description": package.texts["input_description"],
        "input_channel": package.texts["input_channel"],
        "output_description": package.texts["output"],
        "tile": package.tile,
        "halo": package.halo,
        "channels": list(package.channels),
        "callable": package.of_kind.graph.__name__,
        "kwargs": dict(package.arguments),
        "pytorch_version": torch.__version__.split("+")[0],
        "opset": OPSET,
        "nickname": re.sub(r"[^a-z0-9]+", "-", package.name.lower()).strip("-") or "denoisplit",
        "absolute_tolerance": float(f"{limit:.1e}"),
    }
    digests = {f"sha_{re.sub(r'[^a-z0-9]', '_', name)}": value for name, value in hashes.items()}
    entries = [{"source": name, "sha256": hashes[name]} for name in attached]
    return _template("model.yaml").substitute(
        {key: _flow(value) for key, value in values.items()},
        **digests,
        git_repo=f"git_repo: {_flow(about.git_repo)}" if about.git_repo else "",
        more_citations=_block([citation._asdict()], indent=0) if citation else "",
        attachments=_block(entries, indent=0),
        facts=_block(_facts(package), indent=4),
    )


def card(package: Package) -> str:
    """Return the text of the model card, ``README.md``."""
    run, settings, facts = package.run, package.run.config.settings, package.run.config.facts
    counts = ", ".join(f"{count} {part}" for part, count in facts.frames.items())
    steps = _steps(run)
    training = f"{steps} steps" if steps else "an unknown number of steps"
    texts = package.texts
    citation = CITATIONS.get(settings.system)
    reference = f"\n{_wrapped(f'{citation.text}, doi {citation.doi}.')}\n" if citation else ""
    return _template("card.md").substitute(
        name=package.name,
        description=package.about.description or texts["summary"],
        task=_wrapped(
            f"{texts['task']} Many results are compatible with a noisy image. This package "
            f"{texts['returns']}."
        ),
        use=_wrapped(texts["use"]),
        picture=texts["picture"],
        validate=_wrapped(texts["validate"]),
        trained_for=texts["trained_for"],
        limits=_wrapped(texts["limits"], indent="  ").lstrip(),
        more_citations=reference,
        reproducibility=_wrapped(texts["reproducibility"]),
        channels=", ".join(f"`{name}`" for name in package.channels),
        channel_count=len(package.channels),
        channel_meaning=_wrapped(texts["channels"], indent="  "),
        error_bars=f"{_wrapped(texts['error_bars'])}\n" if texts["error_bars"] else "",
        names=" and ".join(run.names),
        tile=package.tile,
        halo=package.halo,
        halo_error=_halo_error(package),
        validation=_validation(run),
        training_data=package.about.training_data,
        frames=f"Frames: {counts}.",
        training=training,
        test_image=package.example.origin,
    )


def _halo_error(package: Package) -> str:
    """Return the measured difference of the structures between tiles and the whole image."""
    measured = [halo for halo in package.run.halo_errors if halo <= package.halo]
    if not measured:
        return "not measured for this halo"
    error = package.run.halo_errors[max(measured)]
    return f"at most {error:.1g} of the data range in the structures of validation images"


def _facts(package: Package) -> dict[str, Any]:
    """Return the section ``config.denoisplit``, which only this project reads."""
    run, settings, facts = package.run, package.run.config.settings, package.run.config.facts
    arguments = package.arguments
    models = run.noise_models() if SYSTEMS[settings.system].noise_models else []
    noise = {
        name: {
            **model.about,
            "min_signal": float(model.min_signal),
            "max_signal": float(model.max_signal),
            "min_variance": float(model.min_variance),
            "components": model.weight.shape[0] // 3,
        }
        for name, model in zip(run.names, models, strict=bool(models))
    }
    return {
        "format_version": PACKAGE_VERSION,
        "denoisplit": __version__,
        "kind": package.kind,
        "structures": list(run.names),
        "system": settings.system,
        "superposition": settings.data.superposition,
        "samples": arguments.get("samples", 0),
        **{fact: arguments[key] for key, fact in SAMPLING_FACTS.items() if key in arguments},
        "error_map": package.of_kind.error_map,
        **({} if package.coverage is None else {"interval": package.coverage}),
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
    """Return the metrics on the run's test frames as a table."""
    if not (run.path / METRICS).is_file():
        return "This run was not evaluated."
    metrics = read_json(run.path / METRICS)
    columns = metrics_columns(metrics)
    lines = [
        *(f"- {text}" for text in (*verdict_sentences(metrics), *error_bar_sentences(metrics))),
        "",
        f"Measured on {metrics['frames']} test frames that were not used for training, with "
        f"{metrics['samples']} posterior samples; {reference_text(metrics)} (mean and standard "
        "error over frames):",
        "",
        f"| | {' | '.join(columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for label, cells in table_rows(columns):
        lines.append(f"| {label.strip()} | {' | '.join(cells)} |")
    return "\n".join(lines).lstrip()


def _steps(run: Run) -> int | None:
    """Return the number of training steps from the history of the run."""
    if not (run.path / HISTORY).is_file():
        return None
    with (run.path / HISTORY).open(newline="", encoding="utf-8") as stream:
        steps = [int(row["step"]) for row in csv.DictReader(stream)]
    return max(steps, default=None)


def _wrapped(text: str, *, indent: str = "") -> str:
    return textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent)


def _template(name: str) -> Template:
    return Template((files("denoisplit_zoo.rdf_templates") / name).read_text(encoding="utf-8"))


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(
        [value], default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False
    )
    return text.strip()[1:-1]


def _block(value: Any, *, indent: int) -> str:
    """Return a value as YAML on several lines."""
    text = yaml.safe_dump(value, width=100, allow_unicode=True, sort_keys=False)
    return textwrap.indent(text.rstrip(), " " * indent)
