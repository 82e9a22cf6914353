"""Reading of YAML, as data and never as code, in bounded time and memory.

Plain values are those that YAML 1.2 and Python agree on: ``true`` and ``false``, but not ``yes``,
``NO`` or ``on``; decimal numbers; ``null``. Everything else, dates too, is text, and so is every
key of a mapping. A value that declares a type (``!!bool``) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from denoisplit.errors import InputError, reason_of
from denoisplit.files.bounded import (
    MOST_DEPTH,
    MOST_NODES,
    MOST_TEXT,
    read_bytes,
    real_number,
    whole_number,
)

# those of PyYAML, less octal, hexadecimal and sexagesimal numbers: text that it writes without
# quotes is text here
CONSTANTS = {word: None for word in ("", "~", "null", "Null", "NULL")} | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
REAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
INFINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)

# the one in C is ten times as fast, and has the same events
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Node(NamedTuple):
    """A value, the number of values in it, and how deep they are nested."""

    value: Any
    size: int
    height: int


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping from a file.

    Raises
    ------
    InputError
        If the file is missing or too long, is not YAML, or holds no mapping; see `parse_yaml`.
    """
    values = parse_yaml(read_bytes(path, MOST_TEXT, "a YAML file", "check the path"), path)
    if not isinstance(values, dict):
        content = "a list" if isinstance(values, list) else "a single value"
        problem = f"expected a YAML mapping, but the file holds {content if values else 'nothing'}"
        raise InputError(problem, where=path, remedy="write lines of the form `key: value`")
    return values


def parse_yaml(text: bytes, where: str | Path) -> Any:
    """Return the plain values of a YAML document: mappings, lists, text, numbers, bool and None.

    Raises
    ------
    InputError
        If the text is not YAML, is nested too deeply, holds too many values or a number that is
        too large, repeats a key, or declares a type.
    """
    try:
        if len(text) > MOST_TEXT:
            raise ValueError(f"it has more than {MOST_TEXT} bytes")
        return _Document(yaml.parse(text.decode("utf-8"), Loader=Loader)).content()
    except (yaml.YAMLError, ValueError) as error:  # of decoding, too
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or reason_of(error)
        reason += f", line {mark.line + 1}" if mark else ""
        problem = f"this is not valid YAML ({reason})"
        raise InputError(problem, where=where, remedy="correct it") from None


class _Document:
    """The values of a document, built from the events of its parser, which come one by one."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.anchors: dict[str, _Node] = {}
        self.size = 0  # values so far

    def content(self) -> Any:
        """Return the value of the only document; None if there is none."""
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        node = self.node(next(self.events), 0)
        next(self.events)  # end of the document
        if not isinstance(next(self.events), yaml.StreamEndEvent):
            raise ValueError("it holds more than one document")
        return node.value

    def node(self, event: Any, depth: int) -> _Node:
        """Return the value that begins with an event, ``depth`` levels below the top."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise ValueError(f"*{str(event.anchor)[:60]} stands for no value before it")
            node = self.anchors[event.anchor]
            self.count(node.size, depth + node.height)
            return node
        if event.tag is not None:
            raise ValueError(f"it declares a type, {event.tag.split(':')[-1][:40]}")
        before = self.size
        self.count(1, depth)
        if isinstance(event, yaml.ScalarEvent):
            value = plain_value(event.value) if event.implicit[0] else event.value
            node = _Node(value, 1, 0)
        else:
            make = self.mapping if isinstance(event, yaml.MappingStartEvent) else self.sequence
            value, height = make(depth + 1)
            node = _Node(value, self.size - before, height)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def sequence(self, depth: int) -> tuple[list[Any], int]:
        """Return a list whose start was read, and its height."""
        values, height = [], 0
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            node = self.node(event, depth)
            values.append(node.value)
            height = max(height, node.height + 1)
        return values, height

    def mapping(self, depth: int) -> tuple[dict[str, Any], int]:
        """Return a mapping whose start was read, and its height."""
        values: dict[str, Any] = {}
        height = 0
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
                raise ValueError("a key is not plain text")
            key = event.value
            if key in values:
                raise ValueError(f"key {key[:60]} is given twice")
            node = self.node(next(self.events), depth)
            values[key] = node.value
            height = max(height, node.height + 1)
        return values, height

    def count(self, more: int, depth: int) -> None:
        """Refuse a document of too many values, or nested too deeply."""
        self.size += more
        if self.size > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES} values")
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")


def plain_value(text: str) -> Any:
    """Return the constant, the number or the text that is written without quotes."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if WHOLE.fullmatch(text):
        return whole_number(text)
    if INFINITE.fullmatch(text):
        raise ValueError(f"{text} is not finite")
    return real_number(text) if REAL.fullmatch(text) else text
