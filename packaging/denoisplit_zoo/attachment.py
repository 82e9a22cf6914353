"""The attachment of a package: all of a run folder but the weights, in one JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal

import yaml
from pydantic import Field

from denoisplit.config.groups import Frozen
from denoisplit.config.systems import SYSTEMS
from denoisplit.config.validation import parse
from denoisplit.files.json_file import json_text, parse_json, read_json
from denoisplit.jobs.alarm_file import ALARM
from denoisplit.noise_models import GaussianMixture
from denoisplit.run import CALIBRATION, CONFIG, METRICS, NOISE_MODELS, Run
from denoisplit_zoo.archive import Contents, unusable

ATTACHMENT = "denoisplit.json"
PACKAGE_VERSION = 2  # of the attachment and of config.denoisplit
# JSON files of a run folder, by their keys in the attachment
JSON_FILES = {"calibration": CALIBRATION, "metrics": METRICS, "alarm": ALARM}
NOISE_MODEL = "noise_model_"  # start of the names of files in packages of version 1


class _NoiseModel(Frozen):
    """Arguments of `GaussianMixture`."""

    weight: list[list[float]]
    min_signal: float
    max_signal: float
    min_variance: float
    about: dict[str, bool | int | float | str] = Field(default_factory=dict)


class _Attachment(Frozen):
    format_version: Literal[2]
    config: dict[str, Any]
    calibration: dict[str, Any]
    metrics: dict[str, Any] | None = None
    alarm: dict[str, Any] | None = None
    noise_models: dict[str, _NoiseModel] = Field(default_factory=dict)


def attachment(run: Run) -> bytes:
    """Return the attachment of a run, without the folders of its images.

    Raises
    ------
    InputError
        If a file of the run is missing or damaged.
    """
    config: dict[str, Any] = run.config.model_dump(mode="json")
    for structure in config["settings"]["structures"]:
        structure["files"] = [PurePath(file).name for file in structure["files"]]
        if structure["noise_model"] is not None:
            structure["noise_model"] = PurePath(structure["noise_model"]).name
    values: dict[str, Any] = {"format_version": PACKAGE_VERSION, "config": config}
    for key, name in JSON_FILES.items():
        if (run.path / name).is_file():
            values[key] = read_json(run.path / name)
    models = run.noise_models() if SYSTEMS[run.config.settings.system].noise_models else []
    values["noise_models"] = {
        name: {
            **{key: value.tolist() for key, value in model.named_buffers()},  # exact
            "about": model.about,
        }
        for name, model in zip(run.names, models, strict=bool(models))
    }
    return json_text(values).encode()


def run_files(contents: Contents) -> Mapping[str, bytes]:
    """Return the files of a run folder that a package holds, apart from weights, by their names.

    Raises
    ------
    InputError
        If the attachment is not one that `attachment` writes. What the files hold is not checked.
    """
    if ATTACHMENT not in contents.files:  # version 1, which has these files themselves
        return {
            name.replace(NOISE_MODEL, f"{NOISE_MODELS}/", 1): data
            for name, data in contents.files.items()
            if name in (CONFIG, CALIBRATION, METRICS) or name.startswith(NOISE_MODEL)
        }
    where = f"{contents.path}, {ATTACHMENT}"
    try:
        stored = parse(_Attachment, parse_json(contents.files[ATTACHMENT]), where)
        files = {
            f"{NOISE_MODELS}/{name}.npz": GaussianMixture(**model.model_dump()).to_bytes()
            for name, model in stored.noise_models.items()
        }
    except ValueError as error:
        raise unusable(f"this file is not usable ({error})", where) from None
    files[CONFIG] = yaml.safe_dump(stored.config, sort_keys=False, allow_unicode=True).encode()
    for key, name in JSON_FILES.items():
        if (values := getattr(stored, key)) is not None:
            files[name] = json_text(values).encode()
    return files
