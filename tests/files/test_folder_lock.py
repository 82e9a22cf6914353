"""One process writes an output at a time; another one is told who."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from denoisplit.errors import InputError
from denoisplit.files.folder_lock import folder_lock, output_lock

HOLD = """
import sys, time
from pathlib import Path
from denoisplit.files.folder_lock import output_lock
with output_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the output ``runs/a``."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "runs" / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_named(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    """By any name of the output; other outputs of the folder are free."""
    (tmp_path / "link").symlink_to(tmp_path / "runs" / "a")
    for name in ("runs/a", "runs/../runs/a", "link"):
        with pytest.raises(InputError) as caught, output_lock(tmp_path / name):
            pass
        who = f"in use by process {other.pid} on {socket.gethostname()} since 20"
        assert who in str(caught.value) and str(caught.value).startswith(f"{tmp_path / name}: ")
    with output_lock(tmp_path / "runs" / "b"):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait(10)
    with output_lock(tmp_path / "runs" / "a"):
        assert f"process {os.getpid()} " in (tmp_path / "runs" / ".a.holder").read_text()
    assert list((tmp_path / "runs").iterdir()) == []


def test_no_lock_lies_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(InputError, match="Not a directory"), output_lock(tmp_path / "plain" / "a"):
        pass


def test_nothing_is_left_beside_an_output(tmp_path: Path) -> None:
    with output_lock(tmp_path / "new" / "folder" / "a"):
        (tmp_path / "kept").mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]
    with output_lock(tmp_path / "new" / "a"):
        (tmp_path / "new" / "a").write_text("result")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for name in ("file/run", "x" * 300):
        with pytest.raises(InputError, match="cannot write"), output_lock(tmp_path / name):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_without_locks_a_marker_serves(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network drives; a marker of a process that has ended can be removed by hand."""

    def missing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", missing)
    with output_lock(tmp_path / "a"):
        with pytest.raises(InputError) as caught, output_lock(tmp_path / "a"):
            pass
        line = str(caught.value)
        assert f"in use by process {os.getpid()} on" in line
        assert f"if that process has ended, remove {tmp_path / '.a.lock'}" in line
        assert Path(line.split()[-1]).is_file()
    assert list(tmp_path.iterdir()) == []
    with output_lock(tmp_path / "a"):
        pass


def test_a_locked_folder_goes_unless_it_is_kept(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "a", keep="job"):
        again = folder_lock(tmp_path / "a", keep="job")
        with pytest.raises(InputError, match="in use by"), again:
            pass
        assert (tmp_path / "a").is_dir()
    with folder_lock(tmp_path / "b", keep="job"):
        (tmp_path / "b" / "job").write_text("to be continued")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["b", "b/job"]
