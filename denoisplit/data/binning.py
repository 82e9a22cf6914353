"""Crops as a camera with pixels of twice the side would have taken them.

A sum of 2 x 2 pixels is brighter and denser than what the frames show at full size. Where the
variance of the noise is a straight line, ``gain * (signal - zero)``, that of the sum is
``gain * (sum - 4 * zero)``, the law of ``sum - 3 * zero``. So the noise models hold for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.noise_models.cells import straight_line
from denoisplit.noise_models.gmm import GaussianMixture

Array = npt.NDArray[np.float32]

BEYOND = 0.01  # share of a sum's pixels that may be brighter than the noise model knows
PLACES = 64  # signals between which the line is fitted


@dataclass(frozen=True)
class Binning:
    """How many crops are sums of 2 x 2 pixels, and what keeps them within the noise models.

    Parameters
    ----------
    share : float
        Of the crops; those that would be too bright stay as they are.
    zeros : sequence of float
        Signal at which the line of the noise's variance is 0, raw intensity, per structure.
    limits : sequence of float
        Brightest signal that the noise model knows, raw intensity, per structure.
    """

    share: float
    zeros: Sequence[float]
    limits: Sequence[float]

    def sums(self, crops: Sequence[Array], structures: Sequence[int]) -> list[Array] | None:
        """Crops of 2P x 2P px -> (P, P) each; None if one is too bright for its noise model."""
        found = []
        for crop, k in zip(crops, structures, strict=True):
            side = len(crop) // 2
            four = crop.reshape(side, 2, side, 2).sum(axis=(1, 3), dtype=np.float32)
            found.append(four - np.float32(3 * self.zeros[k]))
            if (found[-1] > self.limits[k]).mean() > BEYOND:
                return None
        return found


def binning_of(models: Sequence[GaussianMixture], share: float) -> Binning | None:
    """What the noise models allow; None without any, or where a dark sum is too bright already.

    The latter is so where the noise is mostly that of reading out: it adds up with the pixels.
    """
    zeros, limits = [], []
    for model in models:
        low, high = model.min_signal.item(), model.max_signal.item()
        signal = torch.linspace(low, high, PLACES)
        variance = model.variance(signal.to(model.weight.device)).double().cpu().numpy()
        gain, offset = straight_line(signal.double().numpy(), variance, np.ones(PLACES), variance)
        zeros.append(-offset / gain if gain > 0 else -np.inf)
        limits.append(high)
        if 4 * low - 3 * zeros[-1] > high:
            return None
    return Binning(share, zeros, limits) if models and share else None
