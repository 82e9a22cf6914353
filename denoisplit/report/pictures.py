"""Figures of one test frame: an overview in colour, and each structure in detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from denoisplit.images.display import display_limits, light
from denoisplit.report.example import ExampleFrame
from denoisplit.report.style import (
    WIDTH,
    Image,
    Limits,
    colour_key,
    image_panel,
    new_figure,
    scale_bar,
    symmetric_limits,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
INTENSITY, SPREAD, DIVERGING = "gray", "inferno", "RdBu_r"


def overview_figure(example: ExampleFrame) -> Figure:
    """Draw the input, and in colours the prediction and the truth (or the recorded structures)."""
    limits = _structure_limits(example)
    if example.truth is None:
        title, reference = "recorded, noisy", example.observed
        shown = [display_limits(image) for image in reference]
    else:
        title, reference, shown = "truth", example.truth, limits
    figure, panels = grid(example.input.shape, count=3, columns=3)
    image_panel(
        panels[0], example.input, "input", limits=display_limits(example.input), cmap=INTENSITY
    )
    image_panel(panels[1], composite(example.mean, limits), "split", limits=None, cmap=INTENSITY)
    image_panel(panels[2], composite(reference, shown), title, limits=None, cmap=INTENSITY)
    if example.pixel_size_um is not None:
        scale_bar(panels[0], example.input.shape, example.pixel_size_um)
    if len(example.names) > 1:
        _colour_names(panels[1], example.names)
    return figure


def structure_figure(example: ExampleFrame, k: int) -> Figure:
    """Draw everything about structure k: input, prediction, truth, std, two samples."""
    limits = _structure_limits(example)[k]
    panels: list[tuple[str, Image, Limits, str, str]] = []

    def add(title: str, image: Image, limits: Limits, cmap: str, key: str | None = None) -> None:
        value = example.psnr[key][k] if key else None
        panels.append((title, image, limits, cmap, "" if value is None else f"{value:.1f} dB"))

    def add_std() -> None:
        add("error bar (std)", example.std[k], (0.0, display_limits(example.std[k])[1]), SPREAD)

    noisy = example.observed[k]
    add("input", example.input, display_limits(example.input), INTENSITY, "input")
    if example.truth is not None and len(example.names) > 1:  # a single structure is the input
        add("noisy target", noisy, display_limits(noisy), INTENSITY, "observed")
    add("prediction (MMSE)", example.mean[k], limits, INTENSITY, "mean")
    if example.truth is None:
        add("recorded, noisy", noisy, display_limits(noisy), INTENSITY)
    else:
        add("truth", example.truth[k], limits, INTENSITY)
    in_first_row = len(panels) < COLUMNS
    if in_first_row:
        add_std()
    for i, sample in enumerate(example.samples, start=1):
        add(f"sample {i}", sample[k], limits, INTENSITY, f"sample {i}")
    if len(example.samples) == 2:
        difference = example.samples[0, k] - example.samples[1, k]
        add("sample 1 − sample 2", difference, symmetric_limits(difference), DIVERGING)
    if not in_first_row:
        add_std()

    keyed = [cmap != INTENSITY for _, _, _, cmap, _ in panels]
    figure, axes = grid(example.input.shape, count=len(panels), columns=COLUMNS, keyed=keyed)
    for place, (title, image, shown_limits, cmap, note) in zip(axes, panels, strict=True):
        shown = image_panel(place, image, title, limits=shown_limits, cmap=cmap, note=note)
        if cmap != INTENSITY:
            colour_key(place, shown)
    if example.pixel_size_um is not None:
        scale_bar(axes[0], example.input.shape, example.pixel_size_um)
    return figure


def composite(images: Image, limits: list[Limits]) -> npt.NDArray[np.float64]:
    """Return structures (C, Y, X) superposed in their colours, (Y, X, 3) from 0 to 1."""
    from matplotlib.colors import to_rgb

    total = np.zeros((*images.shape[1:], 3))
    for k, (image, (low, high)) in enumerate(zip(images, limits, strict=True)):
        level = np.clip((image - low) / (high - low), 0, 1)
        total += level[..., None] * np.array(to_rgb(light(k, len(images))))
    return np.clip(total, 0, 1)


def _structure_limits(example: ExampleFrame) -> list[Limits]:
    """Return one display range per structure, for its truth, prediction and samples."""
    reference = example.mean if example.truth is None else example.truth
    return [display_limits(image) for image in reference]


def _colour_names(axes: Axes, names: tuple[str, ...]) -> None:
    """Write the names of the structures in their colours into the upper left corner."""
    from matplotlib import patheffects

    for k, name in enumerate(names):
        axes.text(
            0.025,
            0.975 - 0.06 * k,
            name,
            transform=axes.transAxes,
            va="top",
            fontsize=9.5,
            fontweight="bold",
            color=light(k, len(names)),
            path_effects=[patheffects.withStroke(linewidth=2.5, foreground="black")],
        )


def grid(
    shape: tuple[int, ...], *, count: int, columns: int, keyed: Sequence[bool] = ()
) -> tuple[Figure, list[Axes]]:
    """Return axes for images of a shape, row by row, with space for colour keys where needed."""
    gap, title, foot, key = 0.1, 0.27, 0.06, 0.3  # inches
    starts = range(0, count, columns)
    feet = [key if any(keyed[start : start + columns]) else foot for start in starts]
    width = (WIDTH - (columns - 1) * gap) / columns
    height = min(width * shape[0] / shape[1], 2 * width)
    whole = sum(height + title + below for below in feet)
    figure, places, bottom = new_figure(whole), [], whole
    for start, below in zip(starts, feet, strict=True):
        bottom -= title + height
        for column in range(min(columns, count - start)):
            left = column * (width + gap)
            box = (left / WIDTH, bottom / whole, width / WIDTH, height / whole)
            places.append(figure.add_axes(box))
        bottom -= below
    return figure, places
