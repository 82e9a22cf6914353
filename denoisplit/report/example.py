"""The one test frame that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.held_out import EvaluationFrames
from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.prediction.frame import Prediction

Array = npt.NDArray[np.float32]

CROP = 256  # px; larger frames are shown in part
CROP_STEP = 32  # px between the crops that are looked at


@dataclass(frozen=True)
class Example:
    """One test frame, or the part of it that is shown; raw intensities, float32.

    Attributes
    ----------
    names : tuple of str
        Structures in channel order.
    number, count : int
        Which of the test frames it is, from 1, and how many there are.
    frame_shape, origin : tuple of int
        Shape of the whole frame, and where in it the shown part begins (y, x).
    input : ndarray (Y, X)
        What was split.
    observed : ndarray (C, Y, X)
        The recorded structures, with noise.
    truth : ndarray (C, Y, X) or None
        The noise-free structures, where they are known.
    mean, std : ndarray (C, Y, X)
        Posterior mean and calibrated standard deviation.
    samples : ndarray (0 to 2, C, Y, X)
        Independent posterior samples.
    psnr : mapping of "input", "observed", "mean", "sample 1", "sample 2" to a value per structure
        Of the whole frame, in decibel, against the truth (else the recorded structures); None
        where there is no value.
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
        """Whether the frame is larger than what is shown of it."""
        return self.input.shape != self.frame_shape


def pick_example(
    scenes: EvaluationFrames,
    predictions: Sequence[Prediction],
    scalars: Mapping[str, float],
    *,
    antithetic: bool,
    pixel_size_um: float | None = None,
) -> Example:
    """The test frame of median PSNR, so neither the best nor the worst.

    Parameters
    ----------
    scenes : EvaluationFrames
        The test frames.
    predictions : sequence of Prediction
        One per frame, with stds, and some of the first samples.
    scalars : mapping of str to float
        Calibration factor of each structure, in channel order.
    antithetic : bool
        Whether samples come in opposite pairs; the first ones of two pairs are shown then.
    pixel_size_um : float, optional
    """
    names = tuple(scalars)
    scores = [
        float(np.mean([v for v in _psnr(truth, p.mean) if v is not None] or [0.0]))
        for truth, p in zip(scenes.truth, predictions, strict=True)
    ]
    index = int(np.argsort(scores, kind="stable")[(len(scores) - 1) // 2])
    truth, found = scenes.truth[index], predictions[index]
    if found.std is None:
        raise ValueError("a report needs predictions of two or more samples")
    # an antithetic pair mirrors itself about the mean: two such samples would differ too much
    samples = found.samples[:: 2 if antithetic and len(found.samples) > 2 else 1][:2]
    images = {
        "input": np.broadcast_to(scenes.inputs[index], truth.shape),
        "observed": scenes.observed[index],
        "mean": found.mean,
        **{f"sample {i}": sample for i, sample in enumerate(samples, start=1)},
    }
    factors = np.array(list(scalars.values()), dtype=np.float32)[:, None, None]
    y, x = busiest_crop(truth)
    crop: Any = np.s_[..., y : y + CROP, x : x + CROP]
    height, width = truth.shape[1:]
    return Example(
        names=names,
        number=index + 1,
        count=len(predictions),
        frame_shape=(height, width),
        origin=(y, x),
        input=scenes.inputs[index][crop],
        observed=scenes.observed[index][crop],
        truth=truth[crop] if scenes.has_truth else None,
        mean=found.mean[crop],
        std=(found.std * factors)[crop],
        samples=samples[crop],
        psnr={key: _psnr(truth, image) for key, image in images.items()},
        pixel_size_um=pixel_size_um,
    )


def busiest_crop(image: Array) -> tuple[int, int]:
    """Where the `CROP` px of an image (C, Y, X) with the most contrast begin: (y, x)."""
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
    """Per structure; None for a constant truth or a perfect image."""
    values: list[float | None] = []
    for g, p in zip(truth, images, strict=True):
        value = range_invariant_psnr(g, p) if g.min() < g.max() else np.inf
        values.append(value if np.isfinite(value) else None)
    return tuple(values)
