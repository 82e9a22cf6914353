"""Read the config.yaml of a run, also in the format of an earlier release."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from denoisplit.config.settings import FORMAT_VERSION
from denoisplit.errors import InputError
from denoisplit.files.yaml_file import read_yaml

# settings of format 1 that are constants now
REMOVED = {
    "training.cosine_from": 0.0,
    "denoiser.training.cosine_from": 0.0,
    "n2v.depth": 2,
    "n2v.patch": 64,
    "n2v.neighbourhood": 11,
    "n2v.plateau_patience": 10,
}


def read_config(path: Path) -> dict[str, Any]:
    """Read the config.yaml of a run as plain values of the present format.

    Raises
    ------
    InputError
        If the file is unreadable or of an unknown format, or sets a removed key to another value
        than the present constant.
    """
    return migrated(read_yaml(path), path)


def migrated(values: dict[str, Any], where: str | Path) -> dict[str, Any]:
    """Bring the values of a config.yaml to the present format; see `read_config`."""
    version = values.get("format_version")
    if version == FORMAT_VERSION:
        return values
    if version != 1:
        raise InputError(
            f"format version {version} is unknown; this release reads versions 1 to "
            f"{FORMAT_VERSION}",
            where=where,
            remedy="use the release of denoisplit that wrote the file",
        )
    values = deepcopy(values)
    for name, constant in REMOVED.items():
        *groups, key = name.split(".")
        group = values.get("settings")
        for part in groups:
            group = group.get(part) if isinstance(group, dict) else None
        if not isinstance(group, dict) or key not in group:
            continue
        value = group.pop(key)
        if value != constant:
            raise InputError(
                f"{name} = {value!r} is no longer supported: the value is always {constant}",
                where=where,
                remedy="delete this line to use the run as it is; to resume its training, use "
                "the release of denoisplit that started it",
            )
    return values | {"format_version": FORMAT_VERSION}
