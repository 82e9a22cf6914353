"""Tensors and plain values that ``torch.save`` wrote, read as data and never as code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from denoisplit.errors import InputError


def read_tensors(data: bytes) -> Any:
    """Read tensors and plain values; nothing in them is executed.

    Raises
    ------
    ValueError
        In one line, if it is anything else.
    """
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zipfile and torch, which have errors of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(reason[:80]) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the checkpoint of an interrupted training.

    Raises
    ------
    InputError
        If it is not readable.
    """
    try:
        state = read_tensors(path.read_bytes())
        if not isinstance(state, dict):
            raise ValueError(type(state).__name__)
    except (ValueError, OSError) as error:
        raise InputError(
            where=path,
            found=f"no readable checkpoint ({error})",
            expected="that of the interrupted training",
            remedy="copy it again, or remove it to start from the beginning",
        ) from None
    return state
