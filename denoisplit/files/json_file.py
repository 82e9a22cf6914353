"""JSON objects of a run folder, a job or a package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.files.atomic import write_text


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        If the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        problem = f"this is not valid JSON ({str(error).splitlines()[0]})"
        raise InputError(problem, where=path, remedy="copy the file again") from None
    if not isinstance(value, dict):
        raise InputError("this is not a JSON object", where=path, remedy="copy the file again")
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, see `json_text`."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return JSON without NaN, which other readers refuse."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
