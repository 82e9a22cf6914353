"""Frames of an evaluation: true structures, observed structures, and the input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.data.prepare import TrainingData, observe
from denoisplit.data.splits import Group, Image
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.noise_models.saturation import limits_of

FRAME_ATTRIBUTES = ["truth", "observed", "inputs", "clean_inputs", "unsaturated", "within_limits"]
LIMIT_RADIUS = 4  # px around a clipped or saturated pixel: its neighbours are near the limit too


class EvaluationFrames:
    """Frames for an evaluation: true structures, observed structures, and the input.

    Parameters
    ----------
    truth : [structure][frame] of (Y, X)
        Noise-free if available; raw intensity.
    noise : SyntheticNoise
        Added to the truth; empty if the images were recorded with their own noise.
    seed, part
        Address of the noise, see `denoisplit.data.synthetic_noise.Address`.

    Attributes
    ----------
    truth, observed : list of arrays (C, Y, X)
        Structures of each frame without and with noise, raw intensity.
    inputs, clean_inputs : list of arrays (Y, X)
        Superpositions of the observed and of the true structures.
    unsaturated : list of bool arrays (Y, X)
        Pixels at which no truth is saturated.
    within_limits : list of bool arrays (C, Y, X)
        Pixels that are neither clipped nor saturated, nor near others that are.
    superposition : Superposition
    has_truth : bool
        Whether the truth is free of the noise of the input.
    """

    def __init__(
        self,
        truth: Group,
        noise: SyntheticNoise,
        superposition: Superposition,
        *,
        seed: int,
        part: str,
    ) -> None:
        self._set(truth, observe(truth, noise, seed=seed, part=part), noise, superposition)

    @classmethod
    def of_training(cls, data: TrainingData, part: str) -> EvaluationFrames:
        """Return frames of a training with the noise that it adds, compared with what it is given.

        Parameters
        ----------
        part : {"training", "validation", "test"}
        """
        frames = cls.__new__(cls)
        frames._set(getattr(data.clean, part), getattr(data, part), data.noise, data.superposition)
        return frames

    def _set(
        self, truth: Group, noisy: Group, noise: SyntheticNoise, superposition: Superposition
    ) -> None:
        clean = [[image.astype(np.float32) for image in frames] for frames in truth]
        if noise.clip is not None:
            limit = np.float32(noise.clip)
            clean = [[np.minimum(image, limit) for image in frames] for frames in clean]
        self.truth = [np.stack(frame) for frame in zip(*clean, strict=True)]  # each (C, Y, X)
        self.observed = [np.stack(frame) for frame in zip(*noisy, strict=True)]
        self.inputs = [superposition(frame) for frame in self.observed]  # each (Y, X)
        self.clean_inputs = [superposition(frame) for frame in self.truth]
        self.unsaturated = [np.ones(x.shape, dtype=bool) for x in self.inputs]
        self.superposition = superposition
        self.has_truth = bool(noise)
        if noise:
            self.within_limits = [np.ones(y.shape, dtype=bool) for y in self.observed]
        else:
            inside = [far_from_limits(frames) for frames in truth]
            self.within_limits = [np.stack(frame) for frame in zip(*inside, strict=True)]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def reference(self) -> str:
        """What predictions are compared with, for the user."""
        return "noise-free" if self.has_truth else "the recorded, noisy images"

    def thinned(self, pixels: int) -> EvaluationFrames:
        """Return as many frames as hold about so many pixels, evenly chosen; at least one."""
        usual = sum(x.size for x in self.inputs) / len(self)
        count = min(len(self), max(1, round(pixels / usual)))
        chosen = np.linspace(0, len(self) - 1, count).round().astype(int)
        some = copy.copy(self)
        for name in FRAME_ATTRIBUTES:
            setattr(some, name, [getattr(self, name)[j] for j in chosen if getattr(self, name)])
        return some

    def joined(self, others: EvaluationFrames) -> EvaluationFrames:
        """Return these frames and others of the same kind."""
        both = copy.copy(self)
        for name in FRAME_ATTRIBUTES:
            setattr(both, name, [*getattr(self, name), *getattr(others, name)])
        return both

    def cropped(self, side: int) -> EvaluationFrames:
        """Return the frames without the rows and columns after the last multiple of ``side`` px."""
        cut = copy.copy(self)
        for name in FRAME_ATTRIBUTES:
            setattr(cut, name, [whole_cells(frame, side) for frame in getattr(self, name)])
        return cut


def far_from_limits(frames: Sequence[Image]) -> list[npt.NDArray[np.bool_]]:
    """Return which pixels of recorded frames (Y, X) have no clipped or saturated pixel nearby.

    Dropping only the pixels at a limit would select the others by their noise.
    """
    from scipy.ndimage import maximum_filter

    limits = limits_of(frames)
    if limits.low is None and limits.high is None:
        return [np.ones(frame.shape, dtype=bool) for frame in frames]
    side = 2 * LIMIT_RADIUS + 1
    return [~maximum_filter(~limits.inside(frame), size=side) for frame in frames]


def whole_cells(image: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Crop (..., Y, X) to whole multiples of ``side`` px; an axis below ``side`` stays as it is."""
    height, width = (n - n % side or n for n in image.shape[-2:])
    return image[..., :height, :width]
