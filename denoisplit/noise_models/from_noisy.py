"""Route C: pairs from noisy images alone, by a denoiser that is trained on them."""

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
from denoisplit.noise_models.pairs import Pairs, from_denoised
from denoisplit.noise_models.saturation import Image, Mask, limits_of
from denoisplit.noise_models.validity import Correlation

FLAT_BLOCK = 16  # side of the blocks in which the correlation of noise is measured, px
FLAT_SHARE = 0.05  # share of the blocks that are used: those of least variance
FEWEST_BLOCKS = 4
STRUCTURE_RATIO = 1.5  # correlation of structures over one pixel, relative to that over two
MAX_FLAT_PIXELS = 8_000_000
STEP_COST = 3  # time of a training step, relative to denoising its patches


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
        Raw intensity, in the data type of the recording.
    settings, checkpoint
        See `denoisplit.noise2void.train_n2v`.
    seed : int
        Of the training, and of the choice of pixels.
    on_step : callable, optional
        Called with (steps done, total steps); denoising counts as the training steps that take
        the same time.

    Raises
    ------
    InputError
        As `check_noisy`, or if the training diverges.
    """
    px_per_step = STEP_COST * settings.batch * patch_side(frames) ** 2
    each = [max(1, round(frame.size / px_per_step)) for frame in frames]
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
    # the denoiser predicts part of correlated noise, which is then missing in the residuals
    residual, flat = pairs.correlation, flat_correlation(frames)
    return replace(pairs, correlation=(max(residual[0], flat[0]), max(residual[1], flat[1])))


def check_noisy(frames: Sequence[Image]) -> None:
    """Raise `InputError` if `pairs_of_noisy` could not use the frames, before hours are spent.

    They are refused if they are too small, not finite, constant, or saturated everywhere.
    """
    valid = unlimited(frames)
    check_frames(frames, valid)
    moments(frames, valid)


def unlimited(frames: Sequence[Image]) -> list[Mask]:
    """Return which pixels are neither saturated nor clipped; all frames share their limits."""
    limits = limits_of(frames)
    return [limits.inside(frame) for frame in frames]


def flat_correlation(frames: Sequence[Image]) -> Correlation:
    """Estimate the correlation of neighbouring noise values along x and y from the flattest blocks.

    A quadratic surface is subtracted from every block, and the twentieth of the blocks with the
    least variance is used, which contains mostly noise. Remaining structure is as wide as the
    point-spread function, so it correlates over two pixels nearly as much as over one; noise hardly
    does. This contribution is subtracted.
    """
    y, x = (np.ravel(axis) for axis in np.mgrid[:FLAT_BLOCK, :FLAT_BLOCK] / FLAT_BLOCK)
    smooth, _ = np.linalg.qr(np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=1))
    residual = np.empty((0, FLAT_BLOCK**2))
    for frame in frames:
        rows, columns = (side // FLAT_BLOCK for side in frame.shape)
        inner = frame[: rows * FLAT_BLOCK, : columns * FLAT_BLOCK].astype(np.float64)
        grid = inner.reshape(rows, FLAT_BLOCK, columns, FLAT_BLOCK).swapaxes(1, 2)
        blocks = grid.reshape(-1, FLAT_BLOCK**2)
        residual = np.concatenate((residual, blocks - (blocks @ smooth) @ smooth.T))
        if residual.size > MAX_FLAT_PIXELS:
            break
    variance = residual.var(axis=1)
    # blocks of one value contain rounding errors only
    residual = residual[variance > 1e-12 * variance.max(initial=0)]
    if not len(residual):
        return 0.0, 0.0
    count = max(FEWEST_BLOCKS, round(FLAT_SHARE * len(residual)))
    flattest = np.argsort(residual.var(axis=1))[:count]
    flat = residual[flattest].reshape(-1, FLAT_BLOCK, FLAT_BLOCK)
    along_y, along_x = (_noise_correlation(np.moveaxis(flat, axis, -1)) for axis in (1, 2))
    return along_x, along_y


def _noise_correlation(flat: npt.NDArray[np.float64]) -> float:
    """Return the correlation of neighbours along the last axis, less that of structures."""
    one, two = (float((flat[..., :-lag] * flat[..., lag:]).mean()) for lag in (1, 2))
    return (one - STRUCTURE_RATIO * max(two, 0.0)) / float((flat**2).mean())
