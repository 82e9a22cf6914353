"""JSON is read in bounded time, and every fault is one line."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

from denoisplit.errors import InputError
from denoisplit.files.bounded import MOST_DEPTH, MOST_NODES, MOST_TEXT
from denoisplit.files.json_file import json_text, parse_json, read_json, write_json


def test_plain_values(tmp_path: Path) -> None:
    value = {"a": [1, -2.5e-3, None, True, "é", {}], "b": 2**63 - 1, "c": {"d": ""}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert parse_json(json_text(value)) == value
    deep = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert json.dumps(parse_json(deep)) == deep


FAULTS = [
    ("[" * 100_000, f"more than {MOST_DEPTH} levels"),
    ('{"a":' * 100_000, f"more than {MOST_DEPTH} levels"),
    ("[" * 900 + "]" * 900, f"more than {MOST_DEPTH} levels"),
    ("[" + "0," * MOST_NODES + "0]", f"more than {MOST_NODES} values"),
    (" " * (MOST_TEXT + 1), f"more than {MOST_TEXT} bytes"),
    ("9" * 5_000, "the number 99999999... of 5000 characters"),
    (json.dumps({"a": 10**400}), "does not fit into 64 bits"),
    (str(-(2**63) - 1), "does not fit into 64 bits"),
    ("1e999", "not finite"),
    ("0." + "0" * 400, "too long"),
    ("NaN", "NaN is not finite"),
    ('{"a": -Infinity}', "-Infinity is not finite"),
    (b'{"a": "\xff"}', "utf-8"),
    ('"\\ud800"', "surrogates"),
    ('{"\\udfff": 1}', "surrogates"),
    ('{"a": 1, "b": 2, "a": 3}', "key a is given twice"),
    ("{", "line 1"),
    ("", "line 1"),
]


@pytest.mark.parametrize(("text", "says"), FAULTS, ids=map(str, count()))
def test_faults_are_one_line(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z") as error:
        parse_json(text)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "this is not valid JSON (it is nested"),
        (b" " * (MOST_TEXT + 1), f"more than {MOST_TEXT} bytes"),
    ],
    ids=map(str, count()),
)
def test_a_file_must_hold_an_object(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: .+; copy the file again$") as error:
        read_json(file)
    assert says in str(error.value)
