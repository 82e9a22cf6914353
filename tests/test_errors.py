"""The one error of bad input: its line, its copies, its way to another process."""

from __future__ import annotations

import pickle

import pytest

from denoisplit.errors import InputError, reason_of


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            InputError(where="a.tif", found="2 channels", expected="one", remedy="split it"),
            "a.tif: found 2 channels, expected one; split it",
        ),
        (InputError("the job runs", where="out", remedy="wait"), "out: the job runs; wait"),
        (InputError("the job is\nin use"), "the job is in use"),
    ],
)
def test_it_is_one_line_and_survives_copies(error: InputError, line: str) -> None:
    assert str(error) == line
    sent = pickle.loads(pickle.dumps(error))
    assert (str(sent), vars(sent)) == (line, vars(error))
    assert str(error.replace(where=error.where, remedy=error.remedy)) == line
    moved = error.replace(where="b.tif", remedy="stop")
    assert str(moved).startswith("b.tif: ") and str(moved).endswith("; stop")


def test_a_long_value_does_not_make_a_long_line() -> None:
    error = InputError(f"the value {[0] * 10_000} is not valid", where="a.yaml", remedy="remove it")
    assert len(str(error)) < 700
    assert str(error).startswith("a.yaml: the value [0, 0") and str(error).endswith("; remove it")


def test_the_reason_of_an_error_is_one_line() -> None:
    assert reason_of(ValueError("no plane\nin a.tif")) == "no plane"
    assert reason_of(EOFError()) == "EOFError"  # which has no text
