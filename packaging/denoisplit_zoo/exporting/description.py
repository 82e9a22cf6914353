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
from denoisplit.run import HISTORY, WEIGHTS, Run
from denoisplit.version import __version__
from denoisplit_zoo.attachment import PACKAGE_VERSION
from denoisplit_zoo.exporting.about import About, Source
from denoisplit_zoo.exporting.example_image import ExampleImage
from denoisplit_zoo.exporting.kinds import PackageKind, package_kind
from denoisplit_zoo.exporting.phrases import CITATIONS, package_texts
from denoisplit_zoo.exporting.training_facts import facts_table
from denoisplit_zoo.exporting.validation import validation
from denoisplit_zoo.exporting.weights import OPSET

Array = npt.NDArray[np.float32]

WITH_STD = ("mmse", "fast")  # kinds with error bars; those of interval are half of each
TAGS = (
    "fluorescence-light-microscopy 2d cells pytorch unet image-restoration denoising ilastik fiji "
    "imagej deepimagej denoisplit variational-autoencoder uncertainty"
)
# arguments of graphs that draw samples -> their names in config.denoisplit
SAMPLING_FACTS = {"seed": "seed", "antithetic": "antithetic", "quantum": "content_quantum"}
# Of the value, and of the range of the output channel with the smallest. Measured on a trained run,
# as shares of the range of each channel: 1e-6 in torch and onnxruntime 1.12 to 1.32, and 6e-4 with
# the inputs of convolutions rounded to 10 bits, as GPUs do (TF32).
TOLERANCE = 0.002
ERRORS = "; below, error bars (of intervals: half) and true errors with the same brightness"


@dataclass(frozen=True)
class Package:
    """Facts about a package that its description and card state."""

    run: Run
    name: str
    nickname: str  # in lists and macros of Fiji
    about: About
    kind: str
    coverage: float | None  # of the intervals; None for a package without
    arguments: Mapping[str, Any]  # of the graph
    channels: Sequence[str]  # names of the output channels
    tile: int  # px
    halo: int  # px
    example: ExampleImage
    output: Array  # (1, channels, N, N), of the example
    tile_error: float  # largest difference between tiles and one pass, share of the example's range
    pixel_size_um: Mapping[str, float]  # per axis

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Texts that depend on system, structures and kind, by their names in the templates."""
        return package_texts(self.run, self.of_kind, self.arguments, self.coverage)

    @property
    def more_citations(self) -> list[Source]:
        """Publications beside that of the method."""
        system = self.run.config.settings.system
        return [*([CITATIONS[system]] if system in CITATIONS else []), *self.about.cite]

    @cached_property
    def errors(self) -> tuple[Array, Array] | None:
        """Error bars and true errors (C, N, N) of the example, if it has both."""
        if self.example.truth is None or self.kind not in (*WITH_STD, "interval"):
            return None
        count = len(self.channels) // len(self.run.names)
        split, *others = np.split(self.output[0], count)
        bars = others[0] if self.kind in WITH_STD else (others[1] - others[0]) / 2
        return bars, np.abs(split - self.example.truth)

    @cached_property
    def of_kind(self) -> PackageKind:
        """What is common to all packages of the kind."""
        return package_kind(self.kind, self.run)


def description(package: Package, contents: Mapping[str, bytes]) -> str:
    """Return the text of ``rdf.yaml``, which names all other files with their SHA-256."""
    run, about = package.run, package.about
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    created = run.config.created  # an older release kept no date, and that of a file may change
    if created is None:
        created = datetime.fromtimestamp((run.path / WEIGHTS).stat().st_mtime, UTC)
    more = package.more_citations
    limit = TOLERANCE * float(np.ptp(package.output, (0, 2, 3)).min())
    values = {
        "name": package.name,
        "description": about.description or package.texts["summary"],
        "authors": [person.model_dump(exclude_none=True) for person in about.authors],
        "maintainers": [person.model_dump(exclude_none=True) for person in about.maintainers],
        "packaged_by": [
            person.model_dump(exclude_none=True) for person in about.packaged_by or about.authors
        ],
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
        "nickname": package.nickname,
        "relative_tolerance": TOLERANCE,
        "absolute_tolerance": float(f"{limit:.1e}"),
    }
    digests = {f"sha_{re.sub(r'[^a-z0-9]', '_', name)}": value for name, value in hashes.items()}
    return _template("model.yaml").substitute(
        {key: _flow(value) for key, value in values.items()},
        **digests,
        git_repo=f"git_repo: {_flow(about.git_repo)}" if about.git_repo else "",
        more_citations=_block([s.model_dump() for s in more], indent=0) if more else "",
        facts=_block(_facts(package), indent=4),
    )


def card(package: Package) -> str:
    """Return the text of the model card, ``README.md``."""
    run, about, texts = package.run, package.about, package.texts
    wrapped = {name: _wrapped(text) for name, text in texts.items()}
    task = (
        f"{texts['task']} Many results are compatible with a noisy image. This package "
        f"{texts['returns']}."
    )
    return _template("card.md").substitute(
        wrapped
        | {
            "task": _wrapped(task),
            **{k: _wrapped(texts[k], indent="  ").lstrip() for k in ("limits", "bias")},
            "picture": texts["picture"] + ERRORS * (package.errors is not None),
            "trained_for": texts["trained_for"],
            "channel_meaning": _wrapped(texts["channels"], indent="  "),
            "error_bars": f"{wrapped['error_bars']}\n" * bool(texts["error_bars"]),
        },
        name=package.name,
        description=about.description or texts["summary"],
        channels=", ".join(f"`{name}`" for name in package.channels),
        channel_count=len(package.channels),
        names=" and ".join(run.names),
        stride=run.model.stride,
        tile=package.tile,
        halo=package.halo,
        tile_error=f"{package.tile_error:.1g}",
        tolerance=f"{100 * TOLERANCE:g} %",
        validation=validation(run),
        workflow=f"\n\n{about.workflow.strip()}" if about.workflow else "",
        biases=f"- {about.biases.strip()}\n" if about.biases else "",
        training_data=about.training_data,
        microscope=f"\nMicroscope: {about.microscope}" if about.microscope else "",
        facts=facts_table(run, package.pixel_size_um, _steps(run)),
        test_image=package.example.origin,
        more_citations="".join(
            f"\n{_wrapped(f'{source.text}, doi {source.doi}.')}\n"
            for source in package.more_citations
        ),
    )


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
        # tiles of these give the result of `denoisplit predict`, more exactly than the package's
        "prediction": {"stride": run.model.stride, "halo": run.halo},
        "noise_models": noise,
        "pixel_size_um": dict(package.pixel_size_um),
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
