"""Verdict on a split: whether it separates the structures, only denoises, or is of no use.

Each prediction is compared with two simpler ones, on frames that nothing was fitted to. The first
is the best blur of the input. The second is the best affine function of a sum of predictions, of
the structure and one or more others: it is as good as the split where the network has denoised the
input, but not separated the structures. Differences of estimates on the same images are sharp, also
without a truth, as the variance of the noise cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from denoisplit.evaluation.frames import EvaluationFrames
from denoisplit.evaluation.metrics import BLUR_SIGMAS, blur
from denoisplit.evaluation.noise_level import NoiseLevel
from denoisplit.evaluation.risk import (
    Estimate,
    Probe,
    SquaredErrors,
    areas,
    estimate,
    estimated_errors,
    weighted_mean,
)

Array = npt.NDArray[np.float32]
Result = Literal["split", "denoised, not split", "denoised", "not usable"]

LEAST_GAIN = 0.5  # dB that one prediction must be better than another


class Gain(NamedTuple):
    """Advantage of a prediction over a simpler one."""

    decibels: float | None  # of the mean squared error; None if it has no finite value
    is_better: bool  # by `LEAST_GAIN`, and by more than two standard errors
    is_bound: bool = False  # whether it may be more, as the error is not distinguishable from zero


@dataclass(frozen=True)
class Verdict:
    """Verdict on one structure.

    Attributes
    ----------
    structure : str
    verdict : str
        "split", "denoised, not split" or "not usable"; for a single structure "denoised" or "not
        usable".
    over_blur : float or None
        dB by which the prediction is better than the best blurred input; None: beyond measure.
    over_unsplit : float or None
        The same over the best affine fit of a sum of predictions; None also for one structure.
    sentence : str
        All of it, for the user.
    """

    structure: str
    verdict: Result
    over_blur: float | None
    over_unsplit: float | None
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class Judgement(NamedTuple):
    """Verdict on one structure, and the errors of the predictions that it was compared with."""

    verdict: Verdict
    blurred: Estimate
    unsplit: Estimate | None = None


class _Candidate(NamedTuple):
    """A simpler prediction of one structure, before its affine fit; raw intensity."""

    images: list[Array]  # (Y, X) of each frame
    responses: list[Array] | None  # to the probes, over eps; None with a truth


def judge(
    frames: EvaluationFrames,
    means: Sequence[Array],
    errors: Sequence[SquaredErrors],
    names: Sequence[str],
    probes: Sequence[Probe] | None = None,
    levels: Sequence[NoiseLevel] | None = None,
) -> list[Judgement]:
    """Return the verdict on every structure.

    Parameters
    ----------
    means : sequence of array (C, Y, X)
        Predictions of the frames, raw intensity.
    errors : sequence of SquaredErrors
        Of these predictions.
    names : sequence of str
        Structures in channel order.
    probes, levels
        As in `denoisplit.evaluation.risk.squared_errors`; needed without a truth.
    """
    judgements = []
    known = None if frames.has_truth else probes
    for k, name in enumerate(names):
        own = estimate(errors, k)
        blurred = [_blurred(frames, sigma, known, k) for sigma in BLUR_SIGMAS]
        unsplit = [_summed(means, chosen, known) for chosen in _sums(k, len(names))]
        gains, simpler = [], []
        for candidates in filter(None, (blurred, unsplit)):
            tried = [_affine_errors(frames, errors, c, k, known, levels) for c in candidates]
            best = min(tried, key=lambda other: estimate(other, 0).value)
            gains.append(_gain(errors, k, best, own))
            simpler.append(estimate(best, 0))
        judgements.append(Judgement(_verdict(name, *gains), *simpler))
    return judgements


def _sums(k: int, structures: int) -> Iterator[tuple[int, ...]]:
    """Yield the sets of structure k and one or more others."""
    others = [j for j in range(structures) if j != k]
    for count in range(1, structures):
        for chosen in combinations(others, count):
            yield (k, *chosen)


def _blurred(
    frames: EvaluationFrames, sigma: float, probes: Sequence[Probe] | None, k: int
) -> _Candidate:
    """Return the input after a blur of some px."""
    images = [blur(x, sigma).astype(np.float32) for x in frames.inputs]
    if probes is None:
        return _Candidate(images, None)
    scale = frames.superposition.scale
    return _Candidate(images, [blur(scale * p.noise[k], sigma).astype(np.float32) for p in probes])


def _summed(
    means: Sequence[Array], chosen: tuple[int, ...], probes: Sequence[Probe] | None
) -> _Candidate:
    """Return the sum of some predictions."""
    at = list(chosen)
    images = [m[at].sum(axis=0) for m in means]
    if probes is None:
        return _Candidate(images, None)
    return _Candidate(images, [p.response[at].sum(axis=0) for p in probes])


def _affine_errors(
    frames: EvaluationFrames,
    errors: Sequence[SquaredErrors],
    candidate: _Candidate,
    k: int,
    probes: Sequence[Probe] | None,
    levels: Sequence[NoiseLevel] | None,
) -> list[SquaredErrors]:
    """Fit a candidate to structure k by slope and offset; return its squared errors, (1, Y, X)."""
    references = frames.truth if probes is None else frames.observed
    inside = [e.inside[k] for e in errors]
    own = [  # of the structure alone
        Probe(p.variance[k][None], p.noise[k][None], response[None])
        for p, response in zip(probes or (), candidate.responses or (), strict=True)
    ]
    level = None if levels is None else [levels[k]]

    def flat(images: Sequence[Array]) -> npt.NDArray[np.float64]:
        pixels = [i[w] for i, w in zip(images, inside, strict=True)]
        return np.concatenate(pixels).astype(np.float64)

    image, reference = flat(candidate.images), flat([r[k] for r in references])
    covariance = float(np.mean(image * reference) - image.mean() * reference.mean())
    if own:
        ratios = [1.0 if level is None else level[0](p.variance[0]) for p in own]
        shared = [r * p.covariance[0] for p, r in zip(own, ratios, strict=True)]
        covariance -= float(flat(shared).mean())
    variance = float(image.var())
    slope = covariance / variance if variance > 0 else 0.0
    offset = float(reference.mean()) - slope * float(image.mean())
    affine = []
    for j, pixels in enumerate(candidate.images):
        mean, known = (slope * pixels + offset)[None], references[j][k][None]
        if own:
            probe = replace(own[j], response=slope * own[j].response)
            affine.append(estimated_errors(mean, known, inside[j][None], probe, level))
        else:
            affine.append(SquaredErrors((mean - known) ** 2, inside[j][None]))
    return affine


def _gain(
    errors: Sequence[SquaredErrors], k: int, others: Sequence[SquaredErrors], own: Estimate
) -> Gain:
    """Compare structure k with a simpler prediction of it, pixel by pixel on the same frames."""
    parts = []
    for mine, other in zip(errors, others, strict=True):
        for area in areas(mine.values.shape[1:], len(errors)):
            used = mine.inside[k][area]
            if count := int(used.sum()):
                difference = other.values[0][area][used] - mine.values[k][area][used]
                parts.append((float(difference.mean(dtype=np.float64)), count))
    values, counts = np.array(parts, dtype=np.float64).T
    difference, error = weighted_mean(values, counts)
    # an error that is not distinguishable from zero is replaced by what it is at most
    ours = own.high if own.is_bound else own.value
    theirs = ours + difference
    if theirs <= 0:
        return Gain(None, False)
    decibels = 10 * math.log10(theirs / ours) if ours > 0 else None
    is_better = difference > 2 * error and (decibels is None or decibels >= LEAST_GAIN)
    return Gain(decibels, is_better, own.is_bound)


def _verdict(name: str, over_blur: Gain, over_unsplit: Gain | None = None) -> Verdict:
    """Return result and sentence."""
    blurred = _compared(over_blur, "the best blurred input")
    numbers = over_blur.decibels, over_unsplit.decibels if over_unsplit else None
    if not over_blur.is_better:
        text = f"{name} is not usable: its prediction is {blurred}."
        return Verdict(name, "not usable", *numbers, text)
    if over_unsplit is None:
        return Verdict(name, "denoised", *numbers, f"{name} is denoised: it is {blurred}.")
    unsplit = _compared(over_unsplit, "the unsplit mixture, denoised and rescaled")
    result: Result = "split" if over_unsplit.is_better else "denoised, not split"
    return Verdict(name, result, *numbers, f"{name} is {result}: it is {blurred} and {unsplit}.")


def _compared(gain: Gain, other: str) -> str:
    if gain.decibels is None or (gain.is_bound and not gain.is_better):
        return f"{'' if gain.is_better else 'not measurably '}better than {other}"
    size = f"{abs(gain.decibels):.1f} dB"
    if gain.is_better:
        return f"{'at least ' if gain.is_bound else ''}{size} better than {other}"
    if gain.decibels < 0:
        return f"{size} worse than {other}"
    reason = "not enough" if gain.decibels < LEAST_GAIN else "less than its uncertainty"
    return f"only {size} better than {other}, which is {reason}"
