"""YAML is read as plain data, in bounded time, and every fault is one line."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import pytest
import yaml

from denoisplit.errors import InputError
from denoisplit.files.bounded import MOST_DEPTH, MOST_NODES, MOST_TEXT
from denoisplit.files.yaml_file import parse_yaml, read_yaml

SECONDS = 20  # a machine in use is slow; quadratic time would be minutes


def laughs(levels: int) -> str:
    """Lists of nine aliases of the list before: 9 ** levels values in few bytes."""
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, levels):
        lines.append(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]")
    return "\n".join(lines)


def chain(length: int) -> str:
    """Aliases that nest deeply, although no line does."""
    return "l0: &l0 [x]\n" + "\n".join(f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, length))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ON: NO\nyes: off\n1.5: y", {"ON": "NO", "yes": "off", "1.5": "y"}),
        ("~: 1\n? \n: 2", {"~": 1, "": 2}),
        ("[true, False, null, ~, '']", [True, False, None, None, ""]),
        ("[1, -2, +3, 1.5, .5, 1.0e-05, 2.]", [1, -2, 3, 1.5, 0.5, 1e-5, 2.0]),
        ("[010, 0x10, 1_000, 12:30, 1e3]", ["010", "0x10", "1_000", "12:30", "1e3"]),
        ("[2001-99-99, 2001-02-03, =, '1']", ["2001-99-99", "2001-02-03", "=", "1"]),
        ("a: &a {b: 1}\nc: {<<: *a}", {"a": {"b": 1}, "c": {"<<": {"b": 1}}}),
        ("[&a x, *a, *a]", ["x", "x", "x"]),
        ("\ufeffa: é", {"a": "é"}),
        ("", None),
        ("# nothing", None),
        (f"{2**63 - 1}", 2**63 - 1),
        ("[" * MOST_DEPTH + "]" * MOST_DEPTH, None),
    ],
    ids=map(str, count()),
)
def test_plain_values(text: str, value: object) -> None:
    read = parse_yaml(text.encode(), "it")
    if text.startswith("[["):
        assert yaml.safe_load(text) == read
    else:
        assert read == value
        assert repr(read) == repr(value)  # 1 is not True


def test_what_pyyaml_writes_is_read_unchanged() -> None:
    words = ["NO", "on", "1", "010", "1e3", "0x1F", "2001-01-01", "12:30", "~", "", "=", "<<", "é"]
    words += ["null", "True", ".inf", "1.5", "- a", "a: b", "!!bool x", "&a", "*a", " a\n b"]
    value = {"text": words, **{word: 1 for word in words}, "numbers": [1e-9, 3, 1e20, -0.5]}
    for wide in (True, False):
        text = yaml.safe_dump(value, allow_unicode=wide, default_flow_style=wide)
        assert parse_yaml(text.encode(), "it") == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (laughs(9), f"more than {MOST_NODES} values"),
        (chain(100), f"more than {MOST_DEPTH} levels"),
        ("a: &a [*a]", "stands for no value"),
        ("[*a]", "stands for no value"),
        ("a: " + "[" * 100_000, "nest"),  # PyYAML 6.0.4 stops before we do
        ("a: " + "[\n" * 100_000, f"more than {MOST_DEPTH} levels"),
        ("- " * 100_000, f"more than {MOST_DEPTH} levels"),
        ("? " * 100_000, "a key is not plain text"),
        ("{[a]: 1}", "a key is not plain text"),
        ("a: [" + "1," * (MOST_NODES + 1) + "]", f"more than {MOST_NODES} values"),
        ("seed: " + "9" * 5_000, "the number 99999999... of 5000 characters"),
        (f"seed: {2**63}", "does not fit into 64 bits"),
        ("a: 1." + "0" * 400, "too long or not finite"),
        ("a: 1.0e+999", "too long or not finite"),
        ("a: .inf", ".inf is not finite"),
        ("a: -.NaN", "-.NaN is not finite"),
        ("a: !!bool x", "declares a type, bool"),
        ("!!set {a, b}", "declares a type, set"),
        ("!!python/object/apply:os.system [x]", "declares a type"),
        ("!!str a: 1", "a key is not plain text"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("a: 1\nb: 2\na: 3", "key a is given twice"),
        ("ON: 1\n'ON': 3", "key ON is given twice"),
        ("a: 1\nb: - c\nd: 1", "line 2"),
        ("a: \x00", "control characters"),
        ('a: "\\ud800"', "Unicode"),
        (b"a: \xff", "utf-8"),
        (b"#" * (MOST_TEXT + 1), f"more than {MOST_TEXT} bytes"),
    ],
    ids=map(str, count()),
)
def test_faults_are_one_line_and_quick(text: str | bytes, says: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=r"^it: this is not valid YAML \(.+\); correct it$") as e:
        parse_yaml(text if isinstance(text, bytes) else text.encode(), "it")
    assert says in str(e.value)
    assert time.process_time() - start < SECONDS


def test_many_keys_take_linear_time() -> None:
    start = time.process_time()
    text = "\n".join(f"k{n}: 1" for n in range(60_000))
    assert len(parse_yaml(text.encode(), "it")) == 60_000
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"#" * (MOST_TEXT + 1), f"more than {MOST_TEXT} bytes"),
        (b"", "nothing"),
        (b"- a", "a list"),
        (b"a", "a single value"),
    ],
    ids=map(str, count()),
)
def test_a_file_must_hold_a_mapping(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.yaml: .+; ") as error:
        read_yaml(file)
    assert says in str(error.value)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(InputError, match=f"more than {MOST_TEXT} bytes"):
        read_yaml("/dev/zero")
