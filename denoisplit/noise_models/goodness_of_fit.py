"""Goodness of fit of a noise model, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from denoisplit.config.groups import NoiseModelSettings
from denoisplit.errors import InputError
from denoisplit.noise_models.binning import Flat, Index, edges_of, fit_variance_line, place
from denoisplit.noise_models.fit import OnStep, fit
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.noise_models.histogram import HistogramModel
from denoisplit.noise_models.pairs import Pairs
from denoisplit.noise_models.validity import Correlation, correlation_warning

QUALITY_BINS = 20  # of the signal, and of the probability integral transform
BIN_PARTS = 25  # parts of each bin, at whose mean signals the model's variance is evaluated
MIN_BIN_PAIRS = 2  # fewest pairs that have a variance
JUDGED = 5000  # fewest pairs whose variance is accurate enough to judge by: 2 %
NO_NOISE = 1e-6  # share of the greatest variance up to which a bin counts as free of noise
DENSITY_CHUNK = 250_000  # pairs per evaluation of a density

# largest relative error of the variance, and distance of the integral transform from uniform
GOOD = (0.05, 0.03)
FAIR = (0.15, 0.08)
MANY_EXCLUDED = 0.01  # share of saturated or clipped pixels above which a remedy is named


@dataclass(frozen=True, eq=False)
class VarianceBins:
    """Variance of the observation in n signal bins of equal width, without empty bins."""

    signal: Flat  # (n,) mean signal, raw units
    measured: Flat  # (n,) variance of observation - signal, raw units squared
    model: Flat  # (n,) the same by the noise model
    count: Index  # (n,) pairs


@dataclass(frozen=True, eq=False)
class Quality:
    """Goodness of fit of a noise model to the pairs it was made from."""

    pairs: int  # fitted to
    held_out: int  # pairs
    # mean log density of held-out observations (nat, density per raw unit): of the noise model, of
    # a Gaussian of constant variance, and of a histogram, all of the same pairs
    log_likelihood: float
    gaussian: float
    histogram: float
    bins: VarianceBins
    # line through the variances, weighted by certainty: variance = gain * signal + offset
    gain: float  # raw units
    offset: float  # raw units squared
    # (20,) probability integral transform: shares of held-out observations in equal parts of the
    # model's distribution, after those on discrete levels were dithered
    pit: Flat
    ks: float  # Kolmogorov-Smirnov distance of the transform from the uniform distribution
    correlation: Correlation  # this and the next three as in `Pairs`
    saturated: float
    clipped: float
    source: str
    signal_range: tuple[float, float]  # least and greatest signal fitted to, raw units

    def verdict(self) -> list[str]:
        """Return a verdict for the user in whole sentences; the first is the summary."""
        sentences = [self._summary(), self._likelihood()]
        for share, state, remedy in (
            (self.saturated, "saturated", "use shorter exposures"),
            (
                self.clipped,
                "clipped at the lower end",
                "use an offset that keeps the background above zero",
            ),
        ):
            if share > 0:
                advice = f"; {remedy}" if share > MANY_EXCLUDED else ""
                sentences.append(
                    f"{100 * share:.2g} % of the pixels are {state} and were excluded{advice}."
                )
        warning = correlation_warning(self.correlation)
        if warning:
            sentences.append(f"{warning[0].upper()}{warning[1:]}.")
        return sentences

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes as plain values for JSON."""
        values = vars(self) | {"bins": vars(self.bins)}
        return {key: _plain(value) for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Quality:
        """Restore the values of `as_dict`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a value is missing or of another kind.
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
        # bins without noise, such as an exactly dark background, have no relative error
        noise = float(self.bins.measured.max(initial=0))
        judged = (self.bins.count >= JUDGED) & (self.bins.measured > NO_NOISE * noise)
        if not judged.any():
            count = self.pairs + self.held_out
            return f"There are too few pairs ({count}) to judge the fit; use more images."
        errors = self.bins.model[judged] / self.bins.measured[judged] - 1
        worst = int(np.argmax(np.abs(errors)))
        error, signal = float(errors[worst]), float(self.bins.signal[judged][worst])
        for (most_error, most_ks), how in ((GOOD, "well"), (FAIR, "approximately")):
            if abs(error) <= most_error and self.ks <= most_ks:
                return (
                    f"The model fits {how}: its variance differs from that of the images by at "
                    f"most {100 * abs(error):.1f} %, its distribution by {100 * self.ks:.1f} %."
                )
        size = "larger" if error > 0 else "smaller"
        return (
            f"The model does not fit well: at signals near {signal:.4g} its variance is "
            f"{100 * abs(error):.0f} % {size} than that of the images, and its distribution "
            f"differs by {100 * self.ks:.1f} %."
        )

    def _likelihood(self) -> str:
        gaps = (
            f"{abs(gap):.3f} nat {'above' if gap >= 0 else 'below'} that of {reference}"
            for gap, reference in (
                (self.log_likelihood - self.gaussian, "a Gaussian of constant variance"),
                (self.log_likelihood - self.histogram, "a histogram"),
            )
        )
        return f"Its log-likelihood per held-out observation is {' and '.join(gaps)}."


def fit_pairs(
    pairs: Pairs,
    settings: NoiseModelSettings,
    *,
    seed: int,
    about: dict[str, str | float] | None = None,
    on_step: OnStep | None = None,
) -> tuple[GaussianMixture, Quality]:
    """Fit a noise model to four fifths of the pairs, and assess it on the rest.

    Parameters
    ----------
    settings, on_step
        See `denoisplit.noise_models.fit`.
    seed : int
        Of the fit, and of the choice of held-out pairs.
    about : dict, optional
        Stored with the model, beside the source of the pairs.

    Raises
    ------
    InputError
        If the signals or the residuals are constant.
    """
    fitted, held = pairs.split(seed=seed)
    for name, values in (("signal", fitted.signal), ("noise", fitted.observed - fitted.signal)):
        if np.ptp(values) == 0:
            raise InputError(
                f"all pixels have the same {name}",
                where=pairs.source,
                remedy="check that these are the right files",
            )
    model = fit(
        signal=fitted.signal,
        observed=fitted.observed,
        components=settings.components,
        coefficients=settings.coefficients,
        steps=settings.steps,
        seed=seed,
        step=pairs.step,
        about={"source": pairs.source, **(about or {})},
        on_step=on_step,
        check_swap=False,
    )
    return model, assess(model, fitted, held, seed=seed)


def assess(model: GaussianMixture, fitted: Pairs, held: Pairs, *, seed: int) -> Quality:
    """Assess a noise model on pairs that it was not fitted to.

    The variance is measured on all pairs, because single bins have few.

    Parameters
    ----------
    fitted, held : Pairs
        Two parts of the same pairs; if nothing is held out, ``fitted`` is assessed.
    seed : int
        Of the dither of observations on discrete levels.
    """
    judged = held if len(held) else fitted
    rng = np.random.default_rng((seed, 2))
    known, observed = (_dithered(part, rng) for part in (fitted, judged))
    residual = known - fitted.signal
    mean, variance = float(residual.mean()), float(residual.var())
    square = float(((observed - judged.signal - mean) ** 2).mean())
    table = HistogramModel(fitted.signal, known)
    levels = _apply(model.cumulative, observed, judged.signal)
    bins = _variance_bins(model, fitted, held)
    # weighted by the model's variance, because the measured one of few pairs may be close to zero
    count = bins.count.astype(float)
    gain, offset = fit_variance_line(bins.signal, bins.measured, count, bins.model)
    return Quality(
        pairs=len(fitted),
        held_out=len(held),
        log_likelihood=float(_apply(model.log_prob, observed, judged.signal).mean()),
        gaussian=-0.5 * (math.log(2 * math.pi * variance) + square / variance),
        histogram=float(_apply(table.log_prob, observed, judged.signal).mean()),
        bins=bins,
        gain=gain,
        offset=offset,
        pit=np.histogram(levels, QUALITY_BINS, (0, 1))[0] / levels.size,
        ks=_distance_from_uniform(levels),
        correlation=fitted.correlation,
        saturated=fitted.saturated,
        clipped=fitted.clipped,
        source=fitted.source,
        signal_range=(float(fitted.signal.min()), float(fitted.signal.max())),
    )


def _dithered(pairs: Pairs, rng: np.random.Generator) -> Flat:
    """Spread observations evenly over their level, so that densities are comparable."""
    if not pairs.step:
        return pairs.observed
    return pairs.observed + pairs.step * (rng.random(len(pairs)) - 0.5)


def _apply(function: Callable[[Tensor, Tensor], Tensor], observed: Flat, signal: Flat) -> Flat:
    """Apply a function of tensors (observed, signal) chunk by chunk."""
    chunks = (torch.from_numpy(values).split(DENSITY_CHUNK) for values in (observed, signal))
    with torch.no_grad():
        return torch.cat([function(*c).double() for c in zip(*chunks, strict=True)]).numpy()


def _variance_bins(model: GaussianMixture, fitted: Pairs, held: Pairs) -> VarianceBins:
    signal = np.concatenate((fitted.signal, held.signal))
    residual = np.concatenate((fitted.observed, held.observed)) - signal
    # narrow bins, each with the model's variance at its mean signal, are added up
    narrow = place(signal, edges_of(signal, QUALITY_BINS * BIN_PARTS, 1))
    n, sums, sum_r, sum_q = (
        np.bincount(narrow, values, minlength=QUALITY_BINS * BIN_PARTS)
        for values in (np.ones_like(signal), signal, residual, residual**2)
    )
    with torch.no_grad():
        variance = model.variance(torch.from_numpy(sums / np.maximum(n, 1)))
    of_model = n * variance.double().numpy()
    n, sums, sum_r, sum_q, of_model = (
        values.reshape(QUALITY_BINS, BIN_PARTS).sum(axis=1)
        for values in (n, sums, sum_r, sum_q, of_model)
    )
    keep = n >= MIN_BIN_PAIRS
    n, sums, sum_r, sum_q, of_model = (v[keep] for v in (n, sums, sum_r, sum_q, of_model))
    return VarianceBins(sums / n, sum_q / n - (sum_r / n) ** 2, of_model / n, n.astype(np.int64))


def _distance_from_uniform(values: Flat) -> float:
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
