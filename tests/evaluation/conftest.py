"""Frames whose truth and noise are known, and plain functions in place of a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation import risk
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import Prediction

Array = np.ndarray[Any, Any]
Predictor = Callable[[Array], Array]  # (Y, X) -> (C, Y, X)


@dataclass(frozen=True)
class Recorded:
    """Recorded frames, their truth, and the noise models of their structures."""

    frames: EvaluationFrames
    truth: list[Array]  # (C, Y, X) of each frame
    noise_models: list[GaussianMixture]

    def true_errors(self, means: list[Array]) -> list[Array]:
        return [(m - t) ** 2 for m, t in zip(means, self.truth, strict=True)]


def noise_model(offset: float, slope: float = 0.0) -> GaussianMixture:
    """One Gaussian of variance ``offset + slope * signal``."""
    lines = [math.log(value) if value > 0 else -60.0 for value in (offset, 200 * slope)]
    return GaussianMixture(np.array([[0, 0], lines, [0, 0]]), 0.0, 200.0, 1e-6)


def smooth(shape: tuple[int, int], k: int, j: int) -> Array:
    """Waves between 20 and 100, of another period in every structure k and frame j."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.float32(60 + 40 * np.sin(y / (5 + 2 * k) + j) * np.cos(x / (7 - k) + k))


@pytest.fixture
def recorded() -> Callable[..., Recorded]:
    """Frames of smooth structures with noise of a known variance."""

    def make(
        structures: int = 2,
        *,
        variance: float = 100.0,
        slope: float = 0.0,
        frames: int = 8,
        side: int = 96,
        kind: str = "sum",
        white: Callable[[Array], Array] = lambda unit: unit,
        clean: Callable[[tuple[int, int], int, int], Array] = smooth,
    ) -> Recorded:
        rng = np.random.default_rng(0)
        truth = [
            np.stack([clean((side, side), k, j) for k in range(structures)]) for j in range(frames)
        ]
        noisy = [
            t
            + np.sqrt(variance + slope * t)
            * np.stack([white(rng.standard_normal((side, side))) for _ in t])
            for t in truth
        ]
        group = tuple(tuple(np.float32(y[k]) for y in noisy) for k in range(structures))
        mix = Superposition(kind, (0.0,) * structures)
        made = EvaluationFrames(group, SyntheticNoise(), mix, seed=0, part="evaluation")
        return Recorded(made, truth, [noise_model(variance, slope)] * structures)

    return make


@pytest.fixture
def predicts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[Predictor], None]]:
    """Put a function of the frame in the place of the network in some modules."""

    def use(predictor: Predictor, *modules: Any) -> None:
        def predict_frame(model: object, frame: Array, *args: Any, **options: Any) -> Prediction:
            mean = np.float32(predictor(frame))
            return Prediction(mean, None, mean[None][:0])

        for module in modules or (risk,):
            monkeypatch.setattr(module, "predict_frame", predict_frame)
            monkeypatch.setattr(module, "inference_form", lambda model: model)

    return use
