"""A part of ``make kills``: commands that are killed and repeated end as undisturbed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import kills


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, options and a run."""
    folder = tmp_path_factory.mktemp("kills").resolve() / "work"
    folder.mkdir()
    kills.prepare(folder)
    return folder


@pytest.mark.parametrize(
    "name", ["predict to TIFF", pytest.param("noise-model fit", marks=pytest.mark.slow)]
)
def test_killed_commands_end_as_undisturbed_ones(folder: Path, name: str) -> None:
    count = kills.kill_and_repeat(kills.CASES[name], folder, kills=2, seed=1)
    assert count.hit and not count.different, count.different


def test_of_two_trainings_one_says_why_it_does_not_start(folder: Path) -> None:
    assert len(list(kills.pairs_of_trainings(folder, pairs=1, seed=1))) == 1
