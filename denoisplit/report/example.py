"""Choose the test frame that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.evaluation.metrics import psnr_if_defined
from denoisplit.prediction.frame import Prediction

Array = npt.NDArray[np.float32]

CROP = 256  # px; of larger frames, a part of this side is shown
CROP_STEP = 32  # px between the candidate crops


@dataclass(frozen=True)
class ExampleFrame:
    """One test frame, or the part of it that is shown; raw intensities, float32.

    Attributes
    ----------
    names : tuple of str
        Structures in channel order.
    number, count : int
        Number of the frame, from 1, and number of test frames.
    frame_shape, origin : tuple of int
        Shape of the whole frame, and first pixel of the shown part in it (y, x).
    input : ndarray (Y, X)
        Superposed image.
    observed : ndarray (C, Y, X)
        Recorded structures, with noise.
    truth : ndarray (C, Y, X) or None
        Noise-free structures, if known.
    mean, std : ndarray (C, Y, X)
        Posterior mean and calibrated standard deviation.
    samples : ndarray (0 to 2, C, Y, X)
        Independent posterior samples.
    psnr : mapping of "input", "observed", "mean", "sample 1", "sample 2" to a value per structure
        PSNR of the whole frame in decibels against the truth, or else the recorded structures;
        None where it is not defined.
    pixel_size_um : float or None
    """

    names: tuple[str, ...]
    number: int
    count: int
    frame_shape: tuple[int, int]
    origin: tuple[int, int]
    input: Array
    observed: Array
    truth: Array | None
    mean: Array
    std: Array
    samples: Array
    psnr: Mapping[str, tuple[float | None, ...]]
    pixel_size_um: float | None

    @property
    def is_part(self) -> bool:
        """Whether only a part of the frame is shown."""
        return self.input.shape != self.frame_shape


def choose_example_frame(
    frames: EvaluationFrames,
    predictions: Sequence[Prediction],
    scalars: Mapping[str, float],
    *,
    antithetic: bool,
    pixel_size_um: float | None = None,
) -> ExampleFrame:
    """Return the test frame of median PSNR, neither the best nor the worst.

    Parameters
    ----------
    frames : EvaluationFrames
        The test frames.
    predictions : sequence of Prediction
        One per frame, with stds and the first few samples.
    scalars : mapping of str to float
        Calibration factor of each structure, in channel order.
    antithetic : bool
        Whether samples come in opposite pairs; then the first ones of two pairs are shown.
    """
    names = tuple(scalars)
    scores = [
        float(np.mean([v for v in _psnr(truth, p.mean) if v is not None] or [0.0]))
        for truth, p in zip(frames.truth, predictions, strict=True)
    ]
    index = int(np.argsort(scores, kind="stable")[(len(scores) - 1) // 2])
    truth, prediction = frames.truth[index], predictions[index]
    if prediction.spread is None:
        raise ValueError("a report needs predictions with two or more samples")
    # the samples of an antithetic pair mirror each other about the mean: they differ too much
    samples = prediction.samples[:: 2 if antithetic and len(prediction.samples) > 2 else 1][:2]
    images = {
        "input": np.broadcast_to(frames.inputs[index], truth.shape),
        "observed": frames.observed[index],
        "mean": prediction.mean,
        **{f"sample {i}": sample for i, sample in enumerate(samples, start=1)},
    }
    factors = np.array(list(scalars.values()), dtype=np.float32)[:, None, None]
    y, x = busiest_crop(truth)
    crop: Any = np.s_[..., y : y + CROP, x : x + CROP]
    height, width = truth.shape[1:]
    return ExampleFrame(
        names=names,
        number=index + 1,
        count=len(predictions),
        frame_shape=(height, width),
        origin=(y, x),
        input=frames.inputs[index][crop],
        observed=frames.observed[index][crop],
        truth=truth[crop] if frames.has_truth else None,
        mean=prediction.mean[crop],
        std=(prediction.spread * factors)[crop],
        samples=samples[crop],
        psnr={key: _psnr(truth, image) for key, image in images.items()},
        pixel_size_um=pixel_size_um,
    )


def busiest_crop(image: Array) -> tuple[int, int]:
    """Return the first pixel (y, x) of the `CROP` px of an image (C, Y, X) with most contrast."""
    scale = image.std(axis=(1, 2), keepdims=True)
    scale[scale == 0] = 1
    starts = [
        (y, x)
        for y in range(0, max(1, image.shape[1] - CROP + 1), CROP_STEP)
        for x in range(0, max(1, image.shape[2] - CROP + 1), CROP_STEP)
    ]

    def contrast(start: tuple[int, int]) -> float:
        y, x = start
        part = image[:, y : y + CROP, x : x + CROP] / scale
        return float(part.std(axis=(1, 2)).min())

    return max(starts, key=contrast) if len(starts) > 1 else (0, 0)


def _psnr(truth: Array, images: Array) -> tuple[float | None, ...]:
    """Return the PSNR of each structure, where it is defined."""
    return tuple(psnr_if_defined(g, p) for g, p in zip(truth, images, strict=True))
