"""JSON objects of a run folder, a job or a package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.files.atomic import write_text


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the run folder."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            where=path,
            found=f"no JSON ({reason})",
            expected="a JSON object",
            remedy="copy the run again",
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            where=path,
            found="no JSON object",
            expected="a JSON object",
            remedy="copy the run again",
        )
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON; NaN is refused, since other readers refuse it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
