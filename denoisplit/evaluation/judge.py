"""Judge predictions: predict frames, and find out what is known about the errors.

One path for training, evaluation and comparison, with a truth or from noisy images alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import Settings
from denoisplit.data.superposition import Superposition
from denoisplit.errors import InputError
from denoisplit.evaluation.error_bars import score_error_bars
from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.groups import IntensityGroups
from denoisplit.evaluation.noise_level import Correlation, NoiseLevel, noise_levels
from denoisplit.evaluation.risk import (
    PROBE_SAMPLES,
    Probe,
    SquaredErrors,
    estimate,
    estimated_psnr,
    probe_frames,
    squared_errors,
)
from denoisplit.evaluation.scoring import predict_frames, score_predictions
from denoisplit.evaluation.separate_truth import RecordedFrames, share_offset
from denoisplit.evaluation.verdict import Judgement, judge
from denoisplit.files.json_file import read_json
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.storage import FittedNoiseModel, is_written, read_fitted
from denoisplit.prediction.frame import ErrorMapping, Prediction, denoise_frame, predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.progress import bar
from denoisplit.run import CALIBRATION, DENOISERS, NOISE_MODELS, Run

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judge:
    """A trained network, how it predicts, and what is known about the noise of its images.

    Attributes
    ----------
    model : VSE
        On its device, in evaluation mode.
    names : tuple of str
        Structures in channel order.
    noise_models : list of GaussianMixture
        One per structure; none if there are none to judge by.
    correlations : list of (float, float)
        Measured correlation of the noise of neighbouring pixels, for each structure.
    superposition : Superposition
    seed : int
        Of samples and probes.
    antithetic : bool
        Whether samples are drawn in antithetic pairs.
    tile, halo : int
        As in `denoisplit.prediction.frame.predict_frame`.
    """

    model: VSE
    names: tuple[str, ...]
    noise_models: list[GaussianMixture]
    correlations: list[Correlation]
    superposition: Superposition
    seed: int
    antithetic: bool
    tile: int
    halo: int

    def can_judge(self, frames: EvaluationFrames) -> bool:
        """Return whether the errors of predictions of these frames can be known or estimated."""
        if frames.has_truth:
            return True
        # images can be clipped or saturated nearly everywhere
        seen = [any(w[k].any() for w in frames.within_limits) for k in range(len(self.names))]
        return bool(self.noise_models) and all(seen)

    def sampling(self, samples: int, keep: int = 0) -> Sampling:
        """Return the options of a number of samples."""
        return Sampling(samples, self.seed, self.antithetic, keep=keep)

    def predict(
        self,
        frames: EvaluationFrames,
        sampling: Sampling,
        label: str,
        mapping: ErrorMapping | None = None,
    ) -> list[Prediction]:
        """Predict frames, with error bars if a mapping is given."""
        tiling = {"tile": self.tile, "halo": self.halo}
        return predict_frames(self.model, frames, sampling, label=label, mapping=mapping, **tiling)

    def probe(
        self, frames: EvaluationFrames, sampling: Sampling, means: Sequence[Array] | None = None
    ) -> list[Probe]:
        """Measure the response of the predictions of recorded frames to additional noise.

        Predictions ``means`` by this sampling that are at hand are not made again.
        """
        return probe_frames(
            self.model,
            frames,
            self.noise_models,
            sampling,
            tile=self.tile,
            halo=self.halo,
            seed=self.seed,
            means=means,
            correlations=self.correlations,
        )

    def noise_levels(
        self, frames: EvaluationFrames, means: Sequence[Array], probes: Sequence[Probe]
    ) -> list[NoiseLevel]:
        """Measure the noise of recorded frames against the noise models."""
        return noise_levels(frames, means, probes, self.correlations)


def judge_of(run: Run) -> Judge:
    """Return a finished run as a judge of new frames, with the noise models that it holds."""
    fitted = noise_models_to_judge_by(run.path, run.config.settings)
    return Judge(
        run.model,
        run.names,
        [one.model for one in fitted],
        [one.correlation for one in fitted],
        run.superposition,
        run.config.settings.seed,
        run.config.settings.prediction.antithetic,
        run.tile,
        run.halo,
    )


def noise_models_to_judge_by(run: Path, settings: Settings) -> list[FittedNoiseModel]:
    """Read the noise models of the structures from a run folder, or from that of its denoisers.

    Returns
    -------
    list of FittedNoiseModel
        One per structure; none if one is missing.
    """
    folders = {
        name: run / DENOISERS / name / NOISE_MODELS if settings.denoiser else run / NOISE_MODELS
        for name in settings.names
    }
    if not all(is_written(folder, name) for name, folder in folders.items()):
        return []
    return [read_fitted(folder, name) for name, folder in folders.items()]


def stored_groups(run: Run) -> list[IntensityGroups]:
    """Read the intensity groups of a run; none without an error map.

    Raises
    ------
    InputError
        If calibration.json does not hold them.
    """
    if run.error_map is None:
        return []
    path = run.path / CALIBRATION
    stored: Any = read_json(path)
    try:
        groups = stored["error_map"]["groups"]
        return [IntensityGroups.from_dict(groups[name]) for name in run.names]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "the intensity groups of the error map are missing or damaged",
            where=path,
            remedy=f"make them again with `denoisplit calibrate {run.path}`",
        ) from None


@dataclass(frozen=True)
class DecodedFrames:
    """Decoded means of some frames, and what they are compared with; raw intensity.

    Attributes
    ----------
    inputs : list of array (Y, X)
        What the splitting network and the error map see.
    means : list of array (C, Y, X)
        Decoded means.
    errors : list of SquaredErrors
        Of the means.
    """

    inputs: list[Array]
    means: list[Array]
    errors: list[SquaredErrors]

    def first(self, count: int) -> DecodedFrames:
        """Return the first frames."""
        return DecodedFrames(self.inputs[:count], self.means[:count], self.errors[:count])


@dataclass(frozen=True)
class Judged:
    """Predictions of test frames, and what is known about their errors.

    Attributes
    ----------
    predictions : list of Prediction
    errors, decoded_errors : list of SquaredErrors or None
        Of posterior means and of decoded means; None if they can be neither known nor estimated.
    judgements : list of Judgement
        One per structure; empty without errors.
    groups : list of IntensityGroups
        One per structure; empty without an error map.
    """

    predictions: list[Prediction]
    errors: list[SquaredErrors] | None
    decoded_errors: list[SquaredErrors] | None
    judgements: list[Judgement]
    groups: list[IntensityGroups]


def posterior_probes(
    judge_: Judge, frames: EvaluationFrames, predictions: Sequence[Prediction]
) -> list[Probe] | None:
    """Return the response of posterior means to additional noise; None with a truth.

    That of `PROBE_SAMPLES` samples, which predictions of the frames may have kept, stands for all.
    """
    if frames.has_truth:
        return None
    kept = [p.samples[:PROBE_SAMPLES] for p in predictions]
    means = [samples.mean(axis=0) for samples in kept if len(samples) == PROBE_SAMPLES]
    all_kept = len(means) == len(frames)
    return judge_.probe(frames, judge_.sampling(PROBE_SAMPLES), means if all_kept else None)


def judge_frames(
    judge_: Judge,
    frames: EvaluationFrames,
    sampling: Sampling,
    mapping: ErrorMapping | None,
    groups: list[IntensityGroups],
    levels: list[NoiseLevel] | None = None,
) -> Judged:
    """Predict frames, and judge the predictions.

    The offset of mixed frames with a truth is distributed over the structures, in place.

    Parameters
    ----------
    mapping : ErrorMapping, optional
        With an interval; None without an error map.
    groups : list of IntensityGroups
        Of the error map.
    levels : list of NoiseLevel, optional
        Noise of recorded frames; if None, it is measured on these frames.
    """
    predictions = judge_.predict(frames, sampling, "evaluating", mapping)
    if not judge_.can_judge(frames):
        return Judged(predictions, None, None, [], groups)
    means = [p.mean for p in predictions]
    if isinstance(frames, RecordedFrames) and not frames.observed:
        share_offset(frames, means)
    probes = posterior_probes(judge_, frames, predictions)
    if levels is None and probes is not None:
        levels = judge_.noise_levels(frames, means, probes)
    errors = squared_errors(frames, means, probes, levels)
    decoded_errors = None
    if mapping is not None:
        decoded = [p.bars.decoded for p in predictions if p.bars is not None]
        again = None if frames.has_truth else judge_.probe(frames, judge_.sampling(0), decoded)
        decoded_errors = squared_errors(frames, decoded, again, levels)
    judgements = judge(frames, means, errors, judge_.names, probes, levels)
    return Judged(predictions, errors, decoded_errors, judgements, groups)


def decoded_means(
    judge: Judge, inputs: Sequence[Array], label: str
) -> tuple[list[Array], list[Array]]:
    """Return what the error map sees of frames (Y, X), and their decoded means (C, Y, X)."""
    model, preview = inference_form(judge.model), judge.sampling(0)
    seen, means = [], []
    with bar(label, len(inputs)) as progress:
        for number, x in enumerate(inputs, start=1):
            mean = predict_frame(model, x, preview, tile=judge.tile, halo=judge.halo).mean
            denoised = denoise_frame(model, x, preview) if model.needs_denoised_input else x
            seen.append(denoised.astype(np.float32))
            means.append(mean)
            progress.to(number)
    return seen, means


def score_judged(
    judge_: Judge,
    frames: EvaluationFrames,
    judged: Judged,
    scalars: Mapping[str, float],
    sampling: Sampling,
    *,
    cell: int = 1,
) -> dict[str, Any]:
    """Return all that is known about the predictions of frames, as plain values for JSON.

    The metrics of `denoisplit.evaluation.scoring.score_predictions`; "verdicts"; "error_bars" of
    `denoisplit.evaluation.error_bars.score_error_bars`; and, for each structure without a truth,
    "psnr_estimated", "psnr_estimated_blur" and "psnr_estimated_unsplit" of
    `denoisplit.evaluation.risk.estimated_psnr`.

    Parameters
    ----------
    scalars, sampling, cell
        As in `denoisplit.evaluation.scoring.score_predictions`.
    """
    names, predictions = judge_.names, judged.predictions
    scores = score_predictions(frames, predictions, names, scalars, sampling, cell=cell)
    scores["verdicts"] = [one.verdict.as_dict() for one in judged.judgements]
    means = [p.mean for p in predictions]
    structures = scores["structures"]
    if not frames.has_truth and judged.errors is not None:
        for k, (name, one) in enumerate(zip(names, judged.judgements, strict=True)):
            for key, error in (
                ("psnr_estimated", estimate(judged.errors, k)),
                ("psnr_estimated_blur", one.blurred),
                ("psnr_estimated_unsplit", one.unsplit),
            ):
                if error is not None:
                    structures[name][key] = estimated_psnr(error, means, k)
    bars = [p.bars for p in predictions if p.bars is not None]
    if bars and judged.decoded_errors is not None:
        factors = np.array([scalars[name] for name in names], dtype=np.float32)[:, None, None]
        spreads = [p.spread * factors for p in predictions if p.spread is not None]
        scores["error_bars"] = score_error_bars(
            bars,
            judged.decoded_errors,
            judged.groups,
            names,
            spreads=spreads or None,
            spread_errors=judged.errors,
        )
    return scores
