"""Options of a training, as `denoisplit.train` takes them, and the settings that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.config.settings import Settings
from denoisplit.errors import InputError
from denoisplit.images import Files, each_of

PathLike = str | Path

# option -> the group of settings that it belongs to
GROUP_OF = {
    "superposition": "data",
    "pairing": "data",
    "synthetic_poisson": "data",
    "synthetic_gaussian": "data",
    "max_steps": "training",
    "beta": "objective",
}


def settings_values(
    structures: Mapping[str, Files],
    noise_models: Mapping[str, PathLike] | None,
    repeats: Mapping[str, Files] | None,
    offsets: Mapping[str, float] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Plain values of Settings from the arguments of `train`."""
    entries: list[dict[str, Any]] = [
        {"name": name, "files": _texts(files)} for name, files in structures.items()
    ]
    by_name = {entry["name"]: entry for entry in entries}
    known: dict[str, Mapping[str, Any]] = {
        "noise_model": {name: str(file) for name, file in (noise_models or {}).items()},
        "repeats": {name: _texts(files) for name, files in (repeats or {}).items()},
        "offset": offsets or {},
    }
    for key, given in known.items():
        for name, value in given.items():
            if name not in by_name:
                raise InputError(
                    where=f"{key} {name}",
                    found="no structure of that name",
                    expected=f"one of {', '.join(by_name)}",
                    remedy="correct the name",
                )
            by_name[name][key] = value
    values: dict[str, Any] = {"structures": entries}
    for key, value in options.items():
        group = GROUP_OF.get(key)
        if value is None:
            continue
        if group is None:
            inner = values.get(key)
            both = isinstance(inner, dict) and isinstance(value, Mapping)
            values[key] = {**value, **inner} if both else value  # type: ignore[dict-item]
        else:
            values.setdefault(group, {})
            values[group] = {**values[group], key: value}
    return values


def _texts(files: Files) -> list[str]:
    return [str(file) for file in each_of(files)]


def files_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The image files of every structure."""
    return {s.name: s.files for s in settings.structures}
