"""A YAML mapping from a file, read as data and never as code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from denoisplit.errors import InputError


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(problem=f"key {key} is given twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML mapping from a file, read without executing anything.

    Raises
    ------
    InputError
        If the file is missing, no YAML, or no mapping.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)  # a safe one
    except OSError as error:
        raise InputError(
            path, error.strerror or "unreadable", "a YAML file", "check the path"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(path, f"no YAML ({line})", "a YAML mapping", "correct it") from None
    if not isinstance(values, dict):
        raise InputError(path, type(values).__name__, "a YAML mapping", "write key: value lines")
    return values
