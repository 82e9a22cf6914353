"""Noise of recorded images against what their noise models claim.

An estimate of the squared error needs the variance of the noise more accurately than training does:
where noise is five times the error, 2 % of its variance are half of the squared error. So it is
measured again on the images, by second differences, which cancel smooth structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from denoisplit.data.statistics import second_differences

if TYPE_CHECKING:
    from denoisplit.evaluation.frames import EvaluationFrames
    from denoisplit.evaluation.risk import Probe

Array = npt.NDArray[np.float32]
Flat = npt.NDArray[np.float64]
Correlation = tuple[float, float]  # of neighbouring noise values along x and y

PARTS = 10  # of equal pixels by claimed variance, in which the ratio is measured
CORRELATED = 0.1  # share of the variance that second differences miss: above, they are not used
FEWEST = 500  # pixels of a part
MEDIAN_EFFICIENCY = 0.37  # of the median, against the mean, as an estimator of a variance
TREND = 0.2  # usual change of the ratio with a claimed variance of twice the mean
NORMAL_MEDIAN = 0.6745  # median of the absolute value of a standard normal variable


@dataclass(frozen=True)
class NoiseLevel:
    """Variance of the noise over the claimed one: a line in the claimed variance.

    Attributes
    ----------
    ratio : float
        At the mean claimed variance.
    trend : float
        Change of the ratio with a claimed variance of twice the mean.
    mean : float
        Mean claimed variance, raw intensity squared.
    least, most : float
        Range of claimed variances over which the line was measured; constant outside.
    is_used : bool
        Whether the line is what errors are estimated by. It is not where the noise of neighbours
        is correlated, which second differences see too little of: then the noise model is, and
        the line is one end of the range.
    """

    ratio: float = 1.0
    trend: float = 0.0
    mean: float = 1.0
    least: float = 0.0
    most: float = 0.0
    is_used: bool = True

    def __call__(self, claimed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the ratio to use at claimed variances of any shape, raw intensity squared."""
        return self.measured(claimed) if self.is_used else np.ones_like(claimed)

    def other(self, claimed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the ratio at the other end of the range."""
        return np.ones_like(claimed) if self.is_used else self.measured(claimed)

    def measured(self, claimed: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the ratio by the line."""
        at = np.clip(claimed, self.least, self.most) / self.mean - 1
        ratio: npt.NDArray[Any] = (self.ratio + self.trend * at).astype(np.float32)
        return ratio


def noise_levels(
    frames: EvaluationFrames,
    means: Sequence[Array],
    probes: Sequence[Probe],
    correlations: Sequence[Correlation] | None = None,
) -> list[NoiseLevel]:
    """Measure the noise of every structure in recorded frames.

    The differences are those of the recorded image minus its prediction, which removes structure.
    What the prediction copies of the noise is corrected for by the probes.

    Parameters
    ----------
    means : sequence of array (C, Y, X)
        Predictions of the frames, raw intensity.
    probes : sequence of Probe
        Of the same predictions.
    correlations : sequence of (float, float), optional
        Measured correlation of the noise of neighbours along x and y, per structure; second
        differences see less of correlated noise.
    """
    levels = []
    for k in range(len(means[0])):
        seen = 1.0
        for value in correlations[k] if correlations is not None else ():
            seen *= 1 - 4 / 3 * value
        parts = [
            _differences(y[k] - m[k], probe, k, inside[k])
            for y, m, probe, inside in zip(
                frames.observed, means, probes, frames.within_limits, strict=True
            )
        ]
        size, copied, claimed = (np.concatenate(part) for part in zip(*parts, strict=True))
        level = _line(size, copied, claimed, max(seen, 0.1))
        levels.append(replace(level, is_used=1 - seen < CORRELATED))
    return levels


def _differences(
    residual: Array, probe: Probe, k: int, inside: npt.NDArray[np.bool_]
) -> tuple[Flat, Flat, Flat]:
    """Return size of second differences, what copies change, and claimed variance, per pixel."""
    used = inside[1:-1, 1:-1] & (probe.variance[k, 1:-1, 1:-1] > 0)
    claimed = probe.variance[k, 1:-1, 1:-1][used].astype(np.float64)
    response = second_differences(probe.response[k])
    # noise that is copied into the prediction is in it, too
    copied = 2 * second_differences(probe.noise[k]) * response - response**2
    size = np.abs(second_differences(residual)[used]) / np.sqrt(claimed)
    return size, copied[used] / claimed, claimed


def _line(size: Flat, copied: Flat, claimed: Flat, seen: float) -> NoiseLevel:
    """Fit the ratio of each part by a line, with a prior on its slope."""
    if size.size < FEWEST:
        return NoiseLevel()
    mean = float(claimed.mean())
    groups = np.array_split(np.argsort(claimed, kind="stable"), min(PARTS, size.size // FEWEST))
    ratio, at, weight = np.array(
        [
            (
                (np.median(size[g]) / NORMAL_MEDIAN) ** 2 / seen + copied[g].mean(),
                claimed[g].mean() / mean - 1,
                g.size * MEDIAN_EFFICIENCY / 2,
            )
            for g in groups
        ]
    ).T
    design = np.stack([np.ones_like(at), at], axis=1)
    normal = design.T @ (weight[:, None] * design) + np.diag([0.0, 1 / TREND**2])
    level, trend = np.linalg.solve(normal, design.T @ (weight * ratio))
    least, most = float(at.min() + 1) * mean, float(at.max() + 1) * mean
    return NoiseLevel(float(level), float(trend), mean, least, most)
