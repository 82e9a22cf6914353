"""How well a noise model fits: in numbers, and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.errors import InputError
from denoisplit.noise_models.binning import Flat, edges_of, fit_variance_line, place
from denoisplit.noise_models.fit import OnStep, fit_flat
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.noise_models.histogram import HistogramModel
from denoisplit.noise_models.pairs import Pairs
from denoisplit.noise_models.validity import Correlation, correlation_warning

Count = npt.NDArray[np.int64]

BINS = 20  # of the signal, and of the probability integral transform
PARTS = 25  # of each bin, at whose mean signals the model's variance is taken
FEWEST = 2  # pairs that a variance is of
JUDGED = 5000  # pairs from which on a variance is known well enough to judge by: 2 %
NO_NOISE = 1e-6  # share of the greatest variance up to which a bin holds no noise
CHUNK = 250_000  # pairs that a density is taken of at once

# of the variance: relative error; of the integral transform: distance from uniform
GOOD = (0.05, 0.03)
FAIR = (0.15, 0.08)
LEFT_OUT = 0.01  # share of saturated or clipped pixels from which on it is worth a remedy


@dataclass(frozen=True, eq=False)
class VarianceBins:
    """Variance of the observation in bins of equal width of the signal; bins without pairs lack.

    Attributes
    ----------
    signal : array (n,)
        Mean signal, raw units.
    measured, model : array (n,)
        Variance of observation - signal, and the noise model's; raw units squared.
    count : array (n,)
        Pairs.
    """

    signal: Flat
    measured: Flat
    model: Flat
    count: Count


@dataclass(frozen=True, eq=False)
class Quality:
    """How well a noise model fits the pairs it was made from.

    Attributes
    ----------
    pairs, held_out : int
        Numbers of pairs that were fitted to, and that were held out.
    log_likelihood, gaussian, histogram : float
        Mean log density of held-out observations, nat, of densities per raw unit: of the noise
        model, of a Gaussian of one variance, and of a histogram; all of the same pairs.
    bins : VarianceBins
    gain, offset : float
        Straight line through the variances, each weighted by its certainty: variance = gain *
        signal + offset; raw units, raw units squared.
    pit : array (20,)
        Shares of held-out observations in equal parts of the model's distribution. Observations
        recorded on levels are spread over them at random first.
    ks : float
        Kolmogorov-Smirnov distance of the same from the uniform distribution.
    correlation, saturated, clipped, source
        As of `Pairs`.
    signal_range : tuple of float
        Least and greatest signal fitted to, raw units.
    """

    pairs: int
    held_out: int
    log_likelihood: float
    gaussian: float
    histogram: float
    bins: VarianceBins
    gain: float
    offset: float
    pit: Flat
    ks: float
    correlation: Correlation
    saturated: float
    clipped: float
    source: str
    signal_range: tuple[float, float]

    def verdict(self) -> list[str]:
        """What to tell the user, in whole sentences; the first is the summary."""
        sentences = [self._summary(), self._likelihood()]
        for share, what, remedy in (
            (self.saturated, "saturated", "expose shorter"),
            (
                self.clipped,
                "clipped at the lower end",
                "take an offset that keeps the background above zero",
            ),
        ):
            if share > 0:
                advice = f"; {remedy}" if share > LEFT_OUT else ""
                sentences.append(
                    f"{100 * share:.2g} % of the pixels are {what} and were left out{advice}."
                )
        warning = correlation_warning(self.correlation)
        if warning:
            sentences.append(f"{warning[0].upper()}{warning[1:]}.")
        return sentences

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        values = vars(self) | {"bins": vars(self.bins)}
        return {key: _plain(value) for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Quality:
        """What `as_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something lacks, or is of another kind.
        """
        known = {key: values[key] for key in cls.__dataclass_fields__}
        bins = {key: np.array(known["bins"][key], float) for key in ("signal", "measured", "model")}
        count = np.array(known["bins"]["count"], dtype=np.int64)
        along_x, along_y = (float(v) for v in known["correlation"])
        low, high = (float(v) for v in known["signal_range"])
        return cls(
            **known
            | {
                "bins": VarianceBins(**bins, count=count),
                "pit": np.array(known["pit"], dtype=np.float64),
                "correlation": (along_x, along_y),
                "signal_range": (low, high),
            }
        )

    def _summary(self) -> str:
        # where nothing varies, as in an exactly dark background, there is no noise to be off from
        noise = float(self.bins.measured.max(initial=0))
        judged = (self.bins.count >= JUDGED) & (self.bins.measured > NO_NOISE * noise)
        if not judged.any():
            return (
                f"There are too few pairs ({self.pairs + self.held_out}) to tell how well the "
                "model fits: give more images."
            )
        error = self.bins.model[judged] / self.bins.measured[judged] - 1
        worst = int(np.argmax(np.abs(error)))
        off, at = float(error[worst]), float(self.bins.signal[judged][worst])
        facts = (
            f"its variance is at most {100 * abs(off):.1f} % off that of the images, and its "
            f"distribution {100 * self.ks:.1f} %"
        )
        if abs(off) <= GOOD[0] and self.ks <= GOOD[1]:
            return f"The model fits well: {facts}."
        if abs(off) <= FAIR[0] and self.ks <= FAIR[1]:
            return f"The model fits roughly: {facts}."
        more = "more" if off > 0 else "less"
        return (
            f"The model does not fit well: at signals about {at:.4g} it has {100 * abs(off):.0f} % "
            f"{more} variance than the images, and its distribution is {100 * self.ks:.1f} % off."
        )

    def _likelihood(self) -> str:
        gaps = (
            f"{abs(gap):.3f} nat {'above' if gap >= 0 else 'below'} that of {what}"
            for gap, what in (
                (self.log_likelihood - self.gaussian, "a Gaussian of one variance"),
                (self.log_likelihood - self.histogram, "a histogram"),
            )
        )
        return f"Its log-likelihood per held-out observation is {' and '.join(gaps)}."


def fit_pairs(
    pairs: Pairs,
    *,
    components: int | None,
    coefficients: int,
    steps: int,
    seed: int,
    about: dict[str, str | float] | None,
    on_step: OnStep | None = None,
) -> tuple[GaussianMixture, Quality]:
    """Fit a noise model to four fifths of the pairs, and judge it by the rest.

    Parameters
    ----------
    pairs : Pairs
    components, coefficients, steps, on_step
        See `denoisplit.noise_models.fit`.
    seed : int
        Of the fit, and of what is held out.
    about : dict, optional
        Stored with the model, beside the source of the pairs.

    Raises
    ------
    InputError
        If the signals or the residuals are constant.
    """
    fitted, held = pairs.split(seed=seed)
    for what, values in (("signal", fitted.signal), ("noise", fitted.observed - fitted.signal)):
        if np.ptp(values) == 0:
            raise InputError(
                where=pairs.source,
                found=f"pixels of one {what} only",
                expected=f"images with a range of {what}",
                remedy="check that these are the right files",
            )
    model = fit_flat(
        fitted.signal,
        fitted.observed,
        components=components,
        coefficients=coefficients,
        steps=steps,
        seed=seed,
        step=pairs.step,
        about={"source": pairs.source, **(about or {})},
        on_step=on_step,
    )
    return model, assess(model, fitted, held, seed=seed)


def assess(model: GaussianMixture, fitted: Pairs, held: Pairs, *, seed: int) -> Quality:
    """Judge a noise model by pairs that it was not fitted to.

    The variance, of which single bins have few pairs, is measured on all of them.

    Parameters
    ----------
    model : GaussianMixture
    fitted, held : Pairs
        Two parts of the same pairs; ``fitted`` may be judged itself if nothing is held out.
    seed : int
        By which observations are spread over the levels of their recording.
    """
    judged = held if len(held) else fitted
    rng = np.random.default_rng((seed, 2))
    known, observed = (_spread(part, rng) for part in (fitted, judged))
    residual = known - fitted.signal
    mean, variance = float(residual.mean()), float(residual.var())
    square = float(((observed - judged.signal - mean) ** 2).mean())
    table = HistogramModel.counted(fitted.signal, known)
    levels = _apply(model.cumulative, observed, judged.signal)
    bins = _variance_bins(model, fitted, held)
    # by the model's variance, as the measured one of few pairs may be next to nothing
    gain, offset = fit_variance_line(bins.signal, bins.measured, bins.count.astype(float), bins.model)
    return Quality(
        pairs=len(fitted),
        held_out=len(held),
        log_likelihood=float(_apply(model.log_prob, observed, judged.signal).mean()),
        gaussian=-0.5 * (math.log(2 * math.pi * variance) + square / variance),
        histogram=float(_apply(table.log_prob, observed, judged.signal).mean()),
        bins=bins,
        gain=gain,
        offset=offset,
        pit=np.histogram(levels, BINS, (0, 1))[0] / levels.size,
        ks=_from_uniform(levels),
        correlation=fitted.correlation,
        saturated=fitted.saturated,
        clipped=fitted.clipped,
        source=fitted.source,
        signal_range=(float(fitted.signal.min()), float(fitted.signal.max())),
    )


def _spread(pairs: Pairs, rng: np.random.Generator) -> Flat:
    """Observations spread evenly over their level: densities of rounded values are comparable."""
    if not pairs.step:
        return pairs.observed
    return pairs.observed + pairs.step * (rng.random(len(pairs)) - 0.5)


def _apply(function: Any, observed: Flat, signal: Flat) -> Flat:
    """A function of tensors (observed, signal), chunk by chunk."""
    starts = range(0, observed.size, CHUNK)
    with torch.no_grad():
        parts = [
            function(*(torch.from_numpy(v[start : start + CHUNK]) for v in (observed, signal)))
            for start in starts
        ]
    return np.concatenate([part.double().numpy() for part in parts])


def _variance_bins(model: GaussianMixture, fitted: Pairs, held: Pairs) -> VarianceBins:
    signal = np.concatenate((fitted.signal, held.signal))
    residual = np.concatenate((fitted.observed, held.observed)) - signal
    # whole bins of narrow ones, each with the model's variance at its mean
    narrow = place(signal, edges_of(signal, BINS * PARTS, 1))
    n, sums, sum_r, sum_q = (
        np.bincount(narrow, values, minlength=BINS * PARTS)
        for values in (np.ones_like(signal), signal, residual, residual**2)
    )
    at = torch.from_numpy(sums / np.maximum(n, 1))
    with torch.no_grad():
        of_model = n * model.variance(at).double().numpy()
    total, sums, sum_r, sum_q, of_model = (
        values.reshape(BINS, PARTS).sum(axis=1) for values in (n, sums, sum_r, sum_q, of_model)
    )
    keep = total >= FEWEST
    n, sums, sum_r, sum_q, of_model = (v[keep] for v in (total, sums, sum_r, sum_q, of_model))
    return VarianceBins(sums / n, sum_q / n - (sum_r / n) ** 2, of_model / n, n.astype(np.int64))


def _from_uniform(values: Flat) -> float:
    """Kolmogorov-Smirnov distance of values in [0, 1] from the uniform distribution."""
    n = values.size
    ordered = np.sort(values)
    ranks = np.arange(n + 1) / n
    return float(max((ranks[1:] - ordered).max(), (ordered - ranks[:-1]).max()))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
