"""Accounts that a description names: looked up apart from everything that needs no network."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

HOST, TIMEOUT = "api.github.com", 5.0  # seconds


def accounts(description: Mapping[str, Any]) -> list[str]:
    """GitHub names of authors and maintainers."""
    found = []
    for key in ("authors", "maintainers"):
        people = description.get(key)
        for person in people if isinstance(people, list) else ():
            if isinstance(person, dict) and person.get("github_user"):
                found.append(str(person["github_user"]))
    return list(dict.fromkeys(found))


def looked_up(description: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ask GitHub for the accounts that a description names.

    Returns
    -------
    tuple of list of str
        What is wrong; what could not be asked for.
    """
    wrong, unasked = [], []
    for name in accounts(description):
        status = _status(name)
        if status == http.client.NOT_FOUND:
            wrong.append(f"GitHub has no account {name}")
        elif status != http.client.OK:
            unasked.append(f"not looked up: the GitHub account {name} (no answer from {HOST})")
    return wrong, unasked


def _status(name: str) -> int | None:
    """What GitHub answers on an account; None without a connection."""
    if not name.replace("-", "").isalnum():
        return http.client.NOT_FOUND  # no such name can be
    connection = http.client.HTTPSConnection(HOST, timeout=TIMEOUT)
    try:
        connection.request("GET", f"/users/{name}", headers={"User-Agent": "denoisplit"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
