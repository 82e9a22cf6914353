"""Validate plain values, such as those of a YAML file."""

from __future__ import annotations

from inspect import isclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from denoisplit.errors import InputError

Model = TypeVar("Model", bound=BaseModel)

LONGEST_VALUE = 120  # characters; a longer invalid value is not printed
PLAIN = {  # pydantic's words for these name its own types
    "dict_type": "it should be a mapping",
    "model_type": "it should be a mapping",
    "tuple_type": "it should be a list",
    "list_type": "it should be a list",
    "too_short": "it should not be empty",
}


def as_written(value: Any) -> Any:
    """Return the word for a boolean or a number that stands where a word is expected."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int) else value


def parse(model: type[Model], values: Any, where: str | Path) -> Model:
    """Validate plain values; the first problem becomes an `InputError` of one line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        known = _keys_beside(model, place) if _is_unknown(error) else []
        raise invalid(error, where, ".".join(map(str, place)), known) from None


def parse_value(kind: Any, value: Any, where: str | Path, key: str) -> Any:
    """Validate the value of one key against a type; see `parse`."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise invalid(error, where, key, value=value) from None


def invalid(
    error: ValidationError,
    where: str | Path,
    key: str,
    known: list[str] | None = None,
    **given: Any,
) -> InputError:
    """Return the first problem that pydantic reports, as one sentence about a key."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if _is_unknown(error):
        return unknown_key(key, known or [], where)
    if first["type"] == "missing":
        return InputError(f"the key {key} is missing", where=where, remedy="add it")
    if first["type"] == "value_error":
        return InputError(message, where=where, remedy="change one of these settings")
    shown = f"{key} = {given.get('value', first['input'])!r}"
    message = PLAIN.get(first["type"], message.replace("Input should", "it should", 1))
    return InputError(
        f"{shown if len(shown) <= LONGEST_VALUE else key} is not valid: {message}",
        where=where,
        remedy="change or remove it",
    )


def unknown_key(key: str, known: list[str], where: str | Path) -> InputError:
    """Return the error for a key that does not exist, with those that do."""
    choices = f"choose from {', '.join(sorted(known))}"
    return InputError(f"unknown key {key}", where=where, remedy=f"remove it, or {choices}")


def _is_unknown(error: ValidationError) -> bool:
    return error.errors()[0]["type"] == "extra_forbidden"


def _keys_beside(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the model, or nested model, that holds a place."""
    for part in place[:-1]:
        if isinstance(part, str):
            kind = model.model_fields[part].annotation
            inner = [t for t in (kind, *get_args(kind)) if isclass(t) and issubclass(t, BaseModel)]
            model = inner[0]
    return list(model.model_fields)
