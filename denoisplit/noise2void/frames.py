"""Check, split and summarise the frames that a denoiser is trained on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError
from denoisplit.noise2void.unet import STRIDE

Frame = npt.NDArray[Any]  # (Y, X), raw units
Mask = npt.NDArray[np.bool_]  # (Y, X)

PATCH = 64  # side of a training patch, px; less where a frame is smaller
SMALLEST_PATCH = 16  # px
VALIDATION_SHARE = 10  # one part in so many is held out


def check_plane(frame: Frame, where: str) -> None:
    """Raise `InputError` unless a frame is a plane (Y, X) of finite intensities."""
    if frame.ndim != 2 or frame.size == 0:
        expected = "a plane (Y, X) with at least one pixel"
        raise InputError(where=where, found=f"shape {frame.shape}", expected=expected)
    broken = frame.size - int(np.count_nonzero(np.isfinite(frame)))
    if broken:
        remedy = "replace them or exclude the frame"
        raise InputError(f"{broken} pixels are not finite", where=where, remedy=remedy)


def check_frames(frames: Sequence[Frame], valid: Sequence[Mask] | None) -> None:
    """Raise `InputError` if `denoisplit.noise2void.train_n2v` cannot use these frames (Y, X)."""
    where = "Noise2Void training"
    if not frames:
        raise InputError(where=where, found="no frames", expected="one or more noisy frames")
    if valid is not None and len(valid) != len(frames):
        masks = f"{len(valid)} masks of valid pixels for {len(frames)} frames"
        raise InputError(where=where, found=masks, expected="one mask per frame, or none at all")
    for j, frame in enumerate(frames):
        where = f"Noise2Void training, frame {j}"
        check_plane(frame, where)
        if min(frame.shape) < SMALLEST_PATCH:
            raise InputError(
                where=where,
                found=f"{frame.shape[0]} x {frame.shape[1]} px",
                expected=f"at least {SMALLEST_PATCH} x {SMALLEST_PATCH} px",
                remedy="provide larger frames",
            )
        mask = None if valid is None else valid[j]
        if mask is not None and (mask.shape != frame.shape or mask.dtype != np.bool_):
            kind = f"a mask of valid pixels of shape {mask.shape} and type {mask.dtype}"
            expected = f"shape {frame.shape} and type bool"
            raise InputError(where=where, found=kind, expected=expected)
    if valid is not None and not any(mask.any() for mask in valid):
        raise InputError(
            "all pixels are saturated or clipped",
            where="Noise2Void training",
            remedy="provide frames whose intensities lie within the range of the camera",
        )


def patch_side(frames: Sequence[Frame]) -> int:
    """Side of the training patches, px: `PATCH`, or what the smallest frame can hold."""
    smallest = min(int(min(frame.shape)) for frame in frames)
    return min(PATCH, smallest // STRIDE * STRIDE)


def moments(frames: Sequence[Frame], valid: Sequence[Mask] | None) -> tuple[float, float]:
    """Mean and standard deviation of the valid pixels, raw units; `InputError` if all are equal."""
    masks: Sequence[Any] = [...] * len(frames) if valid is None else valid
    n, total, squares = 0, 0.0, 0.0
    for frame, mask in zip(frames, masks, strict=True):
        n += frame[mask].size
        total += float(frame[mask].sum(dtype=np.float64))
    mean = total / n
    for frame, mask in zip(frames, masks, strict=True):
        squares += float(((frame[mask].astype(np.float64) - mean) ** 2).sum())
    std = math.sqrt(squares / n)
    if not std > 1e-6 * abs(mean):  # below the resolution of float32
        raise InputError(
            f"every pixel has the value {mean:g}",
            where="Noise2Void training",
            remedy="check the files, or leave the structure out",
        )
    return mean, std


def hold_out(frames: Sequence[Frame], patch: int) -> tuple[list[Frame], list[Frame]]:
    """Split frames into training and validation: the last tenth of the frames, or of the last one.

    Of fewer than ten frames, the last one is cut across its longer side. If it is too small to be
    cut, it serves for validation as a whole; a single small frame serves for both, which is
    possible because the noise of a hidden pixel is never an input.
    """
    *rest, last = frames
    if len(frames) >= VALIDATION_SHARE:
        first = len(frames) - len(frames) // VALIDATION_SHARE
        return list(frames[:first]), list(frames[first:])
    side = max(last.shape)
    if side < 2 * patch:
        return rest or [last], [last]
    cut = side - max(patch, side // VALIDATION_SHARE)
    kept, held = np.split(last, [cut], axis=last.shape.index(side))
    return [*rest, kept], [held]


def digest(frames: Sequence[Frame]) -> str:
    """Return the SHA-256 of shapes, types and pixels."""
    sha = hashlib.sha256()
    for frame in frames:
        sha.update(f"{frame.shape} {frame.dtype.str}".encode())
        sha.update(np.ascontiguousarray(frame).tobytes())
    return sha.hexdigest()
