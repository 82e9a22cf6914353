"""PSNR against noisy validation targets, by which the best epoch can be chosen."""

from __future__ import annotations

import torch
from torch import Tensor


class TargetPsnr:
    """PSNR of one validation epoch in normalised units; the peak is the range of the noisy targets.

    The monitored value of muSplit (paper, supplement). It differs from the range-invariant PSNR of
    the evaluation: noise that a prediction shares with its target improves it.
    """

    def __init__(self) -> None:
        # per batch: pixels of one structure; summed squared error, minimum and maximum, each (C,)
        self._batches: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def add(self, targets: Tensor, means: Tensor) -> None:
        """Add a batch (B, C, P, P) of noisy targets and their predictions."""
        targets, means = targets.detach().float(), means.detach().float()
        over = (0, 2, 3)
        squared = (targets - means).square().sum(dim=over)
        self._batches.append(
            (targets[:, 0].numel(), squared, targets.amin(dim=over), targets.amax(dim=over))
        )

    def of_epoch(self) -> Tensor:
        """Return the mean over structures in dB, and start a new epoch."""
        pixels, squared, low, high = zip(*self._batches, strict=True)
        self._batches = []
        error = torch.stack(squared).sum(dim=0) / sum(pixels)
        span = torch.stack(high).amax(dim=0) - torch.stack(low).amin(dim=0)
        return (10 * torch.log10(span**2 / error)).mean()
