"""The paper's figures of images: whole frames, samples, systems side by side, denoising."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from denoisplit.report.plots import Calibrated
from denoisplit.report.style import INK, display_limits, ink, scale_bar
from denoisplit.reproduction.drawing.lattice import (
    EDGE,
    Cell,
    Column,
    Lattice,
    decibel,
    density_inset,
    difference,
    lattice,
)
from denoisplit.reproduction.drawing.paper_plots import calibration_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A test frame or a part of it; raw intensities, float32.

    Attributes
    ----------
    names : tuple of str
        Structures in channel order.
    input : ndarray (Y, X)
        What was split.
    observed : ndarray (C, Y, X)
        The recorded structures.
    truth : ndarray (C, Y, X)
        The noise-free structures; the recorded ones where nothing better is known.
    has_truth : bool
        Whether the truth is free of noise.
    pixel_size_um : float or None
    """

    names: tuple[str, ...]
    input: Array
    observed: Array
    truth: Array
    has_truth: bool
    pixel_size_um: float | None = None

    @property
    def truth_title(self) -> str:
        """What the truth is."""
        return "high-SNR" if self.has_truth else "recorded, noisy"


def whole_frames_figure(scene: Scene, predictions: Sequence[tuple[str, Array]]) -> Figure:
    """Fig. 2: input; per structure noisy target, every prediction, truth.

    PSNR over the panels, and in those of predictions the densities of the intensities.

    Parameters
    ----------
    scene : Scene
    predictions : sequence of (title, ndarray (C, Y, X))
        Posterior means of systems.
    """
    columns = [_input(scene, rows=len(scene.names)), *_noisy_targets(scene)]
    first = len(columns)
    columns += [_predicted(scene, title, images) for title, images in predictions]
    drawn = lattice([*columns, _truth(scene)], scene.names, foot=0.24)
    for k, row in enumerate(drawn.panels):
        for (_, images), axes in zip(predictions, row[first:-1], strict=True):
            if axes is not None:
                density_inset(axes, scene.truth[k], images[k], ink(k))
    _size(drawn, scene)
    drawn.figure.text(
        EDGE / drawn.figure.get_figwidth(),
        0.07 / drawn.figure.get_figheight(),
        f"Insets: density of the intensities, logarithmic; grey: {scene.truth_title}, in colour: "
        "prediction.",
        fontsize=8.5,
        color=INK,
    )
    return drawn.figure


def samples_figure(
    scene: Scene,
    samples: Array,
    mean: Array,
    curves: Sequence[Calibrated],
    units: Sequence[float],
    count: int,
) -> Figure:
    """Fig. 3: two posterior samples, their difference and the mean; calibration in the lower left.

    Parameters
    ----------
    scene : Scene
    samples : ndarray (2, C, Y, X)
        Independent ones.
    mean : ndarray (C, Y, X)
        Posterior mean.
    curves, units
        As of `denoisplit.reproduction.drawing.paper_plots.calibration_axes`.
    count : int
        Posterior samples behind the mean.
    """
    rows = max(2, len(scene.names))  # the calibration lies below the input
    names = [*scene.names, *[""] * (rows - len(scene.names))]
    columns = [
        _input(scene, rows=rows),
        *_noisy_targets(scene),
        *(_predicted(scene, f"sample {i}", s) for i, s in enumerate(samples, start=1)),
        Column("difference", [difference(a - b) for a, b in zip(*samples, strict=True)]),
        _predicted(scene, f"MMSE (S = {count})", mean),
        _truth(scene),
    ]
    padded = [c._replace(cells=[*c.cells, *[None] * (rows - len(c.cells))]) for c in columns]
    drawn = lattice(padded, names, foot=0.1)
    left, bottom, width, height = drawn.boxes[-1][0]
    wide, high = drawn.figure.get_figwidth(), drawn.figure.get_figheight()
    edge, below = 0.6, 0.34  # inches: room for the labels of the axes
    room = min(width * wide - edge, height * high - below)
    axes = drawn.figure.add_axes(
        (left + edge / wide, bottom + below / high, room / wide, room / high)
    )
    calibration_axes(axes, curves, units)
    axes.set_title("calibration", loc="left", fontsize=9.5, color=INK, pad=4)
    _size(drawn, scene)
    return drawn.figure


def systems_figure(scene: Scene, predictions: Sequence[tuple[str, Array]]) -> Figure:
    """Fig. 4: the same part of a frame, as systems split it.

    Parameters
    ----------
    scene, predictions
        As of `whole_frames_figure`.
    """
    columns = [_input(scene, rows=len(scene.names))]
    columns += [_predicted(scene, title, images) for title, images in predictions]
    drawn = lattice([*columns, _truth(scene)], scene.names)
    _size(drawn, scene)
    return drawn.figure


def denoising_figure(patches: Sequence[Sequence[tuple[Scene, Array]]]) -> Figure:
    """Figs. S.8 to S.14: patches of single structures, with noise, denoised, and without.

    Parameters
    ----------
    patches : [patch][structure] of (Scene, ndarray (1, Y, X))
        Each scene of one structure, with its posterior mean.
    """
    columns = []
    for k, (first, _) in enumerate(patches[0]):
        scenes = [(row[k][0], row[k][1]) for row in patches]
        limits = [display_limits(scene.truth[0]) for scene, _ in scenes]
        (name,) = first.names
        columns += [
            Column(
                f"{name}: noisy",
                [Cell(s.input, display_limits(s.input), _note(s, 0, s.input)) for s, _ in scenes],
            ),
            Column(
                "HDN",
                [
                    Cell(mean[0], shown, _note(s, 0, mean[0]))
                    for (s, mean), shown in zip(scenes, limits, strict=True)
                ],
            ),
        ]
        if first.has_truth:
            columns.append(
                Column(
                    first.truth_title,
                    [Cell(s.truth[0], shown) for (s, _), shown in zip(scenes, limits, strict=True)],
                )
            )
    drawn = lattice(columns, [""] * len(patches))
    _size(drawn, patches[0][0][0])
    return drawn.figure


def _input(scene: Scene, *, rows: int) -> Column:
    """The mixed image, once."""
    notes = [_note(scene, k, scene.input) for k in range(len(scene.names))]
    note = " / ".join(n.removesuffix(" dB") for n in notes) + " dB" if all(notes) else ""
    cell = Cell(scene.input, display_limits(scene.input), note)
    return Column("input", [cell, *[None] * (rows - 1)])


def _noisy_targets(scene: Scene) -> list[Column]:
    """Not of a single structure, whose input it is, nor where it is shown as the truth."""
    if not scene.has_truth or len(scene.names) == 1:
        return []
    return [
        Column(
            "noisy target",
            [
                Cell(image, display_limits(image), _note(scene, k, image))
                for k, image in enumerate(scene.observed)
            ],
        )
    ]


def _predicted(scene: Scene, title: str, images: Array) -> Column:
    return Column(
        title,
        [
            Cell(image, display_limits(scene.truth[k]), _note(scene, k, image))
            for k, image in enumerate(images)
        ],
    )


def _truth(scene: Scene) -> Column:
    return Column(scene.truth_title, [Cell(image, display_limits(image)) for image in scene.truth])


def _note(scene: Scene, k: int, image: Array) -> str:
    return decibel(scene.truth[k], image)


def _size(drawn: Lattice, scene: Scene) -> None:
    first = drawn.panels[0][0]
    if scene.pixel_size_um is not None and first is not None:
        scale_bar(first, scene.input.shape, scene.pixel_size_um)
