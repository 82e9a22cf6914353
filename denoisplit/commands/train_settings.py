"""Arguments of ``train`` -> settings; a resumed run must be given the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.config import Facts, Settings
from denoisplit.errors import InputError, difference
from denoisplit.images import Files, each_of

PathLike = str | Path
SHOWN = 3  # settings that one line names

# options of the command line -> the group of settings that they belong to
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
                    f"{key} {name}", "no structure of that name",
                    f"one of {', '.join(by_name)}", "correct the name",
                )  # fmt: skip
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


def check_same_settings(stored: Settings, given: Settings, run: Path) -> None:
    """Refuse to resume with other settings: all of them, also those that are not given now."""
    a, b = (_flat(_wherever(s)) for s in (stored, given))
    others = [difference(k, a.get(k), b.get(k)) for k in {**a, **b} if a.get(k) != b.get(k)]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise InputError(
            run, f"a training with other settings than now: {', '.join(others[:SHOWN])}{more}",
            "those that it was started with, or none",
            "leave all of them out, or train into a new folder",
        )  # fmt: skip


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Groups in groups as dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else None
        found |= {before + key: value} if inner is None else inner
    return found


def _wherever(settings: Settings) -> dict[str, Any]:
    """The settings without folders and tiles: files may have been moved since.

    Tiles are as this machine likes them, and change no result that anyone can see.

    `check_same_images` compares the content of images; noise models and shots are not read again.
    """
    values = settings.model_dump(exclude={"structures": {"__all__": {"files"}}})
    for structure in values["structures"]:
        structure["repeats"] = [Path(file).name for file in structure["repeats"]]
        if structure["noise_model"] is not None:
            structure["noise_model"] = Path(structure["noise_model"]).name
    values["prediction"].pop("tile")
    return values


def check_same_images(facts: Facts, prints: Mapping[str, Any], run: Path) -> None:
    """Refuse to resume with other images."""
    for name, stored in facts.fingerprints.items():
        for old, new in zip(stored, prints[name], strict=False):
            if old["sha256"] != new["sha256"]:
                raise InputError(
                    run, f"that {new['name']} is not the image it was trained on ({old['name']})",
                    "the same images", "restore them, or train into a new folder",
                )  # fmt: skip
        if len(stored) != len(prints[name]):
            raise InputError(
                run, f"{len(prints[name])} files of structure {name}", f"{len(stored)} as before",
                "restore them, or train into a new folder",
            )  # fmt: skip
