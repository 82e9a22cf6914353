"""Checks make no environment of bioengine, which takes minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from denoisplit_zoo.checking import check as checking
from denoisplit_zoo.checking.bioengine import UnavailableError


@pytest.fixture(autouse=True)
def bioengine(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool | str]:
    """Whether its environment has torch, or why there is none."""
    state: dict[str, bool | str] = {"torch": "no network"}

    def programs(environments: Path) -> tuple[Path, bool]:
        if isinstance(state["torch"], str):
            raise UnavailableError(state["torch"])
        return environments / "bin", state["torch"]

    monkeypatch.setattr(checking, "programs_of_service", programs)
    return state
