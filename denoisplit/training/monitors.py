"""Values by which the best epoch can be chosen: PSNR against noisy targets, and estimated risk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from denoisplit.evaluation.risk import STEP
from denoisplit.noise_models import GaussianMixture


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


def estimated_risk(
    predict: Callable[[Tensor], Tensor],
    raw: Tensor,
    targets: Tensor,
    noise_models: Sequence[GaussianMixture],
    scale: float,
) -> Tensor:
    """Estimate the mean squared error of a batch without truth, per structure (C,).

    Stein's estimate, see `denoisplit.evaluation.risk`. One probe, the sum of those of all
    structures, replaces one for each: they are independent, so it remains unbiased.

    Parameters
    ----------
    predict : callable, (B, 1, P, P) -> (B, C, P, P)
        From superposed images to structures, raw intensity; without randomness.
    raw, targets : Tensor (B, 1, P, P) and (B, C, P, P)
        Superposed image, and the noisy structures in it; raw intensity.
    noise_models : sequence of GaussianMixture
        One per structure.
    scale : float
        Factor of the superposition on the sum of the structures.
    """
    means = predict(raw)
    models = enumerate(noise_models)
    variance = torch.stack([model.variance(means[:, k]) for k, model in models], dim=1)
    probe = variance.sqrt() * torch.randn(means.shape, device=means.device)
    response = (predict(raw + STEP * scale * probe.sum(dim=1, keepdim=True)) - means) / STEP
    risk = (means - targets).square() - variance + 2 * probe * response
    return risk.mean(dim=(0, 2, 3))
