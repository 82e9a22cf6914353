"""How good predictions are: PSNR and MS-SSIM per structure against naive answers, calibration."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import CalibrationForm
from denoisplit.data.prepare import TrainingData, observe
from denoisplit.data.splits import Group
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.evaluation.calibration import (
    calibrate,
    calibration_curve,
    calibration_error,
    noisy_calibration_scalar,
)
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


class Scenes:
    """Frames to judge by: what is in them, what was recorded of it, and what a network makes of it.

    Parameters
    ----------
    truth : [structure][frame] of (Y, X)
        Noise-free if there is such; raw units.
    noise : SyntheticNoise
        Added to the truth; none if the images were recorded with their own noise.
    seed, part
        Address of the noise; see `denoisplit.data.synthetic_noise.Address`.
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
    def of_training(cls, data: TrainingData, part: str) -> Scenes:
        """The validation or test frames of a training, with the very noise that it has them with.

        Parameters
        ----------
        data : TrainingData
        part : {"validation", "test"}
        """
        scenes = cls.__new__(cls)
        scenes._set(getattr(data.clean, part), getattr(data, part), data.noise, data.superposition)
        return scenes

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
        self.has_truth = bool(noise)

    def __len__(self) -> int:
        return len(self.inputs)

    def whole_cells(self, side: int) -> Scenes:
        """Without the rows and columns after the last multiple of ``side``; see `_whole_cells`."""
        cut = copy.copy(self)
        for name in ("truth", "observed", "inputs", "clean_inputs", "unsaturated"):
            setattr(cut, name, [_whole_cells(frame, side) for frame in getattr(self, name)])
        return cut


def predict_scenes(
    model: VSE,
    scenes: Scenes,
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
    scenes: Scenes,
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
    scenes: Scenes,
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
    scenes = scenes.whole_cells(cell)
    predictions = [
        Prediction(
            _whole_cells(p.mean, cell),
            None if p.std is None else _whole_cells(p.std, cell),
            _whole_cells(p.samples, cell),
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


def _whole_cells(image: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """(..., Y, X) without what is after the last multiple of ``side``; all of a smaller axis."""
    height, width = (n - n % side or n for n in image.shape[-2:])
    return image[..., :height, :width]


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
    scenes: Scenes, predictions: Sequence[Prediction], k: int, scalar: float
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
