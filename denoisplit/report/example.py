"""Choose the test frame that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.metrics import psnr_if_defined
from denoisplit.evaluation.risk import SquaredErrors
from denoisplit.prediction.frame import Prediction

Array = npt.NDArray[np.float32]

CROP = 256  # px; of larger frames, a part of this side is shown
LEAST_ERROR = 1e-12  # in place of estimates that are not positive
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
    chosen_by : str
        What the frame is the median of; empty if frames could not be compared.
    frame_shape, origin : tuple of int
        Shape of the whole frame, and first pixel of the shown part in it (y, x).
    input : ndarray (Y, X)
        Superposed image.
    observed : ndarray (C, Y, X)
        Recorded structures, with noise.
    truth : ndarray (C, Y, X) or None
        Noise-free structures, if known.
    mean, std : ndarray (C, Y, X)
        Posterior mean, and std of the error map or else the calibrated spread.
    samples : ndarray (0 to 2, C, Y, X)
        Independent posterior samples.
    psnr : mapping of "input", "observed", "mean", "sample 1", "sample 2" to a value per structure
        PSNR of the whole frame in decibels against the truth; None where it is not defined.
    pixel_size_um : float or None
    """

    names: tuple[str, ...]
    number: int
    count: int
    chosen_by: str
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
    errors: Sequence[SquaredErrors] | None = None,
) -> ExampleFrame:
    """Return the test frame of median PSNR, neither the best nor the worst.

    Without a truth the PSNR is estimated; where that is not possible either, the frame in the
    middle is returned.

    Parameters
    ----------
    frames : EvaluationFrames
        The test frames.
    predictions : sequence of Prediction
        One per frame, with spread or error bars and the first few samples.
    scalars : mapping of str to float
        Calibration factor of each structure, in channel order.
    antithetic : bool
        Whether samples come in opposite pairs; then the first ones of two pairs are shown.
    errors : sequence of SquaredErrors, optional
        Estimated errors of the means; needed only without a truth.
    """
    names = tuple(scalars)
    scores, chosen_by = _scores(frames, predictions, errors)
    index = int(np.argsort(scores, kind="stable")[(len(scores) - 1) // 2])
    truth, prediction = frames.truth[index], predictions[index]
    # the samples of an antithetic pair mirror each other about the mean: they differ too much
    samples = prediction.samples[:: 2 if antithetic and len(prediction.samples) > 2 else 1][:2]
    images = {
        "input": np.broadcast_to(frames.inputs[index], truth.shape),
        "observed": frames.observed[index],
        "mean": prediction.mean,
        **{f"sample {i}": sample for i, sample in enumerate(samples, start=1)},
    }
    y, x = busiest_crop(truth)
    crop: Any = np.s_[..., y : y + CROP, x : x + CROP]
    height, width = truth.shape[1:]
    return ExampleFrame(
        names=names,
        number=index + 1,
        count=len(predictions),
        chosen_by=chosen_by,
        frame_shape=(height, width),
        origin=(y, x),
        input=frames.inputs[index][crop],
        observed=frames.observed[index][crop],
        truth=truth[crop] if frames.has_truth else None,
        mean=prediction.mean[crop],
        std=_std(prediction, scalars)[crop],
        samples=samples[crop],
        psnr={
            key: _psnr(truth, image) if frames.has_truth else (None,) * len(names)
            for key, image in images.items()
        },
        pixel_size_um=pixel_size_um,
    )


def _scores(
    frames: EvaluationFrames,
    predictions: Sequence[Prediction],
    errors: Sequence[SquaredErrors] | None,
) -> tuple[list[float], str]:
    """Return how good the prediction of each frame is, and by what that was judged."""
    if frames.has_truth:
        psnr = [_psnr(truth, p.mean) for truth, p in zip(frames.truth, predictions, strict=True)]
        return [float(np.mean([v for v in one if v is not None] or [0.0])) for one in psnr], "PSNR"
    if errors is None:
        return [0.0] * len(predictions), ""
    # the range of the intensities, which a PSNR refers to, is the same for all frames
    means = [
        [
            frame.values[k][inside].mean() if inside.any() else 0.0
            for k, inside in enumerate(frame.inside)
        ]
        for frame in errors
    ]
    scores = [-float(np.log10(np.maximum(one, LEAST_ERROR)).mean()) for one in means]
    return scores, "PSNR, estimated without truth"


def _std(prediction: Prediction, scalars: Mapping[str, float]) -> Array:
    """Return the std of the error map, or else the calibrated spread, (C, Y, X)."""
    if prediction.bars is not None:
        return prediction.bars.std
    if prediction.spread is None:
        raise ValueError("a report needs predictions with an error map or two or more samples")
    factors = np.array(list(scalars.values()), dtype=np.float32)[:, None, None]
    return prediction.spread * factors


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
