"""The cover image of a package: the input beside its split, 2:1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.images.display import display_limits, light
from denoisplit.report.pictures import composite
from denoisplit.report.style import new_figure, png, scale_bar

PANEL_INCHES = 4.0


def cover(
    image: npt.NDArray[np.float32],
    split: npt.NDArray[np.float32],
    names: Sequence[str],
    pixel_size_um: float | None,
) -> bytes:
    """Draw the input (N, N) and its structures (C, N, N) in colours, with a scale bar, as PNG."""
    from matplotlib import patheffects

    figure = new_figure(PANEL_INCHES, 2 * PANEL_INCHES)
    left = figure.add_axes((0, 0, 0.5, 1))
    right = figure.add_axes((0.5, 0, 0.5, 1))
    low, high = display_limits(image)
    left.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    right.imshow(composite(split, [display_limits(s) for s in split]), interpolation="nearest")
    style: dict[str, Any] = {"va": "top", "fontsize": 14, "fontweight": "bold"}
    style["path_effects"] = [patheffects.withStroke(linewidth=3, foreground="black")]
    labels = [(left, 0, "mixed image", "#ffffff")]
    labels += [(right, k, name, light(k, len(names))) for k, name in enumerate(names)]
    for axes, line, text, colour in labels:
        axes.set_axis_off()
        y = 0.97 - 0.075 * line
        axes.text(0.03, y, text, transform=axes.transAxes, color=colour, **style)
    if pixel_size_um is not None:
        scale_bar(left, image.shape, pixel_size_um)
    return png(figure)
