"""Map of tiles that are unlike the training data, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.images.display import display_limits
from denoisplit.jobs.alarm import Tiles
from denoisplit.report.html import figure, section
from denoisplit.report.pictures import INTENSITY, SPREAD, grid
from denoisplit.report.style import colour_key, image_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = (
    "The test frame with the highest score. Each tile is compared with those of validation and "
    "training frames: noise, brightness, sharpness, and whether its split explains it. A score "
    "above 1 is unlike the training data; denoisplit predict names what is unlike."
)


def alarm_section(frames: EvaluationFrames, tiles: Sequence[Tiles]) -> str:
    """Return the section on tiles of the test frames that are unlike the training data.

    Parameters
    ----------
    frames : EvaluationFrames
    tiles : sequence of Tiles
        One per frame.
    """
    count = sum(t.unlike.size for t in tiles)
    if not count:
        return ""
    unlike = sum(int(t.unlike.sum()) for t in tiles)
    highest = int(np.argmax([t.scores.max(initial=-np.inf) for t in tiles]))
    share = f"{unlike} of {count} tiles of the test frames are unlike the training data."
    drawn = alarm_figure(frames, tiles[highest], highest)
    page = figure(drawn, "Scores of the tiles", f"{share} {CAPTION}")
    return section("Images like those of the training", page)


def alarm_figure(frames: EvaluationFrames, tiles: Tiles, number: int) -> Figure:
    """Draw a frame, and the scores of its tiles beside it."""
    x = frames.inputs[number]
    drawn, axes = grid(x.shape, count=2, columns=2, keyed=[False, True])
    limits = display_limits(x)
    image_panel(axes[0], x, "input", limits=limits, cmap=INTENSITY)
    shown = image_panel(axes[1], tiles.scores, "score of the tiles", limits=(0, 2), cmap=SPREAD)
    colour_key(axes[1], shown)
    return drawn
