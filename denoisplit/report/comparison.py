"""One frame as several systems split it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.report.pictures import INTENSITY, grid
from denoisplit.report.style import display_limits, image_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Row(NamedTuple):
    """One panel for each structure."""

    title: str
    images: npt.NDArray[np.float32]  # (C, Y, X)
    notes: Sequence[str]  # below each panel


def comparison_figure(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """A row of panels per structure: each entry of ``rows`` is a column; the last is the truth.

    Parameters
    ----------
    rows : sequence of Row
        Input, predictions, truth; the first has a grey scale of its own, the others that of the
        last.
    names : sequence of str
        Of the structures.
    """
    shape = rows[0].images.shape[1:]
    figure, places = grid(shape, count=len(rows) * len(names), columns=len(rows))
    for k, name in enumerate(names):
        limits = display_limits(rows[-1].images[k])
        for column, row in enumerate(rows):
            # once a row: with the name before each title there is no room for the note beside it
            title = f"{name}: {row.title}" if column == 0 else row.title
            image_panel(
                places[k * len(rows) + column],
                row.images[k],
                title,
                limits=display_limits(row.images[k]) if column == 0 else limits,
                cmap=INTENSITY,
                note=row.notes[k],
            )
    return figure
