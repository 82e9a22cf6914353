"""The environment of bioengine: made once, without torch where there is no build for the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from denoisplit_zoo.checking import bioengine


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands that make an environment; those that contain a word in ``ran[0]`` fail."""
    commands: list[str] = ["nothing"]

    def run(place: Path, *command: str, alone: bool) -> tuple[int, str]:
        assert alone
        if command[2] == "venv":
            python = place / "bin" / "python"
            python.parent.mkdir()
            python.symlink_to(sys.executable)
        commands.append(" ".join(command))
        fails = commands[0] in commands[-1]
        return int(fails), "WARNING: connection broken\nERROR: none\nmore" if fails else ""

    monkeypatch.setattr(bioengine, "run_program", run)
    return commands


def test_it_is_made_once(ran: list[str], tmp_path: Path) -> None:
    made = bioengine.programs_of_service(tmp_path / "cache")
    assert made[1] and made[0].parent.parent == tmp_path / "cache"
    assert [command.split()[2] for command in ran[1:]] == ["venv", "pip", "pip"]
    assert "numpy==1.26.4" in ran[2] and "torch==2.5.1" in ran[3]
    assert bioengine.programs_of_service(tmp_path / "cache") == made and len(ran) == 4
    (made[0] / "python").unlink()  # as if it had been removed from this machine
    assert bioengine.programs_of_service(tmp_path / "cache") == made and len(ran) == 7


def test_torch_may_be_left_out(ran: list[str], tmp_path: Path) -> None:
    ran[0] = "torch=="
    assert [bioengine.programs_of_service(tmp_path)[1] for _ in range(2)] == [False, False]
    assert len(ran) == 4


@pytest.mark.parametrize("step", ["venv", "bioimageio.core"])
def test_what_cannot_be_made_is_said_and_tried_again(
    ran: list[str], tmp_path: Path, step: str
) -> None:
    ran[0] = step
    with pytest.raises(bioengine.UnavailableError, match="^no connection to the .*: none$"):
        bioengine.programs_of_service(tmp_path)
    ran[0] = "nothing"
    assert bioengine.programs_of_service(tmp_path)[1]


def test_a_folder_that_cannot_be_written_is_said(ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(bioengine.UnavailableError, match="file"):
        bioengine.programs_of_service(tmp_path / "file")
    assert len(ran) == 1
