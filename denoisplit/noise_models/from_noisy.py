"""Route C: noisy images alone -> pairs, by a denoiser that is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from denoisplit.config.groups import N2VSettings
from denoisplit.noise2void import train_n2v
from denoisplit.noise2void.frames import check_frames, moments, patch_side
from denoisplit.noise_models.fit import OnStep
from denoisplit.noise_models.pairs import Image, Pairs, from_denoised
from denoisplit.noise_models.saturation import limits_of
from denoisplit.noise_models.validity import Correlation

Mask = npt.NDArray[np.bool_]

BLOCK = 16  # side of the blocks that the correlation of noise is measured in, px
FLAT = 0.05  # share of the blocks, those of least variance
FEWEST = 4  # blocks
WIDE = 1.5  # times what structures correlate over two pixels, they do over one
ENOUGH = 8_000_000  # pixels
STEP = 3  # times what it takes to denoise a patch, a step of training takes for it


def pairs_of_noisy(
    frames: Sequence[Image],
    settings: N2VSettings,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> Pairs:
    """Train Noise2Void on noisy frames of one structure, and pair them with its output.

    Parameters
    ----------
    frames : sequence of array (Y, X)
        Raw intensity, in the data type that they were recorded in.
    settings : N2VSettings
    seed : int
        Of the training, and of the choice of pixels.
    checkpoint : Path, optional
        See `denoisplit.noise2void.train_n2v`.
    on_step : callable, optional
        Called with (steps done, steps in all); to denoise frames counts as the steps of a training
        that take as long.

    Raises
    ------
    InputError
        What `check_noisy` refuses, or if the training diverges.
    """
    of_step = STEP * settings.batch * patch_side(frames) ** 2  # px
    each = [max(1, round(frame.size / of_step)) for frame in frames]
    trained = 0

    def on_training(done: int, total: int) -> None:
        nonlocal trained
        trained = total
        if on_step is not None:
            on_step(done, total + sum(each))

    denoiser = train_n2v(
        frames,
        settings,
        seed=seed,
        valid=unlimited(frames),
        checkpoint=checkpoint,
        on_step=on_training,
    )
    denoised = []
    for number, frame in enumerate(frames, start=1):
        denoised.append(denoiser.denoise(frame))
        if on_step is not None:
            on_step(trained + sum(each[:number]), trained + sum(each))
    pairs = from_denoised(denoised=denoised, noisy=frames, seed=seed)
    # correlated noise is in part predicted from its neighbours, and then lacks in the residuals
    residual, flat = pairs.correlation, flat_correlation(frames)
    return replace(pairs, correlation=(max(residual[0], flat[0]), max(residual[1], flat[1])))


def check_noisy(frames: Sequence[Image]) -> None:
    """Refuse frames of which `pairs_of_noisy` could make nothing, before any time is spent.

    Raises
    ------
    InputError
        If they are too small, not finite, all of one value, or saturated all over.
    """
    valid = unlimited(frames)
    check_frames(frames, valid)
    moments(frames, valid)


def unlimited(frames: Sequence[Image]) -> list[Mask]:
    """Which pixels are neither saturated nor clipped; all frames together have their limits."""
    limits = limits_of(frames)
    return [limits.inside(frame) for frame in frames]


def flat_correlation(frames: Sequence[Image]) -> Correlation:
    """Correlation of neighbouring noise values along x and y, where images are flattest.

    A curved surface is taken out of every block of 16 px, and the twentieth of least variance is
    looked at: what is left there is mostly noise. What is left of structures is as wide as the
    optics make it, so it correlates over two pixels nearly as much as over one, which noise hardly
    does: that is subtracted.
    """
    y, x = (np.ravel(axis) for axis in np.mgrid[:BLOCK, :BLOCK] / BLOCK)
    smooth, _ = np.linalg.qr(np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=1))
    residual = np.empty((0, BLOCK**2))
    for frame in frames:
        rows, columns = (side // BLOCK for side in frame.shape)
        inner = frame[: rows * BLOCK, : columns * BLOCK].astype(np.float64)
        blocks = inner.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK**2)
        residual = np.concatenate((residual, blocks - (blocks @ smooth) @ smooth.T))
        if residual.size > ENOUGH:
            break
    variance = residual.var(axis=1)
    # blocks of one value hold no noise, but errors of rounding
    residual = residual[variance > 1e-12 * variance.max(initial=0)]
    if not len(residual):
        return 0.0, 0.0
    flattest = np.argsort(residual.var(axis=1))[: max(FEWEST, round(FLAT * len(residual)))]
    flat = residual[flattest].reshape(-1, BLOCK, BLOCK)
    along_y, along_x = (_of_noise(np.moveaxis(flat, axis, -1)) for axis in (1, 2))
    return along_x, along_y


def _of_noise(flat: npt.NDArray[np.float64]) -> float:
    """Correlation of neighbours along the last axis, less what structures have of it."""
    one, two = (float((flat[..., :-lag] * flat[..., lag:]).mean()) for lag in (1, 2))
    return (one - WIDE * max(two, 0.0)) / float((flat**2).mean())
