"""Common style of all figures: colours, sizes, image panels, scale bars, PNG output."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from denoisplit.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Image = npt.NDArray[Any]
Limits = tuple[float, float]

DPI = 120
WIDTH = 11.0  # inches
INK = "#33363d"
FAINT = "#9aa0aa"


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty white figure; sides in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def square_panels(count: int, side: float = 2.9) -> tuple[Figure, list[Axes]]:
    """Return a figure with up to three square plots in a row; side in inches."""
    columns = min(3, count)
    rows = -(-count // columns)
    left, foot, top, right = 0.62, 0.55, 0.35, 0.12  # inches
    width, height = columns * (left + side) + right, rows * (side + foot + top)
    figure, panels = new_figure(height, width), []
    for number in range(count):
        row, column = divmod(number, columns)
        x, y = column * (left + side) + left, height - row * (side + foot + top) - top - side
        box = (x / width, y / height, side / width, side / height)
        panels.append(figure.add_axes(box))
    return figure, panels


def png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    metadata = {"Software": f"denoisplit {__version__}"}
    figure.savefig(stream, format="png", dpi=figure.dpi, metadata=metadata)
    return stream.getvalue()


def symmetric_limits(image: Image) -> Limits:
    """Return a display range for a difference, centred on zero."""
    reach = float(np.percentile(np.abs(image), 99.8)) or 1.0
    return -reach, reach


def image_panel(
    axes: Axes, image: Image, title: str, *, limits: Limits | None, cmap: str, note: str = ""
) -> AxesImage:
    """Show an image (Y, X) or (Y, X, 3), with a title above left and a note above right."""
    low, high = limits or (None, None)
    shown = axes.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, pad=4)
    if note:
        axes.set_title(note, loc="right", fontsize=9.5, color=INK, fontweight="bold", pad=4)
    return shown


def colour_key(axes: Axes, shown: AxesImage) -> None:
    """Draw a thin colour bar below a panel, in raw intensity."""
    height = axes.bbox.height / axes.figure.dpi  # inches
    key = axes.inset_axes((0.0, -0.12 / height, 1.0, 0.065 / height))
    bar = axes.figure.colorbar(shown, cax=key, orientation="horizontal")
    bar.outline.set_visible(False)
    key.tick_params(labelsize=8, length=2, colors=INK, pad=2)
    key.locator_params(nbins=5)


def plain(axes: Axes, title: str, x: str, y: str) -> None:
    """Apply the common style to a plot, with its title and axis labels."""
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=6)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.ticklabel_format(useOffset=False)  # ticks show the full values
    axes.grid(color="#e6e8ec", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def legend(axes: Axes) -> None:
    """Add a small legend without a frame."""
    look = {"frameon": False, "labelcolor": INK, "handlelength": 1.6, "handletextpad": 0.5}
    axes.legend(loc="best", fontsize=8, **look)  # said, so that a slow machine is not warned of


def scale_bar_length(width_um: float) -> float:
    """Return a round length in µm, about a fifth of the width: 1, 2 or 5 times a power of 10."""
    target = 0.25 * width_um
    power = 10.0 ** math.floor(math.log10(target))
    return max(step * power for step in (1, 2, 5) if step * power <= target)


def scale_bar(axes: Axes, shape: Sequence[int], pixel_size_um: float) -> None:
    """Draw a labelled scale bar into the lower right corner of an image panel."""
    from matplotlib import patheffects

    height, width = shape[:2]
    length_um = scale_bar_length(width * pixel_size_um)
    length = length_um / pixel_size_um
    right, y = 0.96 * width, 0.95 * height
    dark = [patheffects.withStroke(linewidth=4.5, foreground="black", alpha=0.7)]
    axes.plot(
        [right - length, right],
        [y, y],
        color="white",
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=dark,
        label="scale bar",
    )
    nanometres = length_um < 1
    text = f"{1000 * length_um:g} nm" if nanometres else f"{length_um:g} µm"
    axes.text(
        right - length / 2,
        y - 0.02 * height,
        text,
        color="white",
        fontsize=8.5,
        ha="center",
        va="bottom",
        path_effects=[patheffects.withStroke(linewidth=2, foreground="black")],
    )
