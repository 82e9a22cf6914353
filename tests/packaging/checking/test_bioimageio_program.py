"""The program of bioimageio is ended if it takes too long, with all that it has started."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from denoisplit_zoo.checking import bioimageio_program as client


def program(folder: Path, text: str) -> Path:
    file = folder / "bioimageio"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return folder


def test_output_and_exit_code_are_returned(tmp_path: Path) -> None:
    programs = program(tmp_path, 'echo "$1"; exit 3')
    assert client.run_bioimageio(tmp_path, "test", programs=programs) == (3, "test\n")


def test_a_program_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST", 0.3)
    programs = program(tmp_path, "(sleep 1; touch alive) & sleep 60")
    start = time.monotonic()
    code, output = client.run_bioimageio(tmp_path, "test", programs=programs)
    assert (code, output) == (client.TOO_LONG, "it has not ended within 0.3 s")
    time.sleep(1.2)
    assert time.monotonic() - start < 30
    assert not (tmp_path / "alive").exists()


def test_a_program_of_too_much_memory_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "memory_at_most", lambda: 2**27)
    line = "import time; time.sleep(0.3); x = b'x' * 2**29"
    programs = program(tmp_path, f'exec python3 -c "{line}"')
    code, output = client.run_bioimageio(tmp_path, "test", programs=programs)
    assert code != 0 and "MemoryError" in output
