"""How good predictions are: PSNR and MS-SSIM per structure against naive answers, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config.groups import CalibrationForm
from denoisplit.evaluation.calibration import (
    calibrate,
    calibration_curve,
    calibration_error,
    noisy_calibration_scalar,
)
from denoisplit.evaluation.held_out import EvaluationFrames, whole_cells
from denoisplit.evaluation.metrics import (
    align,
    blur_psnr,
    ms_ssim,
    noise_correlation,
    range_invariant_psnr,
    score,
)
from denoisplit.network import VSE
from denoisplit.network.inference import inference_form
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import Prediction, Sampling, predict_frame
from denoisplit.progress import bar

Array = npt.NDArray[np.float32]
PerFrame = list[float | None]


def split_frames(
    model: VSE,
    scenes: EvaluationFrames,
    sampling: Sampling,
    *,
    tile: int,
    halo: int,
    label: str,
) -> list[Prediction]:
    """Split every input, with one progress bar."""
    predictions: list[Prediction] = []
    model = inference_form(model)
    with bar(label, 100 * len(scenes)) as progress:
        for frame in scenes.inputs:
            done = _mover(progress.to, len(predictions))
            predictions.append(
                predict_frame(model, frame, sampling, tile=tile, halo=halo, on_tile=done)
            )
    return predictions


def _mover(to: Callable[[int], None], frames: int) -> Callable[[int, int], None]:
    """Progress in hundredths of a frame."""
    return lambda tile, tiles: to(100 * frames + 100 * tile // tiles)


def calibrate_on(
    scenes: EvaluationFrames,
    predictions: Sequence[Prediction],
    names: Sequence[str],
    noise_models: Sequence[GaussianMixture],
    samples: int,
    form: CalibrationForm = "auto",
) -> dict[str, Any]:
    """Calibration scalars per structure, ready for calibration.json.

    Without noise-free references the noise's own variance, as the noise models know it, is taken
    out of the error; where that is not possible the scalar is 1 and the reference says so.
    """
    stds = [p.std for p in predictions if p.std is not None]
    means = [p.mean for p in predictions]
    if scenes.has_truth:
        found = calibrate(scenes.truth, means, stds, samples, form)
        return {
            "scalars": {name: c.scalar for name, c in zip(names, found, strict=True)},
            "closed": {name: c.closed for name, c in zip(names, found, strict=True)},
            "ratio": {name: c.ratio for name, c in zip(names, found, strict=True)},
            "samples": samples,
            "reference": "noise-free",
        }
    scalars: dict[str, float | None] = {}
    for k, name in enumerate(names):
        scalars[name] = None
        if noise_models:
            scalars[name] = noisy_calibration_scalar(
                [y[k] for y in scenes.observed],
                [m[k] for m in means],
                [s[k] for s in stds],
                [_noise_variance(noise_models[k], m[k]) for m in means],
            )
    return {
        "scalars": {name: 1.0 if value is None else value for name, value in scalars.items()},
        "samples": samples,
        "reference": "noisy, the noise model's variance taken out"
        if all(value is not None for value in scalars.values())
        else "none: no scalar could be fitted to noisy references",
    }


def _noise_variance(model: GaussianMixture, signal: Array) -> Array:
    import torch

    with torch.inference_mode():
        variance: Array = model.cpu().variance(torch.from_numpy(signal)).numpy()
    return variance


def judge(
    scenes: EvaluationFrames,
    predictions: Sequence[Prediction],
    names: Sequence[str],
    scalars: Mapping[str, float],
    sampling: Sampling,
    *,
    cell: int = 1,
) -> dict[str, Any]:
    """Metrics per structure and their mean over structures, ready for metrics.json.

    Every metric is ``{"mean": over frames, "sem": its standard error}``: ``psnr`` of the posterior
    mean, ``psnr_single_sample``, ``psnr_naive`` of the noisy input, ``psnr_blur`` of the noisy
    input at the best of four blurs, ``psnr_clean_mixture`` of the noise-free input, ``ms_ssim``,
    ``ms_ssim_aligned``, ``noise_correlation`` of the error of the posterior mean with the noise of
    the input, ``calibration_error`` and ``calibration_error_unscaled``.
    ``predictions`` hold their first sample. Rows and columns after the last multiple of ``cell`` px
    do not count.
    """
    scenes = scenes.cropped(cell)
    predictions = [
        Prediction(
            whole_cells(p.mean, cell),
            None if p.std is None else whole_cells(p.std, cell),
            whole_cells(p.samples, cell),
        )
        for p in predictions
    ]
    table = {
        name: _judge_structure(scenes, predictions, k, scalars[name])
        for k, name in enumerate(names)
    }
    metrics = list(next(iter(table.values())))
    averaged = {
        metric: [_average([table[name][metric][j] for name in names]) for j in range(len(scenes))]
        for metric in metrics
    }
    pooled = {
        name: _calibration(
            [t[k] for t in scenes.truth],
            [p.mean[k] for p in predictions],
            [p.std[k] for p in predictions if p.std is not None],
            scalars[name],
        )
        for k, name in enumerate(names)
    }
    average_pooled = {
        metric: _average([pooled[name][metric] for name in names])
        for metric in next(iter(pooled.values()))
    }
    return {
        "frames": len(scenes),
        "samples": sampling.samples,
        "structures": {name: _summary(table[name], pooled[name]) for name in names},
        "mean": _summary(averaged, average_pooled),
    }


def _summary(
    per_frame: Mapping[str, PerFrame], pooled: Mapping[str, float | None]
) -> dict[str, dict[str, float | None]]:
    """Mean and standard error; calibration errors are those of the pooled pixels."""
    summary = {}
    for metric, values in per_frame.items():
        summary[metric] = score(values).as_dict()
        if metric in pooled:
            summary[metric]["mean"] = pooled[metric]
    return summary


def _judge_structure(
    scenes: EvaluationFrames, predictions: Sequence[Prediction], k: int, scalar: float
) -> dict[str, PerFrame]:
    truth = [t[k] for t in scenes.truth]
    mean = [p.mean[k] for p in predictions]
    span = max(float(t.max()) for t in truth) - min(float(t.min()) for t in truth)

    def psnr(images: Sequence[npt.NDArray[Any]]) -> PerFrame:
        return [_psnr(t, image) for t, image in zip(truth, images, strict=True)]

    errors = [
        _calibration([t], [p.mean[k]], [p.std[k]] if p.std is not None else [], scalar)
        for t, p in zip(truth, predictions, strict=True)
    ]
    return {
        "psnr": psnr(mean),
        "psnr_naive": psnr(scenes.inputs),
        "psnr_blur": _blur_psnr(truth, scenes.inputs),
        "psnr_clean_mixture": psnr(scenes.clean_inputs),
        "psnr_single_sample": psnr([p.samples[0, k] for p in predictions]),
        "ms_ssim": [_ms_ssim(t, m, span) for t, m in zip(truth, mean, strict=True)],
        "ms_ssim_aligned": [_ms_ssim(*align(t, m), span) for t, m in zip(truth, mean, strict=True)],
        "noise_correlation": [
            noise_correlation(m - t, x - clean, where)
            for t, m, x, clean, where in zip(
                truth, mean, scenes.inputs, scenes.clean_inputs, scenes.unsaturated, strict=True
            )
        ],
        **{metric: [error[metric] for error in errors] for metric in errors[0]},
    }


def _calibration(
    truth: Sequence[Array], mean: Sequence[Array], std: Sequence[Array], scalar: float
) -> dict[str, float | None]:
    """Calibration error of pooled frames, with the scalar and without; None without stds."""
    if not std:
        return {"calibration_error": None, "calibration_error_unscaled": None}
    return {
        "calibration_error": calibration_error(calibration_curve(truth, mean, std, scalar)),
        "calibration_error_unscaled": calibration_error(calibration_curve(truth, mean, std)),
    }


def _blur_psnr(truth: Sequence[Array], images: Sequence[Array]) -> PerFrame:
    """The best of four blurs, None for frames whose truth is constant."""
    judged = [j for j, t in enumerate(truth) if t.min() < t.max()]
    values = blur_psnr([truth[j] for j in judged], [images[j] for j in judged]) if judged else []
    found: dict[int, float | None] = dict(zip(judged, values, strict=True))
    return [found.get(j) for j in range(len(truth))]


def _psnr(truth: Array, image: npt.NDArray[Any]) -> float | None:
    """None where it has no value: a constant truth, or a perfect image."""
    if truth.min() == truth.max():
        return None
    value = range_invariant_psnr(truth, image)
    return value if math.isfinite(value) else None


def _ms_ssim(truth: npt.NDArray[Any], image: npt.NDArray[Any], span: float) -> float | None:
    return ms_ssim(truth, image, data_range=span) if span > 0 else None


def _average(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if len(present) == len(values) else None
