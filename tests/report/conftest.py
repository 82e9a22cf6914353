"""Made-up test frames, predictions and settings of a run, in every form that a report meets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from denoisplit.config.settings import Facts, RunConfig, Settings
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.error_bars import score_error_bars
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.groups import intensity_groups, local_intensities
from denoisplit.evaluation.risk import SquaredErrors, squared_errors
from denoisplit.evaluation.scoring import score_predictions
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.storage import FittedNoiseModel
from denoisplit.prediction.frame import ErrorBars, Prediction
from denoisplit.prediction.sampling import Sampling

NAMES = ("ER", "actin <b>", "MT")


@dataclass
class Made:
    """Everything that `report` needs."""

    names: tuple[str, ...]
    frames: EvaluationFrames
    predictions: list[Prediction]
    config: RunConfig
    calibration: dict[str, Any]
    metrics: dict[str, Any]
    noise_models: list[GaussianMixture] = field(default_factory=list)
    errors: list[SquaredErrors] | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {"errors": self.errors}

    @property
    def scalars(self) -> dict[str, float]:
        return self.calibration["scalars"]

    @property
    def parts(self) -> tuple[Any, ...]:
        return (
            self.config, self.frames, self.predictions, self.calibration, self.metrics,
            [FittedNoiseModel(model) for model in self.noise_models],
        )  # fmt: skip


def constant_mixture(variance: float) -> GaussianMixture:
    """Gaussian noise of one variance for all signals."""
    weight = np.zeros((3, 2))
    weight[1] = np.log(variance), -50.0
    return GaussianMixture(weight, 0.0, 200.0, 1e-3)


def make(
    structures: int = 2,
    *,
    frames: int = 3,
    shape: tuple[int, int] = (64, 48),
    truth: bool = True,
    noise_models: bool = True,
    pixel_size_um: float | None = 0.1,
    error_map: bool = False,
) -> Made:
    rng = np.random.default_rng(0)
    names = NAMES[:structures]
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    clean = tuple(
        tuple(
            (100 + 80 * np.sin((k + 1) * rows / 5 + j) * np.cos(columns / 7)).astype(np.float32)
            for j in range(frames)
        )
        for k in range(structures)
    )
    noise = SyntheticNoise(0.0, 10.0 if truth else 0.0)
    evaluation_frames = EvaluationFrames(
        clean, noise, Superposition("sum", (0.0,) * structures), seed=0, part="test"
    )
    predictions = []
    for frame, image in enumerate(evaluation_frames.truth):
        # frame 0 is predicted worst and the last one best
        std = np.float32(6.0 - frame)
        samples = image + rng.normal(0, std, (4, *image.shape)).astype(np.float32)
        error = std * rng.normal(0, 1, image.shape)
        spread = np.abs(rng.normal(std / 2, 0.3, image.shape)) + 0.1
        mean = (image + error).astype("f4")
        known = np.full_like(mean, std)  # an error map that is right
        bars = ErrorBars(mean, known, 1.645 * known) if error_map else None
        predictions.append(Prediction(mean, spread.astype("f4"), samples, bars))
    settings = Settings.model_validate(
        {
            # a name that no settings let through, so that the page's own escaping is seen
            "structures": [
                {"name": f"s{k}", "files": [f"folder/{k}.tif"]} for k in range(structures)
            ],
            "data": {"synthetic_gaussian": 1.0 if truth else 0.0},
        }
    )
    entries = tuple(
        s.model_copy(update={"name": n}) for s, n in zip(settings.structures, names, strict=True)
    )
    config = RunConfig(
        format_version=1,
        settings=settings.model_copy(update={"structures": entries}),
        facts=Facts(
            gaussian_sigma=noise.gaussian_sigma, pooled_std=10.0, clip=None,
            input_frame_mean=(1.0, 1.0), input_noise_std=1.0, content_quantum=1.0,
            frames={"training": 7, "validation": 1, "test": frames},
            pixel_size_um={} if pixel_size_um is None else {"x": pixel_size_um},
            fingerprints={n: [{"name": "a.tif", "bytes": 1, "sha256": "ab" * 32}] for n in names},
            libraries={"denoisplit": "0"},
        ),
    )  # fmt: skip
    scalars = {name: 2.0 + k for k, name in enumerate(names)}
    metrics = score_predictions(evaluation_frames, predictions, names, scalars, Sampling(4, keep=3))
    metrics["reference"] = "noise-free" if truth else "the recorded, noisy images"
    reference = "noise-free" if truth else "recorded, noisy images; errors estimated without truth"
    if not truth and not noise_models:
        reference = "none: no scalar could be fitted to noisy references"
    errors = None
    if not truth and noise_models:
        errors = _estimated(evaluation_frames, predictions)
        for k, name in enumerate(names):
            value = 20.0 + k
            metrics["structures"][name] |= {
                "psnr_estimated": {"value": value, "low": value - 0.5, "high": value + 0.5},
                "psnr_estimated_blur": {"value": None, "low": 14.0, "high": None},
            }
    if error_map:
        decoded = [p.bars.decoded for p in predictions]
        intensities = local_intensities(decoded)
        metrics["error_bars"] = score_error_bars(
            [p.bars for p in predictions],
            squared_errors(evaluation_frames, decoded) if truth else errors,
            [intensity_groups(intensities, k) for k in range(structures)],
            names,
            spreads=[p.spread * scale_of(scalars) for p in predictions],
        )
        metrics["verdicts"] = [
            {"structure": name, "verdict": "split", "sentence": f"{name} is split: it is better."}
            for name in names
        ]
    return Made(
        names, evaluation_frames, predictions, config,
        {"scalars": scalars, "samples": 4, "reference": reference}, metrics,
        [constant_mixture(100.0) for _ in names] if noise_models else [], errors,
    )  # fmt: skip


def _estimated(frames: EvaluationFrames, predictions: list[Prediction]) -> list[SquaredErrors]:
    """Errors against the images themselves, which are clean here, with an estimate's noise."""
    rng = np.random.default_rng(1)
    return [
        SquaredErrors(
            ((p.mean - t) ** 2 + rng.normal(0, 5, t.shape)).astype("f4"),
            np.ones(t.shape, dtype=bool), np.full_like(t, 100.0),
        )
        for p, t in zip(predictions, frames.observed, strict=True)
    ]  # fmt: skip


def scale_of(scalars: dict[str, float]) -> np.ndarray:
    return np.array(list(scalars.values()), dtype=np.float32)[:, None, None]


@pytest.fixture
def made() -> Callable[..., Made]:
    return make
