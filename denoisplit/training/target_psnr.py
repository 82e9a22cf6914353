"""PSNR of noisy targets on the validation patches: a value to choose an epoch by."""

from __future__ import annotations

import torch
from torch import Tensor


class TargetPsnr:
    """PSNR of one epoch in normalised target units, whose peak is the range of the noisy targets.

    The monitored value of muSplit (paper, supplement). It is not the range-invariant PSNR that
    results are judged by: noise that a prediction shares with its target counts for it.
    """

    def __init__(self) -> None:
        # of each batch: pixels of a structure, and per structure (C,) error, least, greatest
        self._batches: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def add(self, targets: Tensor, means: Tensor) -> None:
        """A batch (B, C, P, P) of noisy targets and of predictions."""
        targets, means = targets.detach().float(), means.detach().float()
        over = (0, 2, 3)
        squared = (targets - means).square().sum(dim=over)
        self._batches.append(
            (targets[:, 0].numel(), squared, targets.amin(dim=over), targets.amax(dim=over))
        )

    def of_epoch(self) -> Tensor:
        """Mean over structures, dB; the next epoch begins anew."""
        pixels, squared, low, high = zip(*self._batches, strict=True)
        self._batches = []
        error = torch.stack(squared).sum(dim=0) / sum(pixels)
        span = torch.stack(high).amax(dim=0) - torch.stack(low).amin(dim=0)
        return (10 * torch.log10(span**2 / error)).mean()
