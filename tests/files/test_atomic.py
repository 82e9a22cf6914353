"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from denoisplit.errors import InputError
from denoisplit.files.atomic import (
    complete_replacement,
    draft_of,
    drop_drafts,
    new_folder,
    replace_together,
    replacing,
    write_bytes,
    write_text,
)
from denoisplit.files.json_file import write_json


def half(path: Path, error: BaseException) -> None:
    """Write half a file, then fail."""
    with replacing(path) as stream:
        stream.write(b"half")
        raise error


def test_content_is_what_was_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\x00\xff")
    write_text(tmp_path / "b", "µm\n")
    write_json(tmp_path / "c", {"a": [1, 2.5, None]})
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_bytes() == "µm\n".encode()
    assert json.loads((tmp_path / "c").read_text()) == {"a": [1, 2.5, None]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_nothing_is_to_be_seen_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_state_and_no_litter(
    tmp_path: Path, old: bytes | None, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error):
        half(path, error())
    assert [p.name for p in tmp_path.iterdir()] == ([] if old is None else ["file"])
    if old is not None:
        assert path.read_bytes() == old


def test_what_killed_processes_left_of_a_file_is_removed(tmp_path: Path) -> None:
    """And of that file alone, whatever signs its name has."""
    path, other = tmp_path / "of [two].tif", tmp_path / "other.tif"
    for name in (path, path, other):
        draft_of(name).write_bytes(b"half")
    path.write_bytes(b"whole")
    kept = [".of [two].tif.tmp", ".of [two].tif.notes.tmp", "of [two].tif.tmp"]
    for name in kept:
        (tmp_path / name).write_bytes(b"somebody's")
    drop_drafts(path)
    left = {p.name for p in tmp_path.iterdir()}
    assert len(left) == 5 and {path.name, *kept} < left
    (draft,) = left - {path.name, *kept}
    assert draft.startswith(".other.tif.")


def test_what_killed_processes_left_in_a_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("a.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        draft_of(tmp_path / name).write_bytes(b"half")
        (tmp_path / name).write_bytes(b"whole")
    drop_drafts(tmp_path)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"a.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}


def test_a_full_disk_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(InputError) as caught:
        half(path, OSError(28, "No space left on device"))
    assert str(caught.value).startswith(f"{path}: cannot write this file (No space left")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_old_file_is_replaced_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def crash(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(InputError, match="Input/output error"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be_written_are_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("a file, no folder")
    for path in (tmp_path / "none" / "file", tmp_path / "folder", tmp_path / "plain" / "file"):
        with pytest.raises(InputError) as caught:
            write_bytes(path, b"x")
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "plain"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_that_others_refuse_is_not_written(tmp_path: Path, value: float) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="NaN or infinite"):
        write_json(path, {"psnr": value})
    assert path.read_text() == "{}"


def test_two_writers_at_once_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert path.read_bytes() == b"one"  # the last to finish
    assert len(list(tmp_path.iterdir())) == 1


NEW = {"a": b"1", "b": b"2", "c": b"3"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with two files to be replaced, and one that a new state has no use for."""
    for name in ("a", "b", "obsolete"):
        (tmp_path / name).write_bytes(b"old")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_several_files_are_replaced_together(old: Path) -> None:
    replace_together(old / ".new", NEW, obsolete=[old / "obsolete"])
    assert contents(old) == NEW
    assert len(list(old.iterdir())) == 3


@pytest.mark.parametrize("steps", range(10))
def test_a_kill_at_any_step_leaves_the_old_files_or_the_new(
    old: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """What is left after so many steps of the file system, and is then completed."""
    before, taken = contents(old), 0

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal taken
            if taken >= steps:  # nothing that follows happens, cleaning up included
                raise Killed
            taken += 1
            return step(*arguments, **options)

        return call

    with monkeypatch.context() as patch, suppress(Killed):
        for name in ("replace", "unlink", "rmdir", "rename"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        replace_together(old / ".new", NEW, obsolete=[old / "obsolete"])
    complete_replacement(old / ".new", obsolete=[old / "obsolete"])
    drop_drafts(old)
    assert contents(old) in (before, NEW)
    assert (contents(old) == before) == (steps < 4 + 3)  # three files written, and the folder moved
    assert len(list(old.iterdir())) == 3


class Killed(BaseException):
    """End of a process."""


@pytest.mark.parametrize("order", [["a", "folder"], ["folder", "a"]])
def test_several_files_or_none(tmp_path: Path, order: list[str]) -> None:
    """A folder stands in the way of one."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder: cannot write"):
        replace_together(tmp_path / ".new", {name: b"content" for name in order})
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_what_killed_processes_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    draft = draft_of(tmp_path / "run")
    (draft / "inside").mkdir(parents=True)
    (draft / "inside" / "file").write_bytes(b"half")
    with new_folder(tmp_path / "run") as other:
        drop_drafts(tmp_path / "walk")
        assert draft.exists()
        other.joinpath("file").write_bytes(b"whole")
    drop_drafts(tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
