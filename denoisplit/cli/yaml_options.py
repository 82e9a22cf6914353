"""Options of a command from a YAML file: the same names as in the Python functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from denoisplit.config.settings import Settings
from denoisplit.config.yaml_file import as_written, read_yaml
from denoisplit.errors import InputError

IMAGES = ("repeats", "clean", "noisy", "signal", "observed")  # of `noise-model fit`


def from_yaml(
    path: str | Path, command: str, function: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """Options of ``command`` in a YAML file; the config.yaml of a run serves for ``train`` too.

    Parameters
    ----------
    path : str or Path
    command : str
    function : callable, optional
        What the command calls, where that is no function of `denoisplit.commands`.

    Raises
    ------
    InputError
        For an unknown key, naming it and those that there are.
    """
    values = read_yaml(path)
    if command == "train" and "format_version" in values:
        values = _from_run(values)
    function = function or _function(command)
    known = set(inspect.signature(function).parameters) - {"options"}
    if command == "train":
        from denoisplit.config.training_options import GROUP_OF

        known |= set(GROUP_OF) | (set(Settings.model_fields) - {"structures"})
    if command in ("evaluate", "noise-model fit"):
        known.add("json")
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            where=path,
            found=f"unknown key {unknown[0]}",
            expected=f"some of {', '.join(sorted(known))}",
            remedy="correct or remove it",
        )
    structures = values.get("structures", {})
    if not isinstance(structures, Mapping):
        raise InputError(
            where=path,
            found=f"structures = {structures!r}",
            expected="a mapping of names to lists of files",
            remedy="write `structures:` and below it `NAME: [FILES]`",
        )
    if structures:
        values["structures"] = {
            str(name): [files] if isinstance(files, str) else files
            for name, files in structures.items()
        }
    for key in ("files", *IMAGES):
        if isinstance(values.get(key), str):
            values[key] = [values[key]]
    return _typed(path, function, values)


def _typed(
    path: str | Path, function: Callable[..., Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Values of the types that the function asks for; settings of a training are checked there."""
    hints = get_type_hints(function) | {"run": str, "json": bool}
    hints.pop("options", None)
    typed = dict(values)
    for key in values.keys() & hints.keys():
        value = values[key]
        try:
            typed[key] = TypeAdapter(hints[key]).validate_python(
                as_written(value) if get_origin(hints[key]) is Literal else value
            )
        except ValidationError as error:
            expected = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise InputError(
                where=path,
                found=f"{key} = {values[key]!r}",
                expected=expected,
                remedy="correct or remove it",
            ) from None
    return typed


def _from_run(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options from the config.yaml of a run."""
    settings = dict(values.get("settings", {}))
    # what an earlier release did not know is what it did, not what the preset says now
    with suppress(ValidationError):  # the values are looked at one by one later
        settings = Settings.model_validate(settings).model_dump(mode="json")
    entries = settings.pop("structures", [])
    given = {
        option: {e["name"]: e[key] for e in entries if e.get(key)}
        for option, key in (("noise_models", "noise_model"), ("repeats", "repeats"))
    }
    return {
        **settings,
        "structures": {e["name"]: list(e["files"]) for e in entries},
        "offsets": {e["name"]: e.get("offset", 0.0) for e in entries},
        **{option: values for option, values in given.items() if values},
    }


def _function(command: str) -> Callable[..., Any]:
    if command == "train":
        from denoisplit.commands.train import train

        return train
    if command == "predict":
        from denoisplit.commands.predict import predict

        return predict
    if command == "evaluate":
        from denoisplit.commands.evaluate import evaluate

        return evaluate
    if command == "noise-model fit":
        from denoisplit.commands.noise_model import fit_noise_model

        return fit_noise_model
    from denoisplit.commands.superpose import superpose

    return superpose
