"""Page of `denoisplit compare`: the metrics of every system, and one frame as each splits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.config.systems import SYSTEMS
from denoisplit.evaluation.held_out import held_out_frames
from denoisplit.evaluation.metrics import psnr_if_defined
from denoisplit.images.display import display_limits
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.report.example import CROP, busiest_crop
from denoisplit.report.html import document, figure, section, small
from denoisplit.report.pictures import INTENSITY, grid
from denoisplit.report.style import image_panel
from denoisplit.report.tables import html_table
from denoisplit.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_SAMPLES = 16  # whose mean is shown


class PanelColumn(NamedTuple):
    """Column of the figure, with one panel per structure."""

    title: str
    images: npt.NDArray[np.float32]  # (C, Y, X)
    notes: Sequence[str]  # one per panel


def comparison_page(
    runs: Mapping[str, Run], columns: Mapping[str, dict[str, Any]], *, frames: int, note: str
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    runs : mapping of system to Run
        All of the same images; the test frames of the first are shown.
    columns : mapping of title to metrics
        Columns of the table.
    frames : int
        Number of test frames.
    note : str
        How the networks were trained.
    """
    names = next(iter(runs.values())).names
    return document(
        "Systems compared",
        f"<h1>{escape(' and '.join(names))}: systems compared</h1>",
        section(
            "Numbers",
            html_table(columns)
            + small(
                f"Means over structures, of {frames} test frames; the same frames with the same "
                f"noise for all. {escape(note)}"
            ),
        ),
        section(
            "One test frame",
            figure(
                comparison_figure(_panels(runs), names),
                "Predictions of every system",
                "Means of posterior samples, in the grey scale of the last column; "
                "the input has its own.",
            ),
        ),
    )


def _panels(runs: Mapping[str, Run]) -> list[PanelColumn]:
    """Return the input, predictions and truth of the first test frame, or of its busiest part."""
    first = next(iter(runs.values()))
    frames, seed = held_out_frames(first), first.config.settings.seed
    truth, image = frames.truth[0], frames.inputs[0]
    y, x = busiest_crop(truth)
    crop: Any = np.s_[..., y : y + CROP, x : x + CROP]

    def panel(title: str, images: npt.NDArray[np.float32]) -> PanelColumn:
        psnr: list[float | None] = [None] * len(images)
        if frames.has_truth:
            psnr = [psnr_if_defined(t, p) for t, p in zip(truth, images, strict=True)]
        return PanelColumn(title, images[crop], ["" if v is None else f"{v:.1f} dB" for v in psnr])

    panels = [panel("noisy input", np.broadcast_to(image, truth.shape))]
    for name, run in runs.items():
        sampling = Sampling(SHOWN_SAMPLES, seed, run.config.settings.prediction.antithetic)
        model = inference_form(run.model)
        mean = predict_frame(model, image, sampling, tile=run.tile, halo=run.halo).mean
        panels.append(panel(SYSTEMS[name].title, mean))
    title = "truth" if frames.has_truth else "recorded, noisy"
    return [*panels, PanelColumn(title, truth[crop], [""] * len(truth))]


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
    drawn, axes = grid(shape, count=len(columns) * len(names), columns=len(columns))
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
    return drawn
