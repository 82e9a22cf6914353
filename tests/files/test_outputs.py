"""Places of results are tried before the work, and nothing is left there."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from denoisplit.errors import InputError
from denoisplit.files.outputs import check_file, check_folder, check_new, check_space

CHECKS = (check_new, check_file, check_folder)


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "plain").write_text("a file")
    (tmp_path / "folder").mkdir()
    before = {path: path.stat().st_mode for path in tmp_path.rglob("*")}
    yield
    assert {path: path.stat().st_mode for path in tmp_path.rglob("*")} == before


def refused(check: Callable[[Path], None], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        check(path)
    line = str(caught.value)
    assert "\n" not in line and "; " in line
    return line


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("plain/run", "Not a directory"),
        ("plain/a/b/run", "Not a directory"),
        ("x" * 256, "File name too long"),
        ("x" * 256 + "/run", "File name too long"),
        ("a/" * 2100 + "run", "File name too long"),
        ("a\0b", "cannot be the name of a file"),
        ("a\ud800b", "cannot be the name of a file"),
    ],
)
def test_places_that_cannot_be_written(
    tmp_path: Path, check: Callable[[Path], None], place: str, reason: str
) -> None:
    assert reason in refused(check, tmp_path / place)


def test_a_draft_has_a_longer_name_than_its_file(tmp_path: Path) -> None:
    name = "x" * 240
    (tmp_path / "folder" / name).touch()  # may exist
    (tmp_path / "folder" / name).unlink()
    assert "choose a shorter name" in refused(check_new, tmp_path / "folder" / name)


def test_a_folder_has_longer_paths_inside(tmp_path: Path) -> None:
    parts = ["y" * 100] * ((3980 - len(str(tmp_path))) // 101)
    check_file(tmp_path.joinpath(*parts))
    assert "choose a shorter name" in refused(check_folder, tmp_path.joinpath(*parts))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_what_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """As for a read-only file system, missing permission, a full disk; root may write anywhere."""

    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, call, fail)
    monkeypatch.setattr(Path, "write_bytes", fail)
    place = tmp_path / ("new/run" if call == "mkdir" else "run")
    for check in CHECKS:
        assert os.strerror(number) in refused(check, place)


def test_files_and_folders_are_not_mixed_up(tmp_path: Path) -> None:
    assert "a folder has this name" in refused(check_file, tmp_path / "folder")
    assert "expected a folder" in refused(check_folder, tmp_path / "plain")
    assert "exists already" in refused(check_new, tmp_path / "plain")
    assert "exists already" in refused(check_new, tmp_path / "folder")
    check_file(tmp_path / "plain")
    check_folder(tmp_path / "folder")
    assert (tmp_path / "plain").read_text() == "a file"


@pytest.mark.parametrize("check", CHECKS)
def test_good_places_are_left_as_they_are(tmp_path: Path, check: Callable[[Path], None]) -> None:
    check(tmp_path / "a" / "b" / "run")
    check(tmp_path / "folder" / "run")
    check(tmp_path / "µm of [two] \udcff\n.tif")


def test_processes_that_check_at_a_time_do_not_meet(tmp_path: Path) -> None:
    """They create and remove the same folders."""
    problems: list[BaseException] = []

    def check(number: int) -> None:
        try:
            for _ in range(50):
                check_new(tmp_path / "a" / "b" / f"run{number}")
        except InputError as error:
            problems.append(error)

    threads = [threading.Thread(target=check, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    shutil.rmtree(tmp_path / "a", ignore_errors=True)


def test_results_must_fit_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_space(tmp_path / "none" / "yet", free // 2)
    assert "and the disk has" in refused(lambda path: check_space(path, 10**18), tmp_path / "none")
    check_space(Path("none/yet"), 0)


def test_a_new_folder_is_not_made_to_try_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process would refuse it as one that exists, and a kill would leave it."""
    made: list[object] = []
    monkeypatch.setattr(Path, "mkdir", lambda path, **_: made.append(path))
    check_folder(tmp_path / "run")
    assert made == []
