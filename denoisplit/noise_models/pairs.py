"""Pairs of signal and observation, from four kinds of images (Ashesh and Jug 2024, S.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from denoisplit.data.synthetic_noise import Address, SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.noise_models.binning import Flat, Index
from denoisplit.noise_models.exposures import check_matching, fit_exposure_line
from denoisplit.noise_models.saturation import (
    Image,
    Limits,
    Mask,
    ceiling_of,
    find_limits,
    grid_step,
    limits_of,
    signal_range,
)
from denoisplit.noise_models.validity import Correlation, check_direction, residual_correlation

MAX_PAIRS = 6_000_000  # a fifth of them is held out
HELD_OUT_RUN = 32  # neighbouring pixels that are held out together
MAX_RESIDUALS = 8_000_000  # pixels on which the correlation of neighbours is measured


@dataclass(frozen=True)
class Pairs:
    """Signals and observations of n single pixels, raw intensity, float64.

    All shots of a pixel are adjacent, pixels in the order of their frames.
    """

    signal: Flat  # (n,)
    observed: Flat  # (n,)
    block: Index  # (n,) number of the block of neighbouring pixels that a pair belongs to
    step: float  # distance of the levels that observations were recorded on; 0 for continuous ones
    source: str  # kind of images that the pairs were made from, in words
    saturated: float = 0.0  # share of the pairs excluded at the upper end of the recording
    clipped: float = 0.0  # share excluded at the lower end
    correlation: Correlation = (0.0, 0.0)  # of neighbouring residuals, along x and y
    # gain and offset by which the signal was brought to the scale of the observation
    line: tuple[float, float] | None = None

    def __len__(self) -> int:
        return self.signal.size

    def split(self, share: float = 0.2, *, seed: int = 0) -> tuple[Pairs, Pairs]:
        """Split into two parts without a common pixel: to fit, and a ``share`` held out."""
        numbers = np.unique(self.block)
        out = np.random.default_rng((seed, 1)).permutation(numbers.size) < int(share * numbers.size)
        held = out[np.searchsorted(numbers, self.block)]
        return self._only(~held), self._only(held)

    def check_noise(self) -> None:
        """Raise `InputError` if observations equal their signals."""
        noise = float(np.std(self.observed - self.signal))
        if noise <= 1e-9 * float(np.std(self.signal)):
            raise InputError(
                "all observations equal their signals, so there is no noise to model",
                where="images",
                remedy="provide images as the camera recorded them, each shot once",
            )

    def _only(self, mask: Mask) -> Pairs:
        return replace(
            self, signal=self.signal[mask], observed=self.observed[mask], block=self.block[mask]
        )


@dataclass(frozen=True)
class _Field:
    """One field of view: its signal, and T observations of it."""

    signal: Flat  # (Y, X)
    observed: Image  # (T, Y, X)
    # pixels at a limit of the signal's own recording, where the signal is unknown
    saturated: Mask | bool = False  # (Y, X)
    clipped: Mask | bool = False  # (Y, X)

    @property
    def known(self) -> Mask:
        """Pixels whose signal is known, (Y, X)."""
        return ~(np.zeros(self.signal.shape, dtype=bool) | self.saturated | self.clipped)


def from_repeats(*, stacks: Sequence[Image], seed: int = 0) -> Pairs:
    """Make pairs from repeats of static scenes (route A); the signal is the mean of the shots.

    The mean m of T shots contains each of them, so y - m has only (T - 1) / T of the noise's
    variance. Observations are therefore m + (y - m) sqrt(T / (T - 1)): their mean over the shots
    is still m, and their variance is exactly the unbiased temporal variance of the pixel.

    Parameters
    ----------
    stacks : sequence of array (T, Y, X)
        Shots of one scene each, T >= 2.
    seed : int
        Of the choice of pixels if there are more than six million pairs.

    Raises
    ------
    InputError
        If a stack has a single shot, or no usable pixels remain.
    """
    fields = []
    for number, stack in enumerate(stacks, 1):
        if stack.ndim != 3 or len(stack) < 2:
            raise InputError(
                where=f"stack {number}",
                found=f"shape {stack.shape}",
                expected="(T, Y, X) with two or more shots of a static scene",
                remedy="provide a stack of shots, or one file per shot",
            )
        fields.append(_Field(stack.mean(axis=0, dtype=np.float64), stack))
    return _pairs(fields, "repeated shots of a static scene", seed, stretch=True)


def from_clean(*, frames: Sequence[Image], noise: SyntheticNoise, seed: int = 0) -> Pairs:
    """Make pairs of clean frames and the same frames with synthetic noise (route B).

    The ``frames`` are (Y, X); ``seed`` is that of the noise, and of the choice of pixels.

    Raises
    ------
    InputError
        If there is no noise to add, or no usable pixels remain.
    """
    if not noise:
        raise InputError(
            "there is no noise to add",
            where="clean",
            remedy="set `synthetic_poisson` or `synthetic_gaussian`",
        )
    observed = [
        noise.observe(frame, Address(seed, "training", 0, k)) for k, frame in enumerate(frames)
    ]
    return from_known(signal=frames, observed=observed, seed=seed)


def from_known(*, signal: Sequence[Image], observed: Sequence[Image], seed: int = 0) -> Pairs:
    """Make pairs as in route B, of frames (Y, X) that already contain synthetic noise.

    No camera truncates these values; an upper clip is part of the simulated process.
    """
    return _pairs(_fields(signal, observed), "clean images and synthetic noise", seed, whole=True)


def from_exposures(*, signal: Sequence[Image], observed: Sequence[Image], seed: int = 0) -> Pairs:
    """Make pairs of long and short exposures of the same fields.

    The long exposure is brought to the scale of the short one by a line. Its own noise then counts
    as noise of the short one.

    Parameters
    ----------
    signal, observed : sequence of array (Y, X)
        Long and short exposures, field by field.

    Raises
    ------
    InputError
        If frames do not match, or the two are swapped or unrelated.
    """
    check_matching(signal, observed)
    limits = [limits_of([frame]) for frame in signal]
    free = [
        limit.inside(s) & limits_of([y]).inside(y)
        for limit, s, y in zip(limits, signal, observed, strict=True)
    ]
    every = 1 + sum(s.size for s in signal) // MAX_PAIRS
    gain, offset = fit_exposure_line(signal, observed, free, every=every)
    s, y = (
        np.concatenate([image[f][::every] for image, f in zip(images, free, strict=True)])
        for images in (signal, observed)
    )
    check_direction(signal=gain * s, observed=y.astype(np.float64))
    fields = [
        _Field(
            gain * s.astype(np.float64) + offset,
            y[None],
            limit.high is not None and s >= limit.high,
            limit.low is not None and s <= limit.low,
        )
        for s, y, limit in zip(signal, observed, limits, strict=True)
    ]
    pairs = _pairs(fields, "pairs of a long and a short exposure", seed)
    return replace(pairs, line=(gain, offset))


def from_denoised(*, denoised: Sequence[Image], noisy: Sequence[Image], seed: int = 0) -> Pairs:
    """Make pairs of noisy frames (Y, X) and the output of a denoiser trained on them (route C).

    Raises
    ------
    InputError
        If frames do not match, or no usable pixels remain.
    """
    check_matching(denoised, noisy)
    return _pairs(_fields(denoised, noisy), "noisy images and their denoised form", seed)


def _fields(signal: Sequence[Image], observed: Sequence[Image]) -> list[_Field]:
    return [_Field(s.astype(np.float64), y[None]) for s, y in zip(signal, observed, strict=True)]


def _pairs(
    fields: Sequence[_Field], source: str, seed: int, *, stretch: bool = False, whole: bool = False
) -> Pairs:
    """Choose pixels, exclude truncated ones, and measure the correlation of residuals."""
    if not fields:
        raise InputError("there are none", where="images", remedy="provide image files")
    total = sum(field.observed.size for field in fields)
    rng = np.random.default_rng((seed, 0))
    parts: list[tuple[Flat, Flat, Flat, Index]] = []
    first = 0
    for field in fields:
        pixels = field.signal.size
        chosen = np.flatnonzero(field.known)
        if total > MAX_PAIRS:
            count = int(chosen.size * MAX_PAIRS / total)
            chosen = np.sort(rng.choice(chosen, count, replace=False))
        shots = len(field.observed)
        s = np.repeat(np.ravel(field.signal)[chosen], shots)
        y = field.observed.reshape(shots, pixels)[:, chosen].T.reshape(-1).astype(np.float64)
        factor = np.sqrt(shots / (shots - 1)) if stretch else 1.0
        block = np.repeat((first + chosen) // HELD_OUT_RUN, shots)
        parts.append((s, y, s + factor * (y - s), block))
        first += pixels + HELD_OUT_RUN
    columns = zip(*parts, strict=True)
    signal, recorded, observed, block = (np.concatenate(column) for column in columns)
    del parts
    unusable = InputError(
        "all pixels are saturated, clipped or of equal signal",
        where="images",
        remedy="use shorter exposures, or an offset that keeps the background above zero",
    )
    if not signal.size:
        raise unusable
    limits = Limits(None, None)
    if not whole:
        limits = find_limits(recorded, signal, ceiling=ceiling_of([f.observed for f in fields]))
    low, high = signal_range(signal, recorded, limits)
    top = (signal >= high) if limits.high is None else (signal >= high) | (recorded >= limits.high)
    foot = (signal <= low) if limits.low is None else (signal <= low) | (recorded <= limits.low)
    keep = ~(top | foot)
    kept = Pairs(
        signal[keep],
        observed[keep],
        block[keep],
        step=grid_step(recorded),
        source=source,
        saturated=_excluded([f.saturated for f in fields], top),
        clipped=_excluded([f.clipped for f in fields], foot & ~top),
        correlation=residual_correlation(list(_residuals(fields, limits, low, high))),
    )
    if not len(kept) or np.ptp(kept.signal) == 0:
        raise unusable
    return kept


def _excluded(signals: Sequence[Mask | bool], pairs: Mask) -> float:
    """Share excluded at a limit of the signal's recording, or else of the observation's."""
    lost = float(np.mean([np.mean(mask) for mask in signals]))
    return lost + (1 - lost) * float(pairs.mean())


def _residuals(fields: Sequence[_Field], limits: Limits, low: float, high: float) -> Iterator[Flat]:
    """Yield images of observation minus signal, NaN where excluded."""
    count = 0
    for field in fields:
        good = field.known & (field.signal > low) & (field.signal < high)
        for shot in field.observed:
            if count >= MAX_RESIDUALS:
                return
            inside = good & limits.inside(shot)
            if inside.any():
                yield np.where(inside, shot - field.signal, np.nan)
                count += shot.size
