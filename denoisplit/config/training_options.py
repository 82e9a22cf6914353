"""Turn the arguments of `denoisplit.train` into settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.config.everyday import TRAIN
from denoisplit.config.presets import merged
from denoisplit.config.settings import Settings
from denoisplit.errors import InputError
from denoisplit.images import Files, each_of

PathLike = str | Path

# option -> the group of the setting that it stands for
GROUP_OF = {o.name: o.setting.split(".")[0] for o in TRAIN.options if "." in o.setting}


def settings_values(
    structures: Mapping[str, Files],
    noise_models: Mapping[str, PathLike] | None,
    repeats: Mapping[str, Files] | None,
    offsets: Mapping[str, float] | None,
    options: Mapping[str, Any],
    *,
    truth: Mapping[str, Files] | None = None,
) -> dict[str, Any]:
    """Return plain values of Settings from the arguments of `train`."""
    entries: list[dict[str, Any]] = [
        {"name": name, "files": _texts(files)} for name, files in structures.items()
    ]
    by_name = {entry["name"]: entry for entry in entries}
    per_structure: dict[tuple[str, str], Mapping[str, Any]] = {
        ("noise_models", "noise_model"): {n: str(f) for n, f in (noise_models or {}).items()},
        ("repeats", "repeats"): {n: _texts(f) for n, f in (repeats or {}).items()},
        ("truth", "truth"): {n: _texts(f) for n, f in (truth or {}).items()},
        ("offsets", "offset"): offsets or {},
    }
    for (argument, key), given in per_structure.items():
        for name, value in given.items():
            if name not in by_name:
                raise InputError(
                    "there is no structure of this name",
                    where=f"{argument} {name}",
                    remedy=f"use one of {', '.join(by_name)}",
                )
            by_name[name][key] = value
    values: dict[str, Any] = {"structures": entries}
    flat: dict[str, Any] = {}  # options that stand for a setting in a group; they take precedence
    for key, value in options.items():
        if key in GROUP_OF and value is not None:
            flat = merged(flat, {GROUP_OF[key]: {key: value}})
        elif value is not None:
            values[key] = dict(value) if isinstance(value, Mapping) else value
    return merged(values, flat)


def _texts(files: Files) -> list[str]:
    return [str(file) for file in each_of(files)]


def files_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the image files of every structure."""
    return {s.name: s.files for s in settings.structures}
