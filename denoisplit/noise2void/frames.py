"""The frames that a denoiser is trained on: what is wrong with them, their parts and statistics."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

Frame = npt.NDArray[Any]  # (Y, X), raw units
Mask = npt.NDArray[np.bool_]  # (Y, X)

HELD_OUT = 10  # one part in so many validates


def check_plane(frame: Frame, where: str) -> None:
    """Refuse what is no image plane, or not finite everywhere.

    Raises
    ------
    InputError
    """
    if frame.ndim != 2 or frame.size == 0:
        raise InputError(
            where=where,
            found=f"the shape {frame.shape}",
            expected="a plane (Y, X) with pixels",
            remedy="give one plane",
        )
    wrong = frame.size - int(np.count_nonzero(np.isfinite(frame)))
    if wrong:
        raise InputError(
            where=where,
            found=f"{wrong} pixels that are not finite",
            expected="finite intensities",
            remedy="replace them, or leave the frame out",
        )


def check_frames(frames: Sequence[Frame], valid: Sequence[Mask] | None, patch: int) -> None:
    """Refuse frames that no denoiser can be trained on.

    Raises
    ------
    InputError
    """
    if not frames:
        raise InputError(
            where="N2V training",
            found="no frames",
            expected="one or more",
            remedy="give noisy frames",
        )
    if valid is not None and len(valid) != len(frames):
        raise InputError(
            where="N2V training",
            found=f"{len(valid)} masks of valid pixels for {len(frames)} frames",
            expected="one per frame",
            remedy="give as many, or none",
        )
    for j, frame in enumerate(frames):
        where = f"N2V training, frame {j}"
        check_plane(frame, where)
        if min(frame.shape) < patch:
            raise InputError(
                where=where,
                found=f"{frame.shape[0]} x {frame.shape[1]} px",
                expected=f"at least {patch} x {patch} px",
                remedy="give larger frames, or set a smaller n2v.patch",
            )
        mask = None if valid is None else valid[j]
        if mask is not None and (mask.shape != frame.shape or mask.dtype != np.bool_):
            raise InputError(
                where=where,
                found=f"a mask of valid pixels of shape {mask.shape} and type {mask.dtype}",
                expected=f"shape {frame.shape} and type bool",
                remedy="give one mask value per pixel",
            )
    if valid is not None and not any(mask.any() for mask in valid):
        raise InputError(
            where="N2V training",
            found="no valid pixel",
            expected="pixels to learn from",
            remedy="give frames that are not saturated or clipped",
        )


def moments(frames: Sequence[Frame], valid: Sequence[Mask] | None) -> tuple[float, float]:
    """Mean and std of the valid pixels, raw units.

    Raises
    ------
    InputError
        If they are all equal.
    """
    masks: Sequence[Any] = [...] * len(frames) if valid is None else valid
    n, total, squares = 0, 0.0, 0.0
    for frame, mask in zip(frames, masks, strict=True):
        n += frame[mask].size
        total += float(frame[mask].sum(dtype=np.float64))
    mean = total / n
    for frame, mask in zip(frames, masks, strict=True):
        squares += float(((frame[mask].astype(np.float64) - mean) ** 2).sum())
    std = math.sqrt(squares / n)
    if not std > 1e-6 * abs(mean):  # less than float32 tells apart
        raise InputError(
            where="N2V training",
            found=f"the value {mean:g} in every pixel",
            expected="noisy frames",
            remedy="check the files, or leave the structure out",
        )
    return mean, std


def hold_out(frames: Sequence[Frame], patch: int) -> tuple[list[Frame], list[Frame]]:
    """Part frames for training and validation: the last tenth of the frames, or of the last one.

    Of few frames the last is cut across its longer side; where it is too small for that, it
    validates as a whole, and a single small one does both: the noise of a hidden pixel is not seen.
    """
    *rest, last = frames
    if len(frames) >= HELD_OUT:
        first = len(frames) - len(frames) // HELD_OUT
        return list(frames[:first]), list(frames[first:])
    side = max(last.shape)
    if side < 2 * patch:
        return rest or [last], [last]
    cut = side - max(patch, side // HELD_OUT)
    if last.shape[0] == side:
        return [*rest, last[:cut]], [last[cut:]]
    return [*rest, last[:, :cut]], [last[:, cut:]]


def digest(frames: Sequence[Frame]) -> str:
    """SHA-256 of shapes, types and pixels."""
    found = hashlib.sha256()
    for frame in frames:
        found.update(f"{frame.shape} {frame.dtype.str}".encode())
        found.update(np.ascontiguousarray(frame).tobytes())
    return found.hexdigest()
