"""``denoisplit reproduce``: figures of the paper, on images at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from denoisplit.images import Files
from denoisplit.reproduction.fig_s1 import fig_s1, table

PathLike = str | Path

ITEMS = {"S1": (fig_s1, table)}


def reproduce(item: str, structures: Mapping[str, Files], output: PathLike, **options: Any) -> str:
    """Reproduce a figure of the paper; returns it as a table.

    Parameters
    ----------
    item : {"S1"}
        See `denoisplit.reproduction.fig_s1`.
    structures : mapping of name to files
    output : path
        Folder of all results; what is there already is not repeated.
    **options
        Of the item.

    Raises
    ------
    InputError
        See the item.
    """
    make, as_table = ITEMS[item]
    return as_table(make(structures, output, **options))
