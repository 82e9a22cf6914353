"""GitHub accounts of authors and maintainers, the only part of a check that needs the network."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

HOST, TIMEOUT = "api.github.com", 5.0  # seconds


def account_names(description: Mapping[str, Any]) -> list[str]:
    """Return the GitHub names of authors and maintainers, each once."""
    people = [
        person
        for key in ("authors", "maintainers")
        if isinstance(description.get(key), list)
        for person in description[key]
    ]
    names = [p["github_user"] for p in people if isinstance(p, dict) and p.get("github_user")]
    return list(dict.fromkeys(map(str, names)))


def look_up_accounts(description: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ask GitHub whether the accounts in a description exist.

    Returns
    -------
    tuple of list of str
        Messages on accounts that do not exist, and on those that could not be looked up.
    """
    missing, unknown = [], []
    for name in account_names(description):
        status = _status(name)
        if status == http.client.NOT_FOUND:
            missing.append(f"GitHub has no account named {name}")
        elif status != http.client.OK:
            unknown.append(f"the GitHub account {name} was not looked up: no answer from {HOST}")
    return missing, unknown


def _status(name: str) -> int | None:
    """Return the HTTP status of an account, None without a connection."""
    if not name.replace("-", "").isalnum():
        return http.client.NOT_FOUND  # GitHub allows no such names
    connection = http.client.HTTPSConnection(HOST, timeout=TIMEOUT)
    try:
        connection.request("GET", f"/users/{name}", headers={"User-Agent": "denoisplit"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
