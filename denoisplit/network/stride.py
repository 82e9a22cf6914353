"""Total stride of the network; without torch, so that settings are checked quickly."""

from __future__ import annotations


def halvings(levels: int, planes: int = 1, context: str | None = None) -> list[int]:
    """Return how often the side of the patch is halved at each level, level 0 first.

    Parameters
    ----------
    levels : int
        L.
    planes : int
        n, planes of the input. Unless the context is lean, the n - 1 planes of context keep as
        many levels at the side of the patch.
    context : {"lean", "regular", "deep"}, optional
        Use of the planes of context, see `denoisplit.network.context.ContextVSE`.
    """
    full_side = 0 if context == "lean" else planes - 1
    return [max(0, i + 1 - full_side) for i in range(levels)]


def total_stride(levels: int, planes: int = 1, context: str | None = None) -> int:
    """Return the number that the sides of a patch must be multiples of, px; see `halvings`."""
    stride: int = 1 << halvings(levels, planes, context)[-1]
    # of a patch with context the middle half is kept: its quarter has to be a whole number
    return stride if planes == 1 or context == "lean" else max(4, stride)
