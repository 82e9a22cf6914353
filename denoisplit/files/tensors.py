"""Reading of ``torch.save`` files, which executes nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from denoisplit.errors import InputError


def read_tensors(data: bytes) -> Any:
    """Read tensors and plain values.

    Raises
    ------
    ValueError
        With one line, if the data are damaged or of other types.
    """
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zipfile or torch
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(reason[:80]) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the checkpoint of an interrupted training.

    Raises
    ------
    InputError
        If it is unreadable.
    """
    try:
        state = read_tensors(path.read_bytes())
        if not isinstance(state, dict):
            raise ValueError(type(state).__name__)
    except (ValueError, OSError) as error:
        problem = f"this checkpoint is unreadable ({error})"
        remedy = "copy it again, or remove it to start the training from the beginning"
        raise InputError(problem, where=path, remedy=remedy) from None
    return state
