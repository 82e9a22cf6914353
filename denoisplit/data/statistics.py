"""Measure the statistics that normalise input and targets, on the training split alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.data.splits import Group
from denoisplit.data.synthetic_noise import Address, SyntheticNoise


@dataclass(frozen=True)
class Statistics:
    """Mean and std of the training data, raw units: pooled over structures, and per structure."""

    pooled_mean: float
    pooled_std: float
    means: tuple[float, ...]
    stds: tuple[float, ...]


@dataclass
class _Moments:
    """Count, sum and sum of squares in float64, which can be pooled."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, image: npt.NDArray[np.generic]) -> None:
        values = image.astype(np.float64)
        self.n += values.size
        self.total += float(values.sum())
        self.squares += float((values**2).sum())

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def std(self) -> float:
        return math.sqrt(max(self.squares / self.n - self.mean**2, 0.0))


def _pooled(every: Sequence[_Moments]) -> _Moments:
    return _Moments(
        sum(m.n for m in every), sum(m.total for m in every), sum(m.squares for m in every)
    )


def pooled_std(frames: Group) -> float:
    """Std over all structures and pixels: the unit of the synthetic Gaussian level."""
    moments = _Moments()
    for structure in frames:
        for image in structure:
            moments.add(image)
    return moments.std


def statistics(clean: Group, noisy: Group, noise: SyntheticNoise, seed: int) -> Statistics:
    """Measure the statistics of the training split (paper, supplement on data).

    Stds include the Gaussian noise; means are taken without it, since its mean is zero. Without
    synthetic noise both are those of the images.
    """
    shot, full = [], []
    for k, structure in enumerate(clean):
        without, with_noise = _Moments(), _Moments()
        for j, image in enumerate(structure):
            without.add(noise.shot(image, Address(seed, "training", k, j)))
            with_noise.add(noisy[k][j])
        shot.append(without)
        full.append(with_noise)
    return Statistics(
        pooled_mean=_pooled(shot).mean,
        pooled_std=_pooled(full).std,
        means=tuple(m.mean for m in shot),
        stds=tuple(m.std for m in full),
    )


def noise_std(image: npt.NDArray[np.generic]) -> float:
    """Estimate the standard deviation of pixel-wise noise in an image (Y, X) (Immerkaer 1996).

    A second difference in both directions cancels smooth structure. Raw units.
    """
    return float(np.sqrt(np.pi / 2) * np.abs(second_differences(image)).mean())


def second_differences(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return second differences along both axes, (Y - 2, X - 2), scaled to keep white noise."""
    y = image.astype(np.float64)
    d = y[:, :-2] - 2 * y[:, 1:-1] + y[:, 2:]
    return (d[:-2] - 2 * d[1:-1] + d[2:]) / 6


def content_quantum(noise: float) -> float:
    """Return the quantisation step of content keys: a power of two, well below the noise."""
    return 2.0 ** math.floor(math.log2(noise / 8)) if noise > 0 else 1.0
