"""The cover image of a package: the input beside its split, and errors where they are known."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoisplit.images.display import display_limits, light
from denoisplit.report.pictures import composite
from denoisplit.report.style import new_figure, png, scale_bar

Array = npt.NDArray[np.float32]

SIDE_INCHES = 8.0
MOST_BYTES = 499_999  # that the zoo takes
MASKS = (0xFF, 0xFC, 0xF8, 0xF0)  # of the bits of a colour: noise cannot be compressed


def cover(
    image: Array,
    split: Array,
    names: Sequence[str],
    pixel_size_um: float | None,
    errors: tuple[Array, Array] | None = None,
) -> bytes:
    """Draw the input (N, N) and its structures (C, N, N) in colours, with a scale bar, as PNG.

    If ``errors`` are given, error bars and true errors (C, N, N) are in a second row, with the same
    brightness: 1:1 in place of 2:1.
    """
    from matplotlib import patheffects

    colours = [(name, light(k, len(names))) for k, name in enumerate(names)]
    pictures: list[tuple[npt.NDArray[Any], list[tuple[str, str]]]] = [
        (image, [("mixed image", "#ffffff")]),
        (composite(split, [display_limits(s) for s in split]), colours),
    ]
    if errors is not None:
        limits = [(0.0, display_limits(*pair)[1]) for pair in zip(*errors, strict=True)]
        for values, label in zip(errors, ("error bar", "true error"), strict=True):
            pictures.append((composite(values, limits), [(label, "#ffffff"), *colours]))
    rows = len(pictures) // 2
    figure = new_figure(SIDE_INCHES * rows / 2, SIDE_INCHES)
    style: dict[str, Any] = {"va": "top", "fontsize": 14, "fontweight": "bold"}
    style["path_effects"] = [patheffects.withStroke(linewidth=3, foreground="black")]
    low, high = display_limits(image)
    for number, (picture, labels) in enumerate(pictures):
        row, column = divmod(number, 2)
        axes = figure.add_axes((column / 2, 1 - (row + 1) / rows, 1 / 2, 1 / rows))
        axes.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_axis_off()
        for line, (text, colour) in enumerate(labels):
            y = 0.97 - 0.075 * line
            axes.text(0.03, y, text, transform=axes.transAxes, color=colour, **style)
        if number == 0 and pixel_size_um is not None:
            scale_bar(axes, image.shape, pixel_size_um)
    pixels = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))
    encoded = b""
    for mask in MASKS:
        stream = io.BytesIO()
        Image.fromarray(pixels & np.uint8(mask)).save(stream, "PNG", optimize=True)
        encoded = stream.getvalue()
        if len(encoded) <= MOST_BYTES:
            break
    return encoded
