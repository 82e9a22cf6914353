"""A YAML mapping from a file, read as data and never as code, and its values checked."""

from __future__ import annotations

from inspect import isclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from denoisplit.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(problem=f"key {key} is given twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping from a file, read without executing anything.

    Raises
    ------
    InputError
        If the file is missing, no YAML, or no mapping.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)  # a safe one
    except OSError as error:
        raise InputError(
            where=path,
            found=error.strerror or "unreadable",
            expected="a YAML file",
            remedy="check the path",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(
            where=path, found=f"no YAML ({line})", expected="a YAML mapping", remedy="correct it"
        ) from None
    if not isinstance(values, dict):
        raise InputError(
            where=path,
            found=type(values).__name__,
            expected="a YAML mapping",
            remedy="write key: value lines",
        )
    return values


def as_written(value: Any) -> Any:
    """The word that was written where YAML takes it for something else: on, off, a number."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int) else value


def parse(model: type[Model], values: Any, where: str | Path) -> Model:
    """Validate plain values; the first complaint becomes one line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        key = ".".join(map(str, place)) or "settings"
        found = f"{key} = {first['input']!r}" if place else "settings that do not fit"
        if len(found) > 120:
            found = key
        if first["type"] == "extra_forbidden":
            raise InputError(
                where=where,
                found=f"unknown key {key}",
                expected=f"some of {', '.join(_group(model, place))}",
                remedy="correct or remove it",
            ) from None
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise InputError(
            where=where, found=found, expected=message, remedy="change or remove it"
        ) from None


def _group(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that there are beside one of a model, or of a model in it."""
    for part in place[:-1]:
        if isinstance(part, str):
            kind = model.model_fields[part].annotation
            inner = [t for t in (kind, *get_args(kind)) if isclass(t) and issubclass(t, BaseModel)]
            model = inner[0]
    return sorted(model.model_fields)
