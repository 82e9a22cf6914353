"""Scores of error bars: their size, the coverage of their intervals, and how they rank errors.

With a truth everything is computed from true errors. Without one, means of estimated squared errors
(`denoisplit.evaluation.risk`) still tell the size of the error bars, in every group of pixels.
Coverage, interval score and all that ranks pixels need the true error of every single one, and are
None then: of the pixels with the smallest errors, not even the mean is distinguishable from zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.groups import BRIGHTEST, FEWEST, IntensityGroups, local_intensities
from denoisplit.evaluation.risk import Estimate, Mask, SquaredErrors, estimate
from denoisplit.prediction.frame import ErrorBars

Array = npt.NDArray[np.float32]
Flat = npt.NDArray[np.float64]
Range = dict[str, float | None]  # "value", "low", "high"

COVERAGE = 0.9  # of the intervals that are scored
REMOVED = np.arange(100) / 100  # fractions of the pixels, most uncertain first
STORED = slice(None, None, 5)  # of these fractions, in the curves that are returned
NOTHING: Range = {"value": None, "low": None, "high": None}


def score_error_bars(
    bars: Sequence[ErrorBars],
    errors: Sequence[SquaredErrors],
    groups: Sequence[IntensityGroups],
    names: Sequence[str],
    *,
    spreads: Sequence[Array] | None = None,
    spread_errors: Sequence[SquaredErrors] | None = None,
) -> dict[str, Any]:
    """Return the scores of the error bars of every structure, as plain JSON values.

    Parameters
    ----------
    bars : sequence of ErrorBars
        One per frame; `half_width` of the `COVERAGE` interval, or None.
    errors : sequence of SquaredErrors
        Of the decoded means of the frames; true or estimated.
    groups : sequence of IntensityGroups
        One per structure.
    names : sequence of str
        Structures in channel order.
    spreads : sequence of array (C, Y, X), optional
        Calibrated spread of posterior samples, by which pixels are ranked for comparison.
    spread_errors : sequence of SquaredErrors, optional
        Errors of the posterior means, which the spreads belong to; those of the decoded means if
        not given.

    Returns
    -------
    dict
        For each name: "estimated" (whether there is no truth), "error_over_claimed" (root mean
        squared error over root mean variance of the error bars: {"value", "low", "high"}; value
        None where the error is not distinguishable from zero) and "coverage", both also in
        "groups", "brightest" (5 % of the pixels) and "background" (darkest group); "frames" (the
        coverage of each, and its standard deviation); "mean_width" and "interval_score" of the
        interval, raw intensity; "ause", "spearman", "ause_spread", "spearman_spread";
        "sparsification", see `sparsification_curve`, relative to the error of all pixels; None
        without a truth.
    """
    intensities = local_intensities([frame.decoded for frame in bars])
    ranked = spread_errors if spread_errors is not None else errors
    scores = {}
    for k, name in enumerate(names):
        structure = _Structure(
            k,
            errors,
            [frame.std[k] ** 2 for frame in bars],
            [frame.half_width[k] for frame in bars if frame.half_width is not None],
        )
        scores[name] = {
            "estimated": not structure.is_known,
            **structure.scores(),
            **_by_intensity(structure, groups[k], [frame[k] for frame in intensities]),
            "frames": structure.frame_coverage(),
            **structure.interval_scores(),
            **_rankings(structure, None if spreads is None else [s[k] for s in spreads], ranked),
        }
    return scores


@dataclass(frozen=True)
class _Structure:
    """Errors and error bars of one structure k in every frame, (Y, X); raw intensity."""

    k: int
    errors: Sequence[SquaredErrors]
    variances: Sequence[Array]
    half_widths: Sequence[Array]  # empty without an interval

    @property
    def is_known(self) -> bool:
        """Whether the errors are true ones."""
        return all(frame.noise is None for frame in self.errors)

    def inside(self, where: Sequence[Mask] | None = None) -> list[Mask]:
        """Return the pixels that count, in every frame."""
        masks = [frame.inside[self.k] for frame in self.errors]
        return masks if where is None else [m & w for m, w in zip(masks, where, strict=True)]

    def pooled(self, frames: Sequence[npt.NDArray[Any]], where: Sequence[Mask]) -> Flat:
        """Return the chosen pixels of all frames."""
        parts = [frame[mask] for frame, mask in zip(frames, where, strict=True)]
        return np.concatenate(parts).astype(np.float64)

    @property
    def squared(self) -> list[Array]:
        """Squared errors of every frame."""
        return [frame.values[self.k] for frame in self.errors]

    def scores(self, where: Sequence[Mask] | None = None) -> dict[str, Any]:
        """Return error over claimed and coverage of a set of pixels."""
        used = self.inside(where)
        variance = self.pooled(self.variances, used)
        if not variance.size:
            return {"error_over_claimed": NOTHING, "coverage": None}
        error = estimate(self.errors, self.k, where)
        return {
            "error_over_claimed": _over_claimed(error, variance.mean(), known=self.is_known),
            "coverage": self.coverage(used),
        }

    def coverage(self, used: Sequence[Mask]) -> float | None:
        """Return the share of pixels whose truth is inside their interval."""
        covered = self.pooled(self.covered, used) if self.covered else np.empty(0)
        return float(covered.mean()) if covered.size else None

    @property
    def covered(self) -> list[Mask]:
        """Whether the truth is inside the interval, in every frame; empty if that is unknown."""
        if not (self.is_known and self.half_widths):
            return []
        return [e <= half**2 for e, half in zip(self.squared, self.half_widths, strict=True)]

    def frame_coverage(self) -> dict[str, Any]:
        """Return the coverage of each frame, and its standard deviation over frames."""
        frames = zip(self.covered, self.inside(), strict=False)
        values = [float(frame[used].mean()) if used.any() else None for frame, used in frames]
        present = [value for value in values if value is not None]
        sd = float(np.std(present, ddof=1)) if len(present) > 1 else None
        return {"coverage": values, "sd": sd}

    def interval_scores(self) -> dict[str, float | None]:
        """Return mean width and interval score (Gneiting and Raftery 2007), raw intensity.

        The score is the width, and 2 / (1 - coverage) times the distance to the interval for a
        truth outside it; lower is better.
        """
        if not self.half_widths:
            return {"mean_width": None, "interval_score": None}
        used = self.inside()
        half = self.pooled(self.half_widths, used)
        width, score = float(2 * half.mean()), None
        if self.is_known:
            missed = np.maximum(np.sqrt(self.pooled(self.squared, used)) - half, 0)
            score = width + 2 / (1 - COVERAGE) * float(missed.mean())
        return {"mean_width": width, "interval_score": score}

    def ranking(self, uncertainties: Sequence[Array]) -> dict[str, Any]:
        """Return how well uncertainties rank true errors, with both sparsification curves.

        AUSE is the area between the sparsification curve and that of the error itself, the oracle,
        for fractions of 0 to 0.99, both relative to the error of all pixels (Ilg et al. 2018): 0
        where pixels are ranked by their error.
        """
        used = self.inside()
        uncertainty, squared = self.pooled(uncertainties, used), self.pooled(self.squared, used)
        ranking: dict[str, Any] = {"spearman": rank_correlation(uncertainty, squared)}
        if squared.size and squared.mean() > 0:
            curves = [sparsification_curve(by, squared) for by in (uncertainty, squared)]
            curve, oracle = (c / c[0] for c in curves)
            ranking["ause"] = float(np.trapezoid(curve - oracle, REMOVED))
            for name, values in (("curve", curve), ("oracle", oracle)):
                ranking[name] = [round(float(value), 4) for value in values[STORED]]
        return ranking


def _over_claimed(error: Estimate, variance: float, *, known: bool) -> Range:
    """Return root mean squared error over claimed error, with its range."""
    if variance <= 0 or error.high <= 0:
        return NOTHING
    low, value, high = (
        math.sqrt(max(squared, 0) / variance) for squared in (error.low, error.value, error.high)
    )
    return {"value": value if known or not error.is_bound else None, "low": low, "high": high}


def _by_intensity(
    structure: _Structure, groups: IntensityGroups, intensities: Sequence[Array]
) -> dict[str, Any]:
    """Return the scores of every group, of the brightest pixels and of the background."""
    inside = structure.inside()
    index = [groups.index(frame) for frame in intensities]
    count = np.bincount(structure.pooled(index, inside).astype(np.intp), minlength=len(groups))
    share = count / max(1, count.sum())
    scored = [
        {
            "intensity": float(groups.centres[g]),
            "share": float(share[g]),
            "judged": bool(share[g] >= FEWEST),
            **structure.scores([frame == g for frame in index]),
        }
        for g in range(len(groups))
    ]
    values = structure.pooled(intensities, inside)
    edge = np.quantile(values, BRIGHTEST) if values.size else math.inf
    return {
        "groups": scored,
        "brightest": structure.scores([frame >= edge for frame in intensities]),
        "background": scored[0],
    }


def _rankings(
    structure: _Structure,
    spreads: Sequence[Array] | None,
    spread_errors: Sequence[SquaredErrors],
) -> dict[str, Any]:
    """Return how well error map and spread rank the errors; None of it without true errors."""
    by_map: dict[str, Any] = {}
    by_spread: dict[str, Any] = {}
    if structure.is_known:
        by_map = structure.ranking(structure.variances)
        if spreads is not None:
            by_spread = _Structure(structure.k, spread_errors, (), ()).ranking(spreads)
    curves = {
        "removed": REMOVED[STORED].tolist(),
        "error_map": by_map.get("curve"),
        "scaled_spread": by_spread.get("curve"),
        "oracle": by_map.get("oracle"),
    }
    return {
        "ause": by_map.get("ause"),
        "spearman": by_map.get("spearman"),
        "ause_spread": by_spread.get("ause"),
        "spearman_spread": by_spread.get("spearman"),
        "sparsification": curves if structure.is_known else None,
    }


def sparsification_curve(uncertainty: Flat, squared: Flat) -> Flat:
    """Return the root mean squared error of the pixels that are left as uncertain ones are removed.

    Parameters
    ----------
    uncertainty : array (n,)
        By which pixels are ranked; pixels of the same uncertainty are removed together, in
        proportion.
    squared : array (n,)
        Squared errors.

    Returns
    -------
    array (100,)
        For every fraction in `REMOVED`.
    """
    order = np.argsort(uncertainty)
    total = np.cumsum(squared[order])
    last = np.flatnonzero(np.diff(uncertainty[order], append=np.inf))
    left = (1 - REMOVED) * uncertainty.size
    sums = np.interp(left, np.append(0, last + 1), np.append(0, total[last]))
    curve: Flat = np.sqrt(sums / left)
    return curve


def rank_correlation(uncertainty: Flat, squared: Flat) -> float | None:
    """Return Spearman's rank correlation of uncertainty and error; None if one is constant."""
    from scipy.stats import spearmanr

    if uncertainty.size < 2 or np.ptp(uncertainty) == 0 or np.ptp(squared) == 0:
        return None
    return float(spearmanr(uncertainty, squared).statistic)
