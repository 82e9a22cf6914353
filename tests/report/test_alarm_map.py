"""Map of tiles that are unlike the training data."""

from __future__ import annotations

import numpy as np
import pytest

from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.jobs.alarm import Tiles
from denoisplit.report.alarm_map import alarm_figure, alarm_section


def tiles(scores: list[list[float]]) -> Tiles:
    values = np.array(scores)
    return Tiles(values, values > 1, values[..., None], values, values)


@pytest.fixture
def frames() -> EvaluationFrames:
    images = tuple(np.random.default_rng(j).random((128, 192), np.float32) for j in range(2))
    superposition = Superposition("sum", (0.0,))
    return EvaluationFrames((images,), SyntheticNoise(), superposition, seed=0, part="test")


def test_unlike_tiles_are_counted_and_the_frame_of_the_highest_score_is_shown(
    frames: EvaluationFrames,
) -> None:
    judged = [tiles([[0.1, 0.2, 0.3]]), tiles([[0.4, 1.5, 0.2], [0.1, 1.2, 0.3]])]
    assert "2 of 9 tiles of the test frames" in alarm_section(frames, judged)
    drawn = alarm_figure(frames, judged[1], 1)
    image, scores = (axes.images[0].get_array() for axes in drawn.axes[:2])
    np.testing.assert_array_equal(image, frames.inputs[1])
    np.testing.assert_array_equal(scores, judged[1].scores)
    drawn.canvas.draw()
    (key,) = drawn.axes[1].child_axes
    assert drawn.bbox.y0 < key.get_tightbbox().y0  # its numbers are not cut off


def test_without_tiles_there_is_no_section(frames: EvaluationFrames) -> None:
    assert alarm_section(frames, []) == ""
