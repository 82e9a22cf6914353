"""Options of a command from a YAML file: the same names as in the Python functions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic import ValidationError

from denoisplit.config.migration import migrated
from denoisplit.config.options import Channel, Command, Groups, Option, field_of, resolved
from denoisplit.config.settings import Settings
from denoisplit.config.validation import as_written, parse_value, unknown_key
from denoisplit.errors import InputError
from denoisplit.files.yaml_file import read_yaml


def from_yaml(path: str | Path, command: Command) -> dict[str, Any]:
    """Read options of a command; `train` also takes the config.yaml of a run.

    Raises
    ------
    InputError
        For an unknown key, naming it and those that exist, or a value of another type.
    """
    values = read_yaml(path)
    if command.name == "train" and "format_version" in values:
        values = _options_of_run(migrated(values, path))
    known = {o.name: o for o in command.options if o.name not in ("config", "quiet")}
    for key in values:
        if key not in known:
            raise unknown_key(key, list(known), path)
    checked = {key: _checked(path, resolved(known[key]), value) for key, value in values.items()}
    return {key: value for key, value in checked.items() if value is not None}


def _checked(path: str | Path, option: Option, value: Any) -> Any:
    """Return a value of the type that the option declares; a file stands for a list of one."""
    kind = option.type
    if value is None and option.default is None:
        return None
    if kind == Groups:
        if not isinstance(value, Mapping):
            raise InputError(
                f"{option.name} = {value!r} is not a mapping of names to lists of files",
                where=path,
                remedy=f"write `{option.name}:` and below it lines `NAME: [FILES]`",
            )
        value = {str(n): [files] if isinstance(files, str) else files for n, files in value.items()}
    elif get_origin(kind) is list and isinstance(value, str):
        value = [value]
    elif option.choices and kind is str:
        kind, value = Literal[option.choices], as_written(value)
    elif kind == Channel:
        value = as_written(value)
    elif option.setting and kind != dict[str, Any]:
        kind = field_of(option).rebuild_annotation()
    return parse_value(kind, value, path, option.name)


def _options_of_run(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options from the content of a run's config.yaml."""
    settings = dict(values.get("settings", {}))
    # defaults fill what an earlier release did not know, before the preset can
    with suppress(ValidationError):  # each value is checked later
        settings = Settings.model_validate(settings).model_dump(mode="json")
    entries = settings.pop("structures", [])
    per_structure = {
        option: {entry["name"]: entry[key] for entry in entries if entry.get(key)}
        for option, key in (
            ("structures", "files"),
            ("noise_models", "noise_model"),
            ("repeats", "repeats"),
            ("offsets", "offset"),
        )
    }
    return settings | {option: given for option, given in per_structure.items() if given}
