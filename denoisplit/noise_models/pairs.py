"""Pairs of signal and observation, by the routes there are to them (Ashesh and Jug 2024, S.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from denoisplit.data.synthetic_noise import Address, SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.noise_models.exposures import check_matching, fit_exposure_line
from denoisplit.noise_models.saturation import (
    Limits,
    ceiling_of,
    find_limits,
    grid_step,
    limits_of,
    signal_range,
)
from denoisplit.noise_models.validity import Correlation, check_direction, residual_correlation

Image = npt.NDArray[Any]
Flat = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_PAIRS = 6_000_000  # a fifth of them is held out
BLOCK = 32  # neighbouring pixels that are held out together
MAX_RESIDUALS = 8_000_000  # pixels that the correlation of neighbours is measured on


@dataclass(frozen=True)
class Pairs:
    """Signals and observations of single pixels, raw intensity.

    Attributes
    ----------
    signal, observed : array (n,)
        float64. All shots of a pixel stand together, pixels in the order of their frames.
    block : array (n,)
        Number of the block of neighbouring pixels that a pair is from.
    step : float
        Distance of the levels that observations were recorded on; 0 for continuous ones.
    source : str
        The route, in words.
    saturated, clipped : float
        Shares of the pairs left out at the upper and at the lower end of the recording.
    correlation : tuple of float
        Of neighbouring residuals, along x and y.
    line : tuple of float or None
        Gain and offset by which the signal was brought to the scale of the observation.
    """

    signal: Flat
    observed: Flat
    block: npt.NDArray[np.int64]
    step: float
    source: str
    saturated: float = 0.0
    clipped: float = 0.0
    correlation: Correlation = (0.0, 0.0)
    line: tuple[float, float] | None = None

    def __len__(self) -> int:
        return self.signal.size

    def split(self, share: float = 0.2, *, seed: int = 0) -> tuple[Pairs, Pairs]:
        """Two parts without a common pixel: to fit, and a ``share`` of blocks held out."""
        numbers = np.unique(self.block)
        out = np.random.default_rng((seed, 1)).permutation(numbers.size) < int(share * numbers.size)
        held = out[np.searchsorted(numbers, self.block)]
        return self._only(~held), self._only(held)

    def check_noise(self) -> None:
        """Refuse observations that equal their signals.

        Raises
        ------
        InputError
        """
        noise = float(np.std(self.observed - self.signal))
        if noise <= 1e-9 * float(np.std(self.signal)):
            raise InputError(
                where="observations",
                found="values that equal their signals",
                expected="noise",
                remedy="give images as the camera recorded them, each shot once",
            )

    def _only(self, mask: Mask) -> Pairs:
        return replace(
            self, signal=self.signal[mask], observed=self.observed[mask], block=self.block[mask]
        )


@dataclass(frozen=True)
class _Scene:
    signal: Flat  # (Y, X)
    observed: Image  # (T, Y, X)
    # of the signal's own recording: pixels at a limit have no known signal
    saturated: Mask | None = None  # (Y, X)
    clipped: Mask | None = None  # (Y, X)

    @property
    def known(self) -> Mask:
        """Where the signal is known, (Y, X)."""
        known = np.ones(self.signal.shape, dtype=bool)
        for lost in (self.saturated, self.clipped):
            if lost is not None:
                known &= ~lost
        return known


def from_repeats(*, stacks: Sequence[Image], seed: int = 0) -> Pairs:
    """Route A: shots of static scenes; the signal is the pixel mean of the shots.

    The mean m of T shots holds each of them, so y - m has only (T - 1) / T of the noise's variance.
    Observations are therefore m + (y - m) sqrt(T / (T - 1)): their mean over the shots stays m,
    and their variance is the unbiased temporal variance of the pixel, exactly.

    Parameters
    ----------
    stacks : sequence of array (T, Y, X)
        One per scene, T >= 2.
    seed : int
        Of the choice of pixels where there are more than six million pairs.

    Raises
    ------
    InputError
        If a stack has one shot only, or nothing is left to fit to.
    """
    scenes = []
    for number, stack in enumerate(stacks, 1):
        if stack.ndim != 3 or len(stack) < 2:
            raise InputError(
                where=f"scene {number}",
                found=f"shape {stack.shape}",
                expected="two shots or more of one static scene",
                remedy="give a stack of shots, or one file per shot",
            )
        scenes.append(_Scene(stack.mean(axis=0, dtype=np.float64), stack))
    return _pairs(scenes, "repeated shots of a static scene", seed, stretch=True)


def from_clean(*, frames: Sequence[Image], noise: SyntheticNoise, seed: int = 0) -> Pairs:
    """Route B: clean frames, and the same frames with synthetic noise.

    Parameters
    ----------
    frames : sequence of array (Y, X)
    noise : SyntheticNoise
    seed : int
        Of the noise, and of the choice of pixels.

    Raises
    ------
    InputError
        If there is no noise to add, or nothing is left to fit to.
    """
    if not noise:
        raise InputError(
            where="clean images",
            found="no noise to add",
            expected="Poisson or Gaussian noise",
            remedy="give --synthetic-poisson or --synthetic-gaussian",
        )
    scenes = [
        _Scene(f.astype(np.float64), noise.observe(f, Address(seed, "training", 0, k))[None])
        for k, f in enumerate(frames)
    ]
    # no camera cuts these off; what the process clips belongs to it
    return _pairs(scenes, "clean images and synthetic noise", seed, whole=True)


def from_known(*, signal: Sequence[Image], observed: Sequence[Image], seed: int = 0) -> Pairs:
    """As route B, of frames to which synthetic noise was added already.

    Parameters
    ----------
    signal, observed : sequence of array (Y, X)
    seed : int
        Of the choice of pixels.
    """
    scenes = [_Scene(s.astype(np.float64), y[None]) for s, y in zip(signal, observed, strict=True)]
    return _pairs(scenes, "clean images and synthetic noise", seed, whole=True)


def from_exposures(*, signal: Sequence[Image], observed: Sequence[Image], seed: int = 0) -> Pairs:
    """Long and short exposures of the same fields.

    The long exposure is brought to the scale of the short one by a straight line; what it has of
    noise itself counts as noise of the short one then.

    Parameters
    ----------
    signal, observed : sequence of array (Y, X)
        Long and short exposures, field by field.
    seed : int
        Of the choice of pixels.

    Raises
    ------
    InputError
        If frames do not match, the two are swapped or have nothing to do with each other.
    """
    check_matching(signal, observed)
    ends = [limits_of([frame]) for frame in signal]
    free = [
        end.inside(s) & limits_of([y]).inside(y)
        for end, s, y in zip(ends, signal, observed, strict=True)
    ]
    every = 1 + sum(s.size for s in signal) // MAX_PAIRS
    gain, offset = fit_exposure_line(signal, observed, free, every=every)
    s, y = (
        np.concatenate([image[f][::every] for image, f in zip(images, free, strict=True)])
        for images in (signal, observed)
    )
    check_direction(signal=gain * s, observed=y.astype(np.float64))
    scenes = [
        _Scene(
            gain * s.astype(np.float64) + offset,
            y[None],
            None if end.high is None else s >= end.high,
            None if end.low is None else s <= end.low,
        )
        for s, y, end in zip(signal, observed, ends, strict=True)
    ]
    found = _pairs(scenes, "pairs of a long and a short exposure", seed)
    return replace(found, line=(gain, offset))


def from_denoised(*, denoised: Sequence[Image], noisy: Sequence[Image], seed: int = 0) -> Pairs:
    """Route C: noisy frames, and what a denoiser trained on them makes of them.

    Parameters
    ----------
    denoised, noisy : sequence of array (Y, X)
    seed : int
        Of the choice of pixels.

    Raises
    ------
    InputError
        If frames do not match, or nothing is left to fit to.
    """
    check_matching(denoised, noisy)
    scenes = [_Scene(s.astype(np.float64), y[None]) for s, y in zip(denoised, noisy, strict=True)]
    return _pairs(scenes, "noisy images and their denoised form", seed)


def _pairs(
    scenes: Sequence[_Scene], source: str, seed: int, *, stretch: bool = False, whole: bool = False
) -> Pairs:
    """Choose pixels, leave out what the recording cut off, measure the correlation."""
    if not scenes:
        raise InputError(
            where="images", found="none", expected="one or more", remedy="give image files"
        )
    total = sum(scene.observed.size for scene in scenes)
    rng = np.random.default_rng((seed, 0))
    parts: list[tuple[Flat, Flat, Flat, npt.NDArray[np.int64]]] = []
    first = 0
    for scene in scenes:
        pixels = scene.signal.size
        chosen = np.flatnonzero(scene.known)
        if total > MAX_PAIRS:
            count = int(chosen.size * MAX_PAIRS / total)
            chosen = np.sort(rng.choice(chosen, count, replace=False))
        shots = len(scene.observed)
        s = np.repeat(np.ravel(scene.signal)[chosen], shots)
        y = scene.observed.reshape(shots, pixels)[:, chosen].T.reshape(-1).astype(np.float64)
        factor = np.sqrt(shots / (shots - 1)) if stretch else 1.0
        parts.append((s, y, s + factor * (y - s), np.repeat((first + chosen) // BLOCK, shots)))
        first += pixels + BLOCK
    columns = zip(*parts, strict=True)
    signal, recorded, observed, block = (np.concatenate(column) for column in columns)
    del parts
    if not signal.size:
        _nothing_left()
    limits = Limits(None, None)
    if not whole:
        limits = find_limits(recorded, signal, ceiling=ceiling_of([s.observed for s in scenes]))
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
        saturated=_share([s.saturated for s in scenes], top),
        clipped=_share([s.clipped for s in scenes], foot & ~top),
        correlation=residual_correlation(list(_residuals(scenes, limits, low, high))),
    )
    if not len(kept) or np.ptp(kept.signal) == 0:
        _nothing_left()
    return kept


def _nothing_left() -> NoReturn:
    raise InputError(
        where="images",
        found="no pixels of differing signal that are neither saturated nor clipped",
        expected="a range of intensities within that of the camera",
        remedy="expose shorter, or take an offset that keeps the background above zero",
    )


def _share(signals: Sequence[Mask | None], pairs: Mask) -> float:
    """Share left out for the signal's recording, and of the rest for the observation's."""
    lost = float(np.mean([0.0 if mask is None else mask.mean() for mask in signals]))
    return lost + (1 - lost) * float(pairs.mean())


def _residuals(
    scenes: Sequence[_Scene], limits: Limits, low: float, high: float
) -> Iterator[npt.NDArray[np.float64]]:
    """Images of observation minus signal, NaN where it was left out."""
    seen = 0
    for scene in scenes:
        good = scene.known & (scene.signal > low) & (scene.signal < high)
        for shot in scene.observed:
            if seen >= MAX_RESIDUALS:
                return
            inside = good & limits.inside(shot)
            if inside.any():
                yield np.where(inside, shot - scene.signal, np.nan)
                seen += shot.size
