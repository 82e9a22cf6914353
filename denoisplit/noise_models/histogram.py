"""Histogram noise model, a non-parametric reference for the goodness of a fit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from denoisplit.noise_models.binning import Flat

EMPTY = 1e-30  # added to every cell
FILLED = 1e-20  # rows with a larger sum are normalised
LAST_INDEX_GAP = 1e-3  # indices stay below `bins - 1`, so that a row above always exists


class HistogramModel:
    """Table of p(observed | signal) over a common range of both (Krull et al. 2020).

    The density is the share of a cell divided by its width. The index of the observation is
    floored; the density is linearly interpolated between the rows below and above the signal. Both
    indices are clamped to the table.

    Parameters
    ----------
    signal, observed : array (n,)
        Pairs to count; raw intensity.
    bins : int
        Number of rows (signals) and of columns (observations).
    """

    def __init__(self, signal: Flat, observed: Flat, *, bins: int = 100) -> None:
        low, high = (float(end([end(signal), end(observed)])) for end in (np.min, np.max))
        row, column = (
            np.minimum((values - low) / (high - low) * bins, bins - 1).astype(np.int64)
            for values in (signal, observed)
        )
        counts = np.bincount(row * bins + column, minlength=bins**2).reshape(bins, bins)
        table = counts + EMPTY
        total = table.sum(axis=1, keepdims=True)
        shares = np.where(total > FILLED, table / total, table)
        self.shares = torch.as_tensor(shares, dtype=torch.float32)
        self.min_value = torch.tensor(low, dtype=torch.float32)
        self.width = (torch.tensor(high, dtype=torch.float32) - self.min_value) / bins

    def log_prob(self, observed: Tensor, signal: Tensor) -> Tensor:
        """Log density of each observation, (n,) -> (n,), float32; per raw unit."""
        column = self._index(observed.float()).long()
        index = self._index(signal.float())
        row = index.floor()
        share, row = index - row, row.long()
        lower, upper = self.shares[row, column], self.shares[row + 1, column]
        return torch.log((1 - share) * lower + share * upper) - torch.log(self.width)

    def _index(self, values: Tensor) -> Tensor:
        """Return the position in the table, as a real number."""
        last = len(self.shares) - 1 - LAST_INDEX_GAP
        return ((values - self.min_value) / self.width).clamp(0, last)
