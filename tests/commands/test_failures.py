"""Failures of the machine are one line that names the way out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.cli import main as cli
from denoisplit.commands.failures import SMALLER
from denoisplit.config.commands import COMMANDS
from denoisplit.errors import InputError

CUDA = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB"
REQUIRED = {
    "train": ["--structure", "A", "a.tif", "-o", "out"],
    "predict": ["run", "a.tif", "-o", "out"],
    "export": ["run", "-o", "out.zip"],
    "evaluate": ["run", "--structure", "A", "a.tif"],
    "superpose": ["--structure", "A", "a.tif", "-o", "out.tif"],
}


def of_numpy() -> None:
    np.empty((1 << 20, 1 << 20, 1 << 10))


def of_torch() -> None:
    torch.empty(1 << 30, 1 << 20)


def of_cuda() -> None:
    raise torch.OutOfMemoryError(CUDA)


def of_fork() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def of_a_library() -> None:
    """A reader that puts any error in its own words."""
    try:
        of_numpy()
    except Exception:
        raise InputError("this file is unreadable", where="a.tif") from None


def refusal(
    command: str, work: Callable[[], Any], capsys: pytest.CaptureFixture[str], patch: Any
) -> str:
    patch.setitem(cli._COMMANDS, command, lambda options: work())
    assert cli.main([*command.split(), *REQUIRED[command]]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith(f"denoisplit {command}: error: ")
    return line


@pytest.mark.parametrize(
    ("work", "problem"),
    [
        (of_numpy, "out of memory when 8.00 PiB more were needed; "),
        (of_torch, "out of memory when 4194304.0 GiB more were needed; "),
        (of_cuda, "out of memory of the GPU when 2.50 GiB more were needed; "),
        (of_fork, "out of memory; "),
        (of_a_library, "out of memory when 8.00 PiB more were needed; "),
    ],
)
def test_out_of_memory_is_called_that(
    work: Callable[[], None], problem: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refusal("predict", work, capsys, monkeypatch)
    assert problem in line and line.endswith("; choose a smaller --tile, and another output\n")


@pytest.mark.parametrize("command", REQUIRED)
def test_the_way_out_is_an_option_of_the_command(
    command: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refusal(command, of_cuda, capsys, monkeypatch)
    shown = {flag for o in COMMANDS[command].options for flag in o.flags}
    named = {word.strip(",;") for word in line.split() if word.startswith("--")}
    assert named <= shown
    assert ("smaller" in line) and bool(named) == (command in ("train", "predict", "export"))


def test_remedies_belong_to_commands() -> None:
    assert SMALLER.keys() <= COMMANDS.keys()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_the_system_is_quoted(number: int, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "out/a\n.tif")

    line = refusal("predict", fail, capsys, monkeypatch)
    assert rf"out/a\n.tif: {os.strerror(number)}; check" in line


def test_our_own_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("size mismatch")

    monkeypatch.setitem(cli._COMMANDS, "predict", fail)
    with pytest.raises(RuntimeError, match="size mismatch"):
        cli.main(["predict", *REQUIRED["predict"]])
