"""GitHub accounts of authors and maintainers, the only part of a check that needs the network."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from typing import Any

from denoisplit_zoo.archive import mappings

PEOPLE = ("authors", "maintainers", "packaged_by")
HOST, TIMEOUT = "api.github.com", 5.0  # seconds


def look_up_accounts(description: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ask GitHub whether the accounts of authors and maintainers exist.

    Returns
    -------
    tuple of list of str
        Messages on accounts that do not exist, and on those that could not be looked up.
    """
    missing, unknown = [], []
    people = [p for key in PEOPLE for p in mappings(description.get(key))]
    names = [str(person["github_user"]) for person in people if person.get("github_user")]
    answers = True
    for name in dict.fromkeys(names):  # each once
        status = _status(name) if answers else None
        answers = status is not None
        if status == http.client.NOT_FOUND:
            missing.append(f"GitHub has no account named {name}")
        elif status != http.client.OK:
            unknown.append(f"the GitHub account {name} was not looked up: no answer from {HOST}")
    return missing, unknown


def _status(name: str) -> int | None:
    """Return the HTTP status of an account, None without a connection."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,39}", name):
        return http.client.NOT_FOUND  # GitHub allows no such names
    connection = http.client.HTTPSConnection(HOST, timeout=TIMEOUT)
    try:
        connection.request("GET", f"/users/{name}", headers={"User-Agent": "denoisplit"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
