"""Fit a Gaussian mixture to pairs of signal and observation, in scaled units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denoisplit.noise_models.binning import Flat, Variances, flat_pairs
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.noise_models.loss import Loss
from denoisplit.noise_models.saturation import grid_step
from denoisplit.noise_models.validity import check_direction

OnStep = Callable[[int, int], None]

MAX_FITTED = 5_000_000  # pairs
MIN_VARIANCE = 0.125  # of a Gaussian, steps squared; rounding alone contributes 1/12
MIN_VARIANCE_SHARE = 1e-4  # for continuous values, relative to the residual's variance

# of the weights in scaled units, against overflow
BOUNDS = {"a": (-1e3, 1e3), "b": (-25.0, 15.0), "d": (-1e3, 1e3)}
LBFGS_MEMORY = 30  # steps that the curvature is estimated from

# initial means of the Gaussians, from least to greatest variance, in standard deviations: the loss
# has many minima, so the search begins at several points and continues from the best
STARTS = ((0.5, -0.5), (0.0, 0.0), (-0.7, 0.7))
TRIAL_SHARE = 4  # each start gets one part in so many of the steps

# choice of the number of Gaussians
CANDIDATES = (1, 2, 3, 6)
HELD_OUT_SHARE = 0.2
CHOICE_RUN = 64  # consecutive pairs that are held out together
MIN_GAIN = 0.002  # nat per pair that further Gaussians must gain


def fit(
    *,
    signal: npt.ArrayLike,
    observed: npt.ArrayLike,
    components: int | None = None,
    coefficients: int = 4,
    steps: int = 2000,
    seed: int = 0,
    step: float | None = None,
    about: dict[str, str | float] | None = None,
    on_step: OnStep | None = None,
    check_swap: bool = True,
) -> GaussianMixture:
    """Fit a noise model by maximum likelihood, with a penalty on errors of the variance.

    The pairs are grouped into cells first, so a step costs the same for a thousand pairs and for
    five million. The fit works on ``u = (observed - signal) / d`` with ``d`` the residual's
    standard deviation, and is converted to raw units at the end. The optimiser is L-BFGS, which
    reaches a lower loss than Adam, the published one, in a fraction of the steps.

    Parameters
    ----------
    signal, observed : array
        Of one shape; raw intensity. ``observed`` is the noisier of the two.
    components : int, optional
        J, number of Gaussians (published: 6). By default the fewest of 1, 2, 3 and 6 whose
        likelihood on held-out pairs equals that of the best.
    coefficients : int
        M, number of polynomial coefficients (published: 4).
    steps : int
        Maximum number of evaluations of the loss, after a quarter as many from each of several
        starts; fewer on convergence.
    seed : int
        Of the initial weights, of the held-out pairs, and of the choice of pairs above five
        million.
    step : float, optional
        Distance of the levels that observations were recorded on: 1 for integers, 0 for continuous
        values; estimated by default. Observations are dithered over their level, because a Gaussian
        could otherwise become arbitrarily narrow on one level; the least variance is 0.125 steps
        squared.
    about : dict, optional
        Stored with the model.
    on_step : callable, optional
        Called with (steps done, total steps).
    check_swap : bool
        Check that signal and observation are not swapped. The check is unnecessary for pairs of
        known origin, and unreliable for images truncated at their median.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, signal or residual are constant.
    InputError
        If the two are swapped.
    """
    s, y = flat_pairs(signal, observed)
    if check_swap:
        check_direction(signal=s, observed=y)
    rng = np.random.default_rng(seed)
    if s.size > MAX_FITTED:
        chosen = np.sort(rng.choice(s.size, MAX_FITTED, replace=False))
        s, y = s[chosen], y[chosen]
    if s.size == 0 or s.min() == s.max():
        raise ValueError("the signal is constant, but a noise model needs a range of signals")
    std = float(np.std(y - s))
    if std == 0:
        raise ValueError("observed equals signal up to a constant, so there is no noise to model")
    if step is None:
        step = grid_step(y)
    floor = MIN_VARIANCE * step**2 or MIN_VARIANCE_SHARE * std**2
    low, high = float(s.min()), float(s.max())
    t, u = (s - low) / (high - low), (y - s) / std
    spread = u + step / std * (rng.random(u.size) - 0.5) if step else u
    del s, y
    trial = -(-steps // TRIAL_SHARE)
    tried = (components,) if components else CANDIDATES
    progress = _Progress(on_step, trial * len(STARTS) * len(tried) + steps)
    search = _Search(coefficients, trial, rng, progress)
    with _one_thread():
        loss = Loss.of(t, u, spread, floor / std**2, coefficients)
        start = search.choose(loss, t, u, spread, tried)
        weight = _optimise(loss, start, steps, progress)
    progress.next(progress.total)
    a, b, d = np.split(weight.numpy(), 3)
    raw = np.concatenate((a * std, b + 2 * np.log(std), d))
    return GaussianMixture(raw, low, high, floor, about)


class _Progress:
    """Progress over several searches, each of which may end early."""

    def __init__(self, on_step: OnStep | None, total: int) -> None:
        self.on_step, self.total, self.before = on_step, total, 0

    def at(self, done: int) -> None:
        """Report the steps done in the current search."""
        if self.on_step is not None:
            self.on_step(min(self.before + done, self.total), self.total)

    def next(self, steps: int) -> None:
        """End a search of at most so many steps."""
        self.before += steps
        self.at(0)


class _Search(NamedTuple):
    """Choice of the number of Gaussians and of the start, by short trial fits."""

    coefficients: int
    steps: int  # of each trial
    rng: np.random.Generator
    progress: _Progress

    def choose(self, loss: Loss, t: Flat, u: Flat, spread: Flat, tried: Sequence[int]) -> Tensor:
        """Return preliminary weights of the fewest Gaussians that are as likely as the best number.

        The comparison is on held-out pairs; "as likely" means within two standard errors of the
        difference, or less than `MIN_GAIN` apart.
        """
        runs = -(-t.size // CHOICE_RUN)
        held = np.repeat(self.rng.permutation(runs) < HELD_OUT_SHARE * runs, CHOICE_RUN)[: t.size]
        few = (
            min(held.sum(), (~held).sum()) < CHOICE_RUN
            or min(np.ptp(t[held]), np.ptp(t[~held])) == 0
        )
        if len(tried) == 1 or few:
            return self._best(loss, tried[0])
        fitted, judged = (
            Loss.of(t[part], u[part], spread[part], loss.floor, self.coefficients)
            for part in (~held, held)
        )
        weights = [self._best(fitted, n) for n in tried]
        scores = [-judged.log_density(weight) for weight in weights]
        best = min(scores, key=lambda score: float((judged.share * score).sum()))
        for weight, score in zip(weights, scores, strict=True):
            gap = float((judged.share * (score - best)).sum())
            variance = float((judged.share * (score - best - gap) ** 2).sum())
            if gap <= max(2 * math.sqrt(variance / held.sum()), MIN_GAIN):
                return weight
        raise AssertionError("the best candidate always qualifies")

    def _best(self, loss: Loss, components: int) -> Tensor:
        """Return the best weights over all of `STARTS`."""
        starts = [self._start(components, means, loss.known) for means in STARTS]
        weights = [_optimise(loss, start, self.steps, self.progress) for start in starts]
        return min(weights, key=lambda weight: loss.value_and_slope(weight)[0])

    def _start(
        self, components: int, means: tuple[float, float], known: Variances | None
    ) -> Tensor:
        """Return initial (3J, M) weights in scaled units: the same shape of noise at all signals.

        Variances are spread geometrically about the polynomial with positive coefficients that fits
        the empirical variance best, or about 1 if it is unknown; means are spread from the first to
        the second of ``means``, in standard deviations.
        """
        from scipy.optimize import nnls

        variance: Flat = np.full(self.coefficients, 1e-3)
        std: Flat = np.zeros(self.coefficients)
        variance[0] = std[0] = 1.0
        if known is not None:
            powers = known.share @ known.signal[:, None] ** np.arange(self.coefficients)
            scale = np.sqrt(known.weight) / known.variance  # least squares of relative errors
            positive, _ = nnls(powers * scale[:, None], known.variance * scale)
            variance = np.maximum(positive, 1e-3)
            scale = np.sqrt(known.weight / known.variance)
            root, *_ = np.linalg.lstsq(powers * scale[:, None], np.sqrt(known.weight), rcond=None)
            std = root.astype(np.float64)
        a = np.linspace(*means, components)[:, None] * std
        a += self.rng.normal(0, 0.02, a.shape)
        spread = np.geomspace(0.4, 1.6, components) if components > 1 else np.ones(1)
        b = np.log(variance) + np.log(spread)[:, None]
        return torch.from_numpy(np.concatenate((a, b, np.zeros_like(a))))


def _optimise(loss: Loss, start: Tensor, steps: int, progress: _Progress) -> Tensor:
    """Minimise the loss by L-BFGS, starting from (3J, M) weights."""
    from scipy.optimize import minimize

    done = 0

    def value_and_slope(flat: Flat) -> tuple[float, Flat]:
        nonlocal done
        value, slope = loss.value_and_slope(torch.from_numpy(flat).reshape(start.shape))
        done += 1
        progress.at(min(done, steps))
        return value, slope.numpy().ravel()

    bounds = [BOUNDS[kind] for kind in "abd" for _ in range(start.numel() // 3)]
    result = minimize(
        value_and_slope,
        start.numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxfun": steps, "maxiter": steps, "maxcor": LBFGS_MEMORY},
    )
    progress.next(steps)
    return torch.from_numpy(result.x).reshape(start.shape)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, because threads do not pay off for tensors of some ten thousand cells."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
