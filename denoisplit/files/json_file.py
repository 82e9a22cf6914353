"""JSON objects of a run folder, a job or a package, read in bounded time and memory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from denoisplit.errors import InputError, reason_of
from denoisplit.files.atomic import write_text
from denoisplit.files.bounded import (
    MOST_DEPTH,
    MOST_NODES,
    MOST_TEXT,
    read_bytes,
    real_number,
    whole_number,
)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        If the file is missing or too long, or is not a JSON object; see `parse_json`.
    """
    remedy = "copy the file again"
    data = read_bytes(path, MOST_TEXT, "a JSON file", remedy)
    try:
        value = parse_json(data)
    except ValueError as error:
        problem = f"this is not valid JSON ({error})"
        raise InputError(problem, where=path, remedy=remedy) from None
    if not isinstance(value, dict):
        raise InputError("this is not a JSON object", where=path, remedy=remedy)
    return value


def parse_json(text: bytes | str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    text : bytes or str
    finite : bool
        Whether NaN and infinity are refused, which the standard does not have.

    Raises
    ------
    ValueError
        With one line, if the text is not JSON, is nested too deeply, holds too many values, text
        that is not Unicode or numbers that are too large or not finite, or repeats a key.
    """
    try:
        if len(text) > MOST_TEXT:
            raise ValueError(f"it has more than {MOST_TEXT} bytes")
        value = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_without_repeats,
            parse_int=whole_number,
            parse_float=real_number,
            parse_constant=_not_finite if finite else float,
        )
        _check_size(value)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep") from None
    except ValueError as error:  # of decoding and encoding, too
        raise ValueError(reason_of(error)) from None
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, see `json_text`.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    try:
        text = json_text(value)
    except ValueError:
        problem = "a result is NaN or infinite, so this file is not written"
        remedy = "check the images for extreme intensities"
        raise InputError(problem, where=path, remedy=remedy) from None
    write_text(path, text)


def json_text(value: Any) -> str:
    """Return JSON without NaN, which other readers refuse."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {repeated[:60]} is given twice")
    return values


def _not_finite(word: str) -> NoReturn:
    raise ValueError(f"{word} is not finite")


def _check_size(value: Any) -> None:
    """Refuse too many values, and nesting on which recursive functions would stumble."""
    level, nodes = [value], 1
    for _ in range(MOST_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        nodes += len(level)
        if nodes > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES} values")
        if not level:
            return
    raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")
