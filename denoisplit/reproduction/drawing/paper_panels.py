"""The paper's figures of images: whole frames, samples, systems side by side, denoising."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.metrics import psnr_if_defined
from denoisplit.images.display import display_limits, ink
from denoisplit.report.plots import StructureCalibration
from denoisplit.report.style import INK, scale_bar
from denoisplit.reproduction.drawing.lattice import (
    EDGE,
    Cell,
    Column,
    Lattice,
    density_inset,
    difference,
    lattice,
)
from denoisplit.reproduction.drawing.paper_plots import calibration_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PanelImages:
    """Images of a test frame or of a part of it; raw intensities, float32."""

    names: tuple[str, ...]  # structures in channel order
    input: Array  # (Y, X), the image that was split
    observed: Array  # (C, Y, X), the recorded structures
    truth: Array  # (C, Y, X), without noise, or the recorded structures if that is unknown
    has_truth: bool  # whether the truth is free of noise
    pixel_size_um: float | None = None

    @property
    def truth_title(self) -> str:
        """Title of the column of the truth."""
        return "high-SNR" if self.has_truth else "recorded, noisy"

    def psnr(self, k: int, image: Array) -> str:
        """Return the PSNR of an image (Y, X) of structure k as a note; empty without a truth."""
        value = psnr_if_defined(self.truth[k], image) if self.has_truth else None
        return "" if value is None else f"{value:.1f} dB"

    def input_column(self, rows: int) -> Column:
        """Return a column of the superposed image, shown once."""
        notes = [self.psnr(k, self.input) for k in range(len(self.names))]
        note = " / ".join(n.removesuffix(" dB") for n in notes) + " dB" if all(notes) else ""
        cell = Cell(self.input, display_limits(self.input), note)
        return Column("input", [cell, *[None] * (rows - 1)])

    def target_columns(self) -> list[Column]:
        """Return the column of noisy targets; none if they are shown as the input or the truth."""
        if not self.has_truth or len(self.names) == 1:
            return []
        return [self._column_with_psnr("noisy target", self.observed, self.observed)]

    def predicted_column(self, title: str, images: Array) -> Column:
        """Return a column of predictions (C, Y, X) in the grey scale of the truth."""
        return self._column_with_psnr(title, images, self.truth)

    def _column_with_psnr(self, title: str, images: Array, scales: Array) -> Column:
        limits = [display_limits(scale) for scale in scales]
        return Column(title, [Cell(i, limits[k], self.psnr(k, i)) for k, i in enumerate(images)])

    def truth_column(self) -> Column:
        """Return the column of the truth."""
        cells = [Cell(image, display_limits(image)) for image in self.truth]
        return Column(self.truth_title, cells)

    def draw_scale_bar(self, drawn: Lattice) -> None:
        """Draw a scale bar into the first panel, if the pixel size is known."""
        first = drawn.panels[0][0]
        if self.pixel_size_um is not None and first is not None:
            scale_bar(first, self.input.shape, self.pixel_size_um)


def whole_frames_figure(images: PanelImages, predictions: Sequence[tuple[str, Array]]) -> Figure:
    """Draw Fig. 2: input; per structure noisy target, every prediction, truth.

    PSNR is written over the panels; those of predictions have densities of the intensities.

    Parameters
    ----------
    images : PanelImages
    predictions : sequence of (title, ndarray (C, Y, X))
        Posterior means of systems.
    """
    columns = [images.input_column(len(images.names)), *images.target_columns()]
    first = len(columns)
    columns += [images.predicted_column(title, means) for title, means in predictions]
    drawn = lattice([*columns, images.truth_column()], images.names, foot=0.24)
    for k, row in enumerate(drawn.panels):
        for (_, means), axes in zip(predictions, row[first:-1], strict=True):
            if axes is not None:
                density_inset(axes, images.truth[k], means[k], ink(k))
    images.draw_scale_bar(drawn)
    drawn.figure.text(
        EDGE / drawn.figure.get_figwidth(),
        0.07 / drawn.figure.get_figheight(),
        f"Insets: density of the intensities on a logarithmic scale; grey: {images.truth_title}, "
        "colour: prediction.",
        fontsize=8.5,
        color=INK,
    )
    return drawn.figure


def samples_figure(
    images: PanelImages,
    samples: Array,
    mean: Array,
    curves: Sequence[StructureCalibration],
    units: Sequence[float],
    count: int,
) -> Figure:
    """Draw Fig. 3: two posterior samples, their difference, the mean, and the calibration.

    Parameters
    ----------
    images : PanelImages
    samples : ndarray (2, C, Y, X)
        Independent posterior samples.
    mean : ndarray (C, Y, X)
        Posterior mean.
    curves, units
        As for `denoisplit.reproduction.drawing.paper_plots.calibration_axes`.
    count : int
        Number of posterior samples in the mean.
    """
    rows = max(2, len(images.names))  # the calibration lies below the input
    names = [*images.names, *[""] * (rows - len(images.names))]
    columns = [
        images.input_column(rows),
        *images.target_columns(),
        *(images.predicted_column(f"sample {i}", s) for i, s in enumerate(samples, start=1)),
        Column("difference", [difference(a - b) for a, b in zip(*samples, strict=True)]),
        images.predicted_column(f"MMSE (S = {count})", mean),
        images.truth_column(),
    ]
    padded = [c._replace(cells=[*c.cells, *[None] * (rows - len(c.cells))]) for c in columns]
    drawn = lattice(padded, names, foot=0.1)
    left, bottom, width, height = drawn.boxes[-1][0]
    wide, high = drawn.figure.get_figwidth(), drawn.figure.get_figheight()
    edge, below = 0.6, 0.34  # inches, for the labels of the axes
    side = min(width * wide - edge, height * high - below)
    axes = drawn.figure.add_axes(
        (left + edge / wide, bottom + below / high, side / wide, side / high)
    )
    calibration_axes(axes, curves, units)
    axes.set_title("calibration", loc="left", fontsize=9.5, color=INK, pad=4)
    images.draw_scale_bar(drawn)
    return drawn.figure


def systems_figure(images: PanelImages, predictions: Sequence[tuple[str, Array]]) -> Figure:
    """Draw Fig. 4: the same part of a frame as split by several systems.

    Parameters
    ----------
    images, predictions
        As for `whole_frames_figure`.
    """
    columns = [images.input_column(len(images.names))]
    columns += [images.predicted_column(title, means) for title, means in predictions]
    drawn = lattice([*columns, images.truth_column()], images.names)
    images.draw_scale_bar(drawn)
    return drawn.figure


def denoising_figure(patches: Sequence[Sequence[tuple[PanelImages, Array]]]) -> Figure:
    """Draw Figs. S.8 to S.14: patches of single structures: noisy, denoised and noise-free.

    Parameters
    ----------
    patches : [patch][structure] of (PanelImages, ndarray (1, Y, X))
        Images of one structure each, with the posterior mean.
    """
    columns = []
    for column in zip(*patches, strict=True):
        first, _ = column[0]
        noisy = [Cell(i.input, display_limits(i.input), i.psnr(0, i.input)) for i, _ in column]
        denoised = [images.predicted_column("", mean).cells[0] for images, mean in column]
        columns += [Column(f"{first.names[0]}: noisy", noisy), Column("HDN", denoised)]
        if first.has_truth:
            truth = [images.truth_column().cells[0] for images, _ in column]
            columns.append(Column(first.truth_title, truth))
    drawn = lattice(columns, [""] * len(patches))
    patches[0][0][0].draw_scale_bar(drawn)
    return drawn.figure
