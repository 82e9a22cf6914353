"""Check that a training is resumed with the settings and images that it was started with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.config.settings import Settings
from denoisplit.errors import InputError, difference
from denoisplit.images import ImageFile, identity

Fingerprints = Mapping[str, list[dict[str, Any]]]

MAX_NAMED = 3  # differing settings that the error line names


def check_same_settings(stored: Settings, given: Settings, run: Path) -> None:
    """Refuse to resume with other settings; one that is left out counts with its default.

    Raises
    ------
    InputError
        If any setting differs, apart from folders of files and the size of tiles.
    """
    before, now = (_flat(_comparable(settings)) for settings in (stored, given))
    differences = [
        difference(name, before.get(name), now.get(name))
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if differences:
        more = len(differences) - MAX_NAMED
        names = ", ".join(differences[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise InputError(
            f"this training was started with other settings: {names}",
            where=run,
            remedy="to resume it, leave all settings out; to use these, train into a new folder",
        )


def check_same_images(
    trained: Fingerprints, fingerprints: Fingerprints, run: Path, kind: str = "structure"
) -> None:
    """Refuse to resume with other images.

    Parameters
    ----------
    trained, fingerprints : mapping
        Fingerprints of the images of each structure, at the start and now.
    run : Path
    kind : str
        What the images are of, for the error message.

    Raises
    ------
    InputError
        If the number or the content of the image files of a structure differs.
    """
    remedy = "restore the images, or train into a new folder"
    for name, stored in trained.items():
        for old, new in zip(stored, fingerprints[name], strict=False):
            if identity(old) != identity(new):
                raise InputError(
                    f"{new['name']} is not the image that this run was trained on ({old['name']})",
                    where=run,
                    remedy=remedy,
                )
        if len(stored) != len(fingerprints[name]):
            raise InputError(
                where=run,
                found=f"{len(fingerprints[name])} files of {kind} {name}",
                expected=f"{len(stored)} as before",
                remedy=remedy,
            )


def _comparable(settings: Settings) -> dict[str, Any]:
    """Return the settings that must not change.

    Files may have been moved: `check_same_images` compares the content of the images, and repeats
    and noise models are not read again. Tiles depend on the machine and not on the training.
    """
    values = settings.model_dump(exclude={"structures": {"__all__": {"files"}}})
    for structure in values["structures"]:
        for key in ("repeats", "truth"):
            structure[key] = [ImageFile.of(file).name for file in structure[key]]
        if structure["noise_model"] is not None:
            structure["noise_model"] = Path(structure["noise_model"]).name
    values["prediction"].pop("tile")
    return values


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested groups of settings as one mapping of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat
