"""Argument names in messages of the library become flags; the caller's logger stays as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from denoisplit.cli import main as program
from denoisplit.cli.translation import Formatter, Translation
from denoisplit.config.commands import COMMANDS
from denoisplit.errors import InputError

PREDICT = Translation(COMMANDS["predict"])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("leave out `structures` and `truth`", "leave out --structure and --truth"),
        ("fewer than `keep_samples`", "fewer than --keep-samples"),
        ("resume it with `resume`", "resume it with --resume"),
        ("`files` of `run`", "FILES of RUN"),
        ("`denoisplit train` or `nothing` or `n2v`", "`denoisplit train` or `nothing` or `n2v`"),
        ("training.max_steps stays", "training.max_steps stays"),
    ],
)
def test_names_in_backticks_become_flags(message: str, expected: str) -> None:
    assert PREDICT.text(message) == expected


@pytest.mark.parametrize(("command", "flag"), [("reproduce", "--system"), ("compare", "--systems")])
def test_the_flags_of_the_command_itself_come_first(command: str, flag: str) -> None:
    assert Translation(COMMANDS[command]).text("`systems`") == flag


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("samples", "--samples: bad; fewer --samples"),
        ("truth ER", "--truth ER: bad; fewer --samples"),
        ("noise_models ER", "--noise-model ER: bad; fewer --samples"),
        ("run", "run: bad; fewer --samples"),  # a folder of that name
        ("samples.tif", "samples.tif: bad; fewer --samples"),
        ("", "bad; fewer --samples"),
    ],
)
def test_places_that_begin_with_an_argument(where: str, expected: str) -> None:
    error = InputError("bad", where=where, remedy="fewer `samples`")
    assert str(PREDICT.error(error, {"run"})) == expected


def test_found_and_expected_are_translated() -> None:
    error = InputError(where="samples", found="`tile`", expected="`halo`", remedy="x")
    translated = PREDICT.error(error, set())
    assert str(translated) == "--samples: found --tile, expected --halo; x"


def test_an_argument_of_the_yaml_file_is_named_in_it() -> None:
    error = PREDICT.error(InputError("bad", where="samples"), set(), "my.yaml")
    assert str(error) == "my.yaml, samples: bad"


def test_log_lines_are_translated() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "%s of `samples`", ("2",), None)
    assert Formatter(PREDICT).format(record) == "2 of --samples"


# ---------------------------------------------------------------- the whole program


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the command predict do something else."""
    return lambda work: monkeypatch.setitem(program._COMMANDS, "predict", work)


LINE = ["predict", "run", "a.tif", "-o", "out"]


def test_errors_and_warnings_of_a_command(
    predict: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(options: dict[str, Any]) -> None:
        logging.getLogger("denoisplit").warning("no std with `samples` of 1")
        raise InputError(f"{options['samples']} is too few", where="samples")

    predict(refuse)
    assert program.main([*LINE, "--samples", "1"]) == 2
    assert capsys.readouterr().err == (
        "no std with --samples of 1\ndenoisplit predict: error: --samples: 1 is too few\n"
    )
    (tmp_path / "o.yaml").write_text("samples: 1")
    assert program.main([*LINE, "-q", "--config", str(tmp_path / "o.yaml")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"denoisplit predict: error: {tmp_path}/o.yaml, samples: 1 is too few"


@pytest.mark.parametrize("end", [None, InputError("bad"), KeyboardInterrupt(), RuntimeError()])
def test_the_logger_of_the_caller_is_restored(
    end: BaseException | None, predict: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("denoisplit")
    before = logger.handlers, logger.level, logger.propagate

    def work(options: dict[str, Any]) -> None:
        assert logger.level == logging.WARNING and not logger.propagate
        if end is not None:
            raise end

    predict(work)
    if isinstance(end, RuntimeError):
        with pytest.raises(RuntimeError):
            program.main([*LINE, "-q"])
    else:
        program.main([*LINE, "-q"])
    assert (logger.handlers, logger.level, logger.propagate) == before


def test_only_the_program_itself_tunes_the_memory_of_the_process(
    predict: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(program, "keep_freed_memory", lambda: calls.append(1))
    predict(lambda options: None)
    assert program.main(LINE) == 0 and not calls
    monkeypatch.setattr("sys.argv", ["denoisplit", *LINE])
    assert program.main() == 0 and calls == [1]


def test_an_interrupted_call_says_how_to_continue(
    predict: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(options: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    predict(interrupted)
    assert program.main(["predict", "run", "a.tif", "-o", str(tmp_path)]) == 130
    assert capsys.readouterr().err == (
        "denoisplit predict: interrupted; repeat the call with --resume to continue\n"
    )
