"""Squared error of predictions, also where every reference is noisy.

The superposed input of a recorded frame contains the noise of its references, so a prediction that
copies noise seems better than it is. Stein's unbiased risk estimate corrects for that: the
covariance of a prediction with the noise of its reference is measured by a probe, a second
prediction from the frame with a little more noise (Stein 1981; Ramani, Blu and Unser 2008)::

    t_k = (m_k - y_k)^2 - sigma_k^2(m_k) + 2 p_k (m_k(x + eps g sum_j p_j) - m_k(x)) / eps

with the prediction m_k of structure k, its recorded image y_k, the variance sigma_k^2 of its noise
model, the probes ``p_k ~ Normal(0, sigma_k^2(m_k))`` and the scale g of the superposition. Probes
of several structures are independent, so that one prediction serves them all. The estimate is
unbiased for the squared error, very noisy in a single pixel, and may be negative; its means over
frames and groups of pixels are good estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.noise_level import Correlation, NoiseLevel
from denoisplit.network.inference import inference_form
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.progress import bar

Array = npt.NDArray[np.float32]
Flat = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# eps of one structure, over sqrt(C) of several; smaller steps suffer from rounding, larger ones
# leave the linear range
STEP = 0.5
PROBE_SAMPLES = 4  # antithetic; the noise of the samples is the same in both predictions
BLOCK = 128  # px, side of the blocks that stand for frames where there are few frames
FEW_FRAMES = 4
RANGE = (0.001, 0.999)  # quantiles of a prediction that are its range


@dataclass(frozen=True)
class Probe:
    """Response of the predictions of one frame to additional noise; raw intensity.

    Attributes
    ----------
    variance : array (C, Y, X)
        sigma_k^2(m_k), of the noise of each recorded structure.
    noise : array (C, Y, X)
        p_k.
    response : array (C, Y, X)
        Change of the predictions with the sum of all probes in the input, over eps.
    """

    variance: Array
    noise: Array
    response: Array

    @property
    def covariance(self) -> Array:
        """Covariance of each prediction with the noise of its reference, pixel by pixel."""
        return self.noise * self.response


@dataclass(frozen=True)
class SquaredErrors:
    """Squared error of every pixel of one frame, raw intensity squared.

    Attributes
    ----------
    values : array (C, Y, X)
        True, or estimated without truth: then noisy, and possibly negative.
    inside : array (C, Y, X) of bool
        Pixels that count: neither clipped nor saturated.
    noise : array (C, Y, X), optional
        Variance of the noise of the reference; None for true errors.
    doubt : array (C, Y, X), optional
        What the estimates would be larger by with the other variance of the noise: that of the
        noise model, or the one measured on the images.
    """

    values: Array
    inside: Mask
    noise: Array | None = None
    doubt: Array | None = None


@dataclass(frozen=True)
class Estimate:
    """Mean squared error of a set of pixels, raw intensity squared.

    Attributes
    ----------
    value : float
        May be negative if it is estimated without truth.
    standard_error : float
        Of the value, over frames or blocks.
    low, high : float
        Plus and minus two standard errors, and the uncertainty of the noise model.
    """

    value: float
    standard_error: float
    low: float
    high: float

    @property
    def is_bound(self) -> bool:
        """Whether the value is not distinguishable from zero, so that only `high` means much."""
        return self.low <= 0


def probe_frames(
    model: VSE,
    frames: EvaluationFrames,
    noise_models: Sequence[GaussianMixture],
    sampling: Sampling,
    *,
    tile: int,
    halo: int,
    seed: int,
    means: Sequence[Array] | None = None,
    correlations: Sequence[Correlation] | None = None,
) -> list[Probe]:
    """Measure how the predictions of every frame respond to additional noise.

    Parameters
    ----------
    model : VSE
    frames : EvaluationFrames
        Recorded frames.
    noise_models : sequence of GaussianMixture
        One per structure.
    sampling : Sampling
        Of the predictions to be judged; a few samples suffice.
    tile, halo : int
        As in `denoisplit.prediction.frame.predict_frame`.
    seed : int
        Random seed of the probes.
    means : sequence of array (C, Y, X), optional
        Predictions of the frames by this sampling, where they are at hand.
    correlations : sequence of (float, float), optional
        Measured correlation of the noise of neighbouring pixels, for each structure.
    """
    model, probes = inference_form(model), []
    step = np.float32(STEP / math.sqrt(len(noise_models)))
    with bar("probing", len(frames) * (2 if means is None else 1)) as progress:
        done = 0

        def predicted(x: Array) -> Array:
            nonlocal done
            mean = predict_frame(model, x, sampling, tile=tile, halo=halo).mean
            done += 1
            progress.to(done)
            return mean

        for j, x in enumerate(frames.inputs):
            mean = predicted(x) if means is None else means[j]
            variance, noise = np.empty_like(mean), np.empty_like(mean)
            for k, noise_model in enumerate(noise_models):
                unit = np.random.default_rng((seed, j, k)).standard_normal(x.shape, np.float32)
                if correlations is not None:
                    unit = correlated(unit, correlations[k])
                variance[k] = noise_variance(noise_model, mean[k])
                noise[k] = np.sqrt(variance[k]) * unit
            added = np.float32(frames.superposition.scale) * step * noise.sum(axis=0)
            probes.append(Probe(variance, noise, (predicted(x + added) - mean) / step))
    return probes


def noise_variance(model: GaussianMixture, signal: npt.NDArray[Any]) -> Flat:
    """Return the variance of the noise at each signal, raw intensity squared."""
    import torch

    # on the device of the model, which is the caller's
    with torch.inference_mode():
        at = torch.as_tensor(signal).float().to(model.weight.device)
        return model.variance(at).double().cpu().numpy()


def correlated(unit: Array, correlation: Correlation) -> Array:
    """Give white noise (Y, X) a correlation between neighbours along x and y; unit variance."""
    from scipy.ndimage import correlate1d

    for value, axis in zip(correlation, (1, 0), strict=True):
        value = min(max(value, -0.49), 0.49)
        if value:
            # weights (a, 1, a) correlate neighbours by 2 a / (1 + 2 a^2)
            a = (1 - math.sqrt(1 - 2 * value**2)) / (2 * value)
            weights = np.array([a, 1, a]) / math.sqrt(1 + 2 * a**2)
            unit = correlate1d(unit, weights, axis=axis, mode="wrap")
    return unit.astype(np.float32)


def squared_errors(
    frames: EvaluationFrames,
    means: Sequence[Array],
    probes: Sequence[Probe] | None = None,
    levels: Sequence[NoiseLevel] | None = None,
) -> list[SquaredErrors]:
    """Return the squared errors of predictions: true ones if there is a truth, else estimates.

    Parameters
    ----------
    means : sequence of array (C, Y, X)
        Predictions of the frames, raw intensity.
    probes : sequence of Probe, optional
        Of the same frames; needed without a truth.
    levels : sequence of NoiseLevel, optional
        Noise of the images against the noise models, for each structure.

    Raises
    ------
    ValueError
        If there is neither a truth nor a probe.
    """
    if frames.has_truth:
        return [
            SquaredErrors((m - t) ** 2, np.broadcast_to(inside, m.shape))
            for m, t, inside in zip(means, frames.truth, frames.unsaturated, strict=True)
        ]
    if probes is None:
        raise ValueError("recorded frames without truth need probes")
    each = zip(means, frames.observed, frames.within_limits, probes, strict=True)
    return [estimated_errors(*frame, levels) for frame in each]


def estimated_errors(
    mean: Array,
    observed: Array,
    inside: Mask,
    probe: Probe,
    levels: Sequence[NoiseLevel] | None = None,
) -> SquaredErrors:
    """Estimate the squared errors of a prediction (C, Y, X) by its recorded, noisy reference."""
    ratio, other = np.ones_like(mean), np.ones_like(mean)
    if levels is not None:
        pairs = list(zip(levels, probe.variance, strict=True))
        ratio = np.stack([level(claimed) for level, claimed in pairs])
        other = np.stack([level.other(claimed) for level, claimed in pairs])
    shared = probe.variance - 2 * probe.covariance
    values = (mean - observed) ** 2 - ratio * shared
    return SquaredErrors(values, inside, ratio * probe.variance, (ratio - other) * shared)


def estimate(
    errors: Sequence[SquaredErrors],
    k: int,
    where: Sequence[Mask] | None = None,
) -> Estimate:
    """Return the mean squared error of structure k over frames, with its uncertainty.

    Parameters
    ----------
    errors : sequence of SquaredErrors
        One per frame.
    where : sequence of bool array (Y, X), optional
        Pixels to use, of those that count.

    Raises
    ------
    ValueError
        If there is no pixel.
    """
    totals = np.array(list(_totals(errors, k, where)), dtype=np.float64)
    if not totals.size:
        raise ValueError("no pixel counts; pass other frames")
    counts, values, doubt = totals.T
    value, error = weighted_mean(values / counts, counts)
    other = value + float(doubt.sum() / counts.sum())
    return Estimate(value, error, min(value, other) - 2 * error, max(value, other) + 2 * error)


def _totals(
    errors: Sequence[SquaredErrors], k: int, where: Sequence[Mask] | None
) -> Iterator[tuple[int, float, float]]:
    """Yield number, sum of errors and sum of doubts of the pixels of each frame or block."""
    for j, frame in enumerate(errors):
        used = frame.inside[k] if where is None else frame.inside[k] & where[j]
        for area in areas(used.shape, len(errors)):
            chosen = used[area]
            if count := int(chosen.sum()):
                total = float(frame.values[k][area][chosen].sum(dtype=np.float64))
                doubt = 0.0
                if frame.doubt is not None:
                    doubt = float(frame.doubt[k][area][chosen].sum(dtype=np.float64))
                yield count, total, doubt


def areas(shape: tuple[int, ...], frames: int) -> list[Any]:
    """Return the parts of a frame (Y, X) that are averaged: all of it, or blocks of few frames."""
    if frames >= FEW_FRAMES:
        return [np.s_[:, :]]
    # a single block would have no standard error
    height, width = (max(2, round(n / BLOCK)) for n in shape)
    rows = np.linspace(0, shape[0], height + 1).astype(int)
    columns = np.linspace(0, shape[1], width + 1).astype(int)
    return [
        np.s_[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        for i in range(height)
        for j in range(width)
    ]


def weighted_mean(values: Flat, weights: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the weighted mean and its standard error; 0 for a single value."""
    share = weights / weights.sum()
    mean = float(share @ values)
    n = len(values)
    if n < 2:
        return mean, 0.0
    return mean, float(np.sqrt(n / (n - 1) * (share**2 @ (values - mean) ** 2)))


def estimated_psnr(error: Estimate, means: Sequence[Array], k: int) -> dict[str, float | None]:
    """Return a PSNR without alignment, in dB, with its range.

    ``20 log10 R - 10 log10 MSE``, R the `RANGE` of the prediction. "value" is None where the error
    is not distinguishable from zero: then "low" is a lower bound and "high" is None.
    """
    values = np.concatenate([m[k].ravel() for m in means])
    low, high = np.quantile(values, RANGE)
    peak = 20 * math.log10(high - low) if high > low else -math.inf

    def decibels(squared: float) -> float | None:
        return peak - 10 * math.log10(squared) if squared > 0 and math.isfinite(peak) else None

    return {
        "value": None if error.is_bound else decibels(error.value),
        "low": decibels(error.high),
        "high": None if error.is_bound else decibels(error.low),
    }
