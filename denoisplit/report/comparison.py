"""Figure of one frame split by several systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.report.pictures import INTENSITY, grid
from denoisplit.report.style import display_limits, image_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PanelColumn(NamedTuple):
    """Column of the figure, with one panel per structure."""

    title: str
    images: npt.NDArray[np.float32]  # (C, Y, X)
    notes: Sequence[str]  # one per panel


def comparison_figure(columns: Sequence[PanelColumn], names: Sequence[str]) -> Figure:
    """Draw a row of panels for each structure.

    Parameters
    ----------
    columns : sequence of PanelColumn
        Input, predictions, truth. The input has its own grey scale, the others that of the truth.
    names : sequence of str
        Names of the structures.
    """
    shape = columns[0].images.shape[1:]
    figure, axes = grid(shape, count=len(columns) * len(names), columns=len(columns))
    for k, name in enumerate(names):
        limits = display_limits(columns[-1].images[k])
        for number, column in enumerate(columns):
            # the name only in the first panel of a row: the others need the space for their notes
            image_panel(
                axes[k * len(columns) + number],
                column.images[k],
                f"{name}: {column.title}" if number == 0 else column.title,
                limits=display_limits(column.images[k]) if number == 0 else limits,
                cmap=INTENSITY,
                note=column.notes[k],
            )
    return figure
