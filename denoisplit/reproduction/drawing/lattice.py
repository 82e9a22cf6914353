"""Grids of images as in the figures of the paper: rows of panels under column titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from denoisplit.images.display import ink
from denoisplit.report.pictures import DIVERGING, INTENSITY
from denoisplit.report.style import (
    DPI,
    FAINT,
    Image,
    Limits,
    colour_key,
    image_panel,
    new_figure,
    symmetric_limits,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]  # left, bottom, width, height: shares of the figure

SIDE = 2.3  # of a panel, inches
EDGE, GAP, NAME, TITLE, FOOT, KEY = 0.06, 0.08, 0.24, 0.26, 0.04, 0.3  # inches
LARGEST = 640  # px of a panel; larger images are downsampled
INTENSITY_BINS = 60  # of the intensity densities


class Cell(NamedTuple):
    """One panel."""

    image: Image  # (Y, X)
    limits: Limits
    note: str = ""  # right of the title
    cmap: str = INTENSITY


class Column(NamedTuple):
    """Panels below each other; None for an empty place."""

    title: str
    cells: Sequence[Cell | None]


class Lattice(NamedTuple):
    """A drawn grid of panels."""

    figure: Figure
    panels: list[list[Axes | None]]  # [row][column]
    boxes: list[list[Box]]  # of every place


def lattice(
    columns: Sequence[Column], rows: Sequence[str], *, side: float = SIDE, foot: float = FOOT
) -> Lattice:
    """Draw a grid of panels of one shape.

    Parameters
    ----------
    columns : sequence of Column
        Each with one cell per row.
    rows : sequence of str
        Row names, written between the first column and the others; "" for none.
    side : float
        Width of a panel, inches.
    foot : float
        Empty space at the bottom, inches.
    """
    shape = next(cell.image.shape for column in columns for cell in column.cells if cell)
    height = side * min(shape[0] / shape[1], 2.0)
    feet = [
        KEY if any((cell := c.cells[r]) and cell.cmap != INTENSITY for c in columns) else FOOT
        for r in range(len(rows))
    ]
    # the first column belongs to all rows, so their names stand between it and the others
    lefts = [EDGE + c * (side + GAP) for c in range(len(columns))]
    if any(rows):
        lefts = [x + NAME if c or len(columns) == 1 else x for c, x in enumerate(lefts)]
    width = lefts[-1] + side + EDGE
    whole = EDGE + sum(TITLE + height + below for below in feet) + foot
    figure = new_figure(whole, width)
    figure.set_dpi(_dpi(shape, side))
    panels: list[list[Axes | None]] = []
    boxes: list[list[Box]] = []
    bottom = whole - EDGE
    for r, (name, below) in enumerate(zip(rows, feet, strict=True)):
        bottom -= TITLE + height
        boxes.append([(x / width, bottom / whole, side / width, height / whole) for x in lefts])
        panels.append([])
        for column, box in zip(columns, boxes[-1], strict=True):
            axes, cell = None, column.cells[r]
            if cell is not None:
                is_top = all(above is None for above in column.cells[:r])
                axes = _panel(figure, box, cell, column.title if is_top else "")
                axes.set_label(f"{name}: {column.title}" if name else column.title)
            panels[-1].append(axes)
        beside = panels[-1][min(1, len(columns) - 1)]
        if name and beside is not None:
            beside.set_ylabel(name, fontsize=10, color=ink(r), fontweight="bold", labelpad=3)
        bottom -= below
    return Lattice(figure, panels, boxes)


def difference(image: Image) -> Cell:
    """Return a panel of a difference, in diverging colours around zero."""
    return Cell(image, symmetric_limits(image), cmap=DIVERGING)


def density_inset(axes: Axes, truth: Image, prediction: Image, colour: str) -> None:
    """Draw the intensity densities of prediction and truth in the corner of an image panel."""
    low, high = (float(v) for v in np.percentile(np.stack([truth, prediction]), (0.05, 99.95)))
    edges = np.linspace(low, max(high, low + 1e-6), INTENSITY_BINS + 1)
    inset = axes.inset_axes((0.6, 0.68, 0.38, 0.3))
    lines = (truth, "high-SNR", FAINT, 2.4), (prediction, "prediction", colour, 1.2)
    for image, label, shade, width in lines:
        density, _ = np.histogram(image, bins=edges, density=True)
        inset.stairs(density, edges, color=shade, linewidth=width, label=label)
    inset.set_yscale("log")  # most pixels are background
    inset.set_xticks([])
    inset.set_yticks([])
    inset.minorticks_off()
    inset.patch.set_alpha(0.88)
    for spine in inset.spines.values():
        spine.set(linewidth=0.5, color=FAINT)


def _panel(figure: Figure, box: Box, cell: Cell, title: str) -> Axes:
    axes = figure.add_axes(box)
    shown = image_panel(axes, cell.image, title, limits=cell.limits, cmap=cell.cmap, note=cell.note)
    if max(cell.image.shape) > LARGEST:
        shown.set_interpolation("antialiased")
    if cell.cmap != INTENSITY:
        colour_key(axes, shown)
    return axes


def _dpi(shape: Sequence[int], side: float) -> float:
    """Return a resolution at which image pixels are whole numbers of figure pixels."""
    pixels = min(shape[1], LARGEST)
    return max(1, math.ceil(DPI * side / pixels)) * pixels / side
