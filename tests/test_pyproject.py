"""Every dependency says from which version on it serves, and the tested versions fit."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = {
    "build": PROJECT["build-system"]["requires"],
    "all": PROJECT["project"]["dependencies"],
    **PROJECT["project"]["optional-dependencies"],
}
PINNED = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
}
REQUIREMENTS = sorted({text for group in GROUPS.values() for text in group})


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_a_dependency_has_a_lower_bound_that_the_tested_version_meets(text: str) -> None:
    requirement = Requirement(text)
    assert [s for s in requirement.specifier if s.operator in (">=", "~=", "==")], text
    assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)])


def test_groups_agree() -> None:
    """The extra for clusters is also one of development."""
    names = [Requirement(text).name for text in REQUIREMENTS]
    assert len(set(names)) == len(names)
    assert set(GROUPS["cluster"]) <= set(GROUPS["dev"])
