"""Running mean and standard deviation of posterior samples."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMoments:
    """Running mean and standard deviation of tensors of one shape, by Welford's update."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, value: Tensor) -> None:
        """Add one posterior sample, float32."""
        self.count += 1
        delta = value - self.mean
        self.mean = self.mean + delta / self.count
        self._squares = self._squares + delta * (value - self.mean)

    def std(self, *, antithetic: bool) -> Tensor:
        """Return the standard deviation of the posterior; it needs two samples.

        The divisor is S - 1 for independent samples. The mean of an antithetic pair hardly varies,
        so it is S for antithetic samples (less 1 / S if one is without its partner).
        """
        if self.count < 2:
            raise ValueError(f"{self.count} samples have no standard deviation, expected 2 or more")
        unpaired = self.count % 2
        divisor = self.count - unpaired / self.count if antithetic else self.count - 1
        return torch.sqrt(self._squares / divisor)
