"""Predict evaluation frames, calibrate on them, and score the predictions with all metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config.groups import CalibrationForm
from denoisplit.evaluation.calibration import (
    calibrate,
    calibration_curve,
    calibration_error,
)
from denoisplit.evaluation.frames import EvaluationFrames, whole_cells
from denoisplit.evaluation.metrics import (
    align,
    average_over_frames,
    blur_psnr,
    ms_ssim,
    noise_correlation,
    psnr_if_defined,
)
from denoisplit.evaluation.risk import SquaredErrors, estimate
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import ErrorMapping, Prediction, predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.progress import bar

Array = npt.NDArray[np.float32]
Flat = npt.NDArray[np.float64]
PerFrame = list[float | None]

METRICS = (
    *("psnr", "psnr_naive", "psnr_blur", "psnr_clean_mixture", "psnr_single_sample"),
    *("ms_ssim", "ms_ssim_aligned", "noise_correlation"),
    *("calibration_error", "calibration_error_unscaled"),
)
NO_CALIBRATION: dict[str, float | None] = dict.fromkeys(METRICS[-2:])


def predict_frames(
    model: VSE,
    frames: EvaluationFrames,
    sampling: Sampling,
    *,
    tile: int,
    halo: int,
    label: str,
    mapping: ErrorMapping | None = None,
) -> list[Prediction]:
    """Predict every frame, with one progress bar of the given label.

    Parameters
    ----------
    tile, halo : int
        Side of a tile's core, and context margin around it; px.
    mapping : ErrorMapping, optional
        Error map by which error bars are computed.
    """
    options: dict[str, Any] = {"tile": tile, "halo": halo, "mapping": mapping}
    predictions: list[Prediction] = []
    model = inference_form(model)
    with bar(label, 100 * len(frames)) as progress:  # in hundredths of a frame

        def on_progress(fraction: float) -> None:
            progress.to(100 * len(predictions) + int(100 * fraction))

        for frame in frames.inputs:
            predictions.append(
                predict_frame(model, frame, sampling, on_progress=on_progress, **options)
            )
    return predictions


def fit_calibration(
    frames: EvaluationFrames,
    predictions: Sequence[Prediction],
    errors: Sequence[SquaredErrors] | None,
    names: Sequence[str],
    samples: int,
    form: CalibrationForm = "auto",
    *,
    antithetic: bool = True,
) -> dict[str, Any]:
    """Fit the calibration scalar of every structure; return the content of calibration.json.

    Without a noise-free reference, the squared error is estimated
    (`denoisplit.evaluation.risk`). Where that is not possible, the scalar is 1 and the entry
    "reference" begins with "none".

    Parameters
    ----------
    frames : EvaluationFrames
        The validation frames.
    predictions : sequence of Prediction
        One per frame, with spreads.
    errors : sequence of SquaredErrors, optional
        Of the means; None if they can be neither known nor estimated.
    names : sequence of str
        Structures in channel order.
    samples : int
        Number of posterior samples behind the predictions.
    form : {"auto", "closed", "ratio"}
        See `denoisplit.evaluation.calibration.calibrate`.
    antithetic : bool
        Whether the samples are antithetic pairs.
    """
    spreads = [p.spread for p in predictions if p.spread is not None]
    means = [p.mean for p in predictions]
    if frames.has_truth:
        calibrations = calibrate(frames.truth, means, spreads, samples, form, antithetic=antithetic)
        by_name = dict(zip(names, calibrations, strict=True))
        return {
            "scalars": {name: c.scalar for name, c in by_name.items()},
            "closed": {name: c.closed for name, c in by_name.items()},
            "ratio": {name: c.ratio for name, c in by_name.items()},
            "samples": samples,
            "reference": frames.reference,
        }
    scalars = {name: 1.0 for name in names}
    if errors is None:
        reference = (
            "none: errors are neither known nor estimated, without noise models or with clipped or "
            "saturated pixels nearly everywhere"
        )
        return {"scalars": scalars, "samples": samples, "reference": reference}
    for k, name in enumerate(names):
        error = estimate(errors, k)
        # an error that is not distinguishable from zero is replaced by what it is at most
        squared = error.high if error.is_bound else error.value
        inside = [s[k][e.inside[k]] for s, e in zip(spreads, errors, strict=True)]
        claimed = float(np.mean(np.concatenate(inside).astype(np.float64) ** 2))
        scalars[name] = math.sqrt(squared / claimed) if squared > 0 and claimed > 0 else 1.0
    reference = "recorded, noisy images; errors estimated without truth"
    return {"scalars": scalars, "samples": samples, "reference": reference}


def score_predictions(
    frames: EvaluationFrames,
    predictions: Sequence[Prediction],
    names: Sequence[str],
    scalars: Mapping[str, float],
    sampling: Sampling,
    *,
    cell: int = 1,
) -> dict[str, Any]:
    """Compute all metrics per structure and their mean; return the content of metrics.json.

    Every metric is ``{"mean": over frames, "sem": its standard error}``: ``psnr`` of the posterior
    mean, ``psnr_single_sample``, ``psnr_naive`` of the noisy input, ``psnr_blur`` of the noisy
    input after the best of four blurs, ``psnr_clean_mixture`` of the noise-free input, ``ms_ssim``,
    ``ms_ssim_aligned``, ``noise_correlation`` of the error of the posterior mean with the noise of
    the input, ``calibration_error`` and ``calibration_error_unscaled``. All of them compare with a
    truth, and have no value without one.

    Parameters
    ----------
    predictions : sequence of Prediction
        One per frame, with at least their first sample.
    names : sequence of str
        Structures in channel order.
    scalars : mapping of name to float
        Calibration scalars.
    sampling : Sampling
        How the predictions were sampled.
    cell : int
        Rows and columns after the last multiple of this many px are ignored.
    """
    frames = frames.cropped(cell)
    predictions = [
        Prediction(
            whole_cells(p.mean, cell),
            None if p.spread is None else whole_cells(p.spread, cell),
            whole_cells(p.samples, cell),
        )
        for p in predictions
    ]
    nothing: dict[str, PerFrame] = dict.fromkeys(METRICS, [None] * len(frames))
    table, pooled = dict.fromkeys(names, nothing), dict.fromkeys(names, NO_CALIBRATION)
    if frames.has_truth:  # a comparison with the recorded image would reward its noise
        for k, name in enumerate(names):
            table[name] = _score_structure(frames, predictions, k, scalars[name])
            pooled[name] = _calibration(
                [t[k] for t in frames.truth],
                [p.mean[k] for p in predictions],
                [p.spread[k] for p in predictions if p.spread is not None],
                scalars[name],
            )
    averaged = {
        metric: [_average([table[name][metric][j] for name in names]) for j in range(len(frames))]
        for metric in METRICS
    }
    average_pooled = {
        metric: _average([pooled[name][metric] for name in names]) for metric in NO_CALIBRATION
    }
    return {
        "frames": len(frames),
        "samples": sampling.samples,
        "structures": {name: _summary(table[name], pooled[name]) for name in names},
        "mean": _summary(averaged, average_pooled),
    }


def _summary(
    per_frame: Mapping[str, PerFrame], pooled: Mapping[str, float | None]
) -> dict[str, dict[str, float | None]]:
    """Average over frames; the mean calibration errors are those of the pooled pixels."""
    summary = {}
    for metric, values in per_frame.items():
        summary[metric] = average_over_frames(values).as_dict()
        if metric in pooled:
            summary[metric]["mean"] = pooled[metric]
    return summary


def _score_structure(
    frames: EvaluationFrames, predictions: Sequence[Prediction], k: int, scalar: float
) -> dict[str, PerFrame]:
    """Compute every metric of structure k, one value per frame."""
    truth = [t[k] for t in frames.truth]
    mean = [p.mean[k] for p in predictions]
    span = max(float(t.max()) for t in truth) - min(float(t.min()) for t in truth)

    def psnr(images: Sequence[npt.NDArray[Any]]) -> PerFrame:
        return [psnr_if_defined(t, image) for t, image in zip(truth, images, strict=True)]

    errors = [
        _calibration([t], [p.mean[k]], [p.spread[k]] if p.spread is not None else [], scalar)
        for t, p in zip(truth, predictions, strict=True)
    ]
    return {
        "psnr": psnr(mean),
        "psnr_naive": psnr(frames.inputs),
        "psnr_blur": _blur_psnr(truth, frames.inputs),
        "psnr_clean_mixture": psnr(frames.clean_inputs),
        "psnr_single_sample": psnr([p.samples[0, k] for p in predictions]),
        "ms_ssim": [_ms_ssim(t, m, span) for t, m in zip(truth, mean, strict=True)],
        "ms_ssim_aligned": [_ms_ssim(*align(t, m), span) for t, m in zip(truth, mean, strict=True)],
        "noise_correlation": [
            noise_correlation(m - t, x - clean, where)
            for t, m, x, clean, where in zip(
                truth, mean, frames.inputs, frames.clean_inputs, frames.unsaturated, strict=True
            )
        ],
        **{metric: [error[metric] for error in errors] for metric in errors[0]},
    }


def _calibration(
    truth: Sequence[Array], mean: Sequence[Array], std: Sequence[Array], scalar: float
) -> dict[str, float | None]:
    """Return the calibration error of pooled frames, with and without the scalar, if defined."""
    if not std:
        return NO_CALIBRATION
    return {
        "calibration_error": calibration_error(calibration_curve(truth, mean, std, scalar)),
        "calibration_error_unscaled": calibration_error(calibration_curve(truth, mean, std)),
    }


def _blur_psnr(truth: Sequence[Array], images: Sequence[Array]) -> PerFrame:
    """Return the PSNR of the best of four blurs; None for frames whose truth is constant."""
    varying = [j for j, t in enumerate(truth) if t.min() < t.max()]
    values = blur_psnr([truth[j] for j in varying], [images[j] for j in varying]) if varying else []
    by_frame: dict[int, float | None] = dict(zip(varying, values, strict=True))
    return [by_frame.get(j) for j in range(len(truth))]


def _ms_ssim(truth: npt.NDArray[Any], image: npt.NDArray[Any], span: float) -> float | None:
    return ms_ssim(truth, image, data_range=span) if span > 0 else None


def _average(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if len(present) == len(values) else None
