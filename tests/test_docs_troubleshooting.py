"""docs/troubleshooting.md quotes messages as the code writes them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/troubleshooting.md"
# what stands for a value, or is written by InputError and the command line around a message
PLACES = re.compile(r"\b(?:[NMAB]|RUN|found|expected|\d+)\b|\.\.\.|--|; |, |: ")


def quoted(page: str) -> list[str]:
    """The fixed parts of all messages in the tables of messages."""
    tables = [part.split("\n\n")[0] for part in page.split("| the line says |")[1:]]
    rows = [row for table in tables for row in re.findall(r"^\| ([^|-][^|]*?) \|", table, re.M)]
    parts = [part.strip() for row in rows for part in PLACES.split(row)]
    return [part for part in parts if len(part) > 3]


def messages() -> str:
    """The code, with texts in one piece and with a mark in place of values."""
    files = (path for room in ("denoisplit", "packaging") for path in (ROOT / room).rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text("utf-8") for path in files))
    return re.sub(r"\{[^{}]*\}|%[-\d.#]*[sdg]", "\0", code).replace("`", "").replace("%%", "%")


def test_quoted_messages_are_those_of_the_code() -> None:
    code, parts = messages(), quoted(PAGE.read_text("utf-8"))
    assert len(parts) > 100
    assert [part for part in parts if part not in code] == []


def test_a_message_that_the_code_does_not_write_is_seen() -> None:
    page = "| the line says | do |\n|---|---|\n| this file is A named thrice: N | name it once |\n"
    assert quoted(page) == ["this file is", "named thrice"]
    assert "named thrice" not in messages()
