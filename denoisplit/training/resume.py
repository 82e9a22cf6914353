"""Arguments of ``train`` -> settings; a resumed run must be given the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.config.settings import Facts, Settings
from denoisplit.errors import InputError, difference

SHOWN = 3  # settings that one line names


def check_same_settings(stored: Settings, given: Settings, run: Path) -> None:
    """Refuse to resume with other settings: all of them, also those that are not given now."""
    a, b = (_flat(_wherever(s)) for s in (stored, given))
    others = [difference(k, a.get(k), b.get(k)) for k in {**a, **b} if a.get(k) != b.get(k)]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise InputError(
            where=run,
            found=f"a training with other settings than now: {', '.join(others[:SHOWN])}{more}",
            expected="those that it was started with, or none",
            remedy="leave all of them out, or train into a new folder",
        )


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
                    where=run,
                    found=f"that {new['name']} is not the image it was trained on ({old['name']})",
                    expected="the same images",
                    remedy="restore them, or train into a new folder",
                )
        if len(stored) != len(prints[name]):
            raise InputError(
                where=run,
                found=f"{len(prints[name])} files of structure {name}",
                expected=f"{len(stored)} as before",
                remedy="restore them, or train into a new folder",
            )
