"""Fit a Gaussian mixture to pairs of signal and observation, in scaled units."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denoisplit.noise_models.gmm import GaussianMixture, mixture

MAX_PAIRS = 5_000_000
SIGNAL_BINS = 512
CELL = 0.15  # width of a residual cell in local standard deviations: loses 0.2 % of the variance
ROUNDING_VARIANCE = 0.125  # floor for integer data; rounding alone has 1/12
LEARNING_RATE = 0.05


class Cells(NamedTuple):
    """Pairs gathered into cells of nearly equal signal and residual; float64, each (n,)."""

    signal: npt.NDArray[np.float64]  # mean signal of the cell
    residual: npt.NDArray[np.float64]  # mean of observed - signal
    pairs: npt.NDArray[np.float64]


def fit(
    *,
    signal: npt.ArrayLike,
    observed: npt.ArrayLike,
    components: int = 6,
    coefficients: int = 4,
    steps: int = 2000,
    seed: int = 0,
    about: dict[str, str | float] | None = None,
) -> GaussianMixture:
    """Fit a noise model by maximum likelihood.

    The pairs are gathered into cells first, so a step costs the same for a thousand pairs and for
    five million. The fit works on ``u = (observed - signal) / d`` with ``d`` the residual's
    standard deviation, and is converted to raw units at the end.

    Parameters
    ----------
    signal, observed : array
        Of one shape; raw intensity. ``observed`` is the noisier of the two.
    components, coefficients : int
        J Gaussians (published: 6), M polynomial coefficients (published: 4).
    steps : int
        Adam steps; the parameters of the lowest loss are kept.
    seed : int
        Of the initial weights, and of the choice of pairs above five million.
    about : dict, optional
        Stored with the model.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or signal or residual are constant.
    """
    s = np.asarray(signal, dtype=np.float64).ravel()
    y = np.asarray(observed, dtype=np.float64).ravel()
    integer = np.issubdtype(np.asarray(observed).dtype, np.integer)
    if s.shape != y.shape:
        raise ValueError(f"signal has {s.size} values, observed {y.size}: expected pairs")
    if not (np.isfinite(s).all() and np.isfinite(y).all()):
        raise ValueError("signal and observed must be finite")
    rng = np.random.default_rng(seed)
    if s.size > MAX_PAIRS:
        chosen = rng.choice(s.size, MAX_PAIRS, replace=False)
        s, y = s[chosen], y[chosen]
    if s.size == 0 or s.min() == s.max():
        raise ValueError("the signal is constant: a noise model needs a range of signals")
    scale = float(np.std(y - s))
    if scale == 0:
        raise ValueError("observed equals signal up to a constant: there is no noise to model")

    low, high = float(s.min()), float(s.max())
    floor = ROUNDING_VARIANCE if integer else 1e-4 * scale**2
    cells = gather(s, y)
    t = torch.as_tensor((cells.signal - low) / (high - low), dtype=torch.float32)
    u = torch.as_tensor(cells.residual / scale, dtype=torch.float32)
    share = torch.as_tensor(cells.pairs / cells.pairs.sum(), dtype=torch.float32)
    weight = _optimise(
        t,
        u,
        share,
        _start(components, coefficients, rng),
        floor=floor / scale**2,
        steps=steps,
    )
    a, b, d = np.split(weight.double().numpy(), 3)
    raw = np.concatenate((a * scale, b + 2 * np.log(scale), d))
    return GaussianMixture(raw, low, high, floor, about)


def gather(signal: npt.NDArray[np.float64], observed: npt.NDArray[np.float64]) -> Cells:
    """Gather pairs into cells: up to 512 signal bins, residuals by local standard deviation."""
    residual = observed - signal
    low, high = signal.min(), signal.max()
    bins = np.minimum((signal - low) / (high - low) * SIGNAL_BINS, SIGNAL_BINS - 1).astype(np.int64)
    n = np.maximum(np.bincount(bins, minlength=SIGNAL_BINS), 1)
    mean = np.bincount(bins, residual, minlength=SIGNAL_BINS) / n
    var = np.bincount(bins, (residual - mean[bins]) ** 2, minlength=SIGNAL_BINS) / n
    std = np.sqrt(np.maximum(var, 1e-12 * np.var(residual)))
    index = np.rint((residual - mean[bins]) / (CELL * std[bins])).astype(np.int64)
    index -= index.min()
    code = bins * (index.max() + 1) + index
    _, cell, count = np.unique(code, return_inverse=True, return_counts=True)
    return Cells(
        np.bincount(cell, signal) / count,
        np.bincount(cell, residual) / count,
        count.astype(np.float64),
    )


def _start(components: int, coefficients: int, rng: np.random.Generator) -> Tensor:
    """Initial (3J, M) weights in scaled units: variances spread geometrically from 1/4 to 4."""
    a = rng.normal(0, 0.1, (components, coefficients))
    b = np.full((components, coefficients), np.log(1e-3))
    b[:, 0] = np.log(np.geomspace(0.25, 4, components)) if components > 1 else 0.0
    return torch.as_tensor(np.concatenate((a, b, np.zeros_like(a))), dtype=torch.float32)


def _optimise(
    t: Tensor, u: Tensor, share: Tensor, start: Tensor, *, floor: float, steps: int
) -> Tensor:
    """Minimise the weighted mean of -log p over the cells; returns the best (3J, M) weights."""
    weight = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([weight], lr=LEARNING_RATE)
    # a late decay lets the last steps settle; the best weights seen are kept
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    best, best_loss = start.clone(), float("inf")
    for _ in range(steps):
        loss = -(share * mixture(weight, t, floor).log_density(u)).sum()
        if loss.item() < best_loss:
            best, best_loss = weight.detach().clone(), loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return best
