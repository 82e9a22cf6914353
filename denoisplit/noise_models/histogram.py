"""Histogram noise model: p(observed | signal) per pixel as a table (Krull et al. 2020)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from denoisplit.errors import InputError
from denoisplit.files.npz import read_arrays
from denoisplit.noise_models.binning import Flat, flat_pairs
from denoisplit.noise_models.validity import check_direction

KEYS = ("histogram", "min_value", "max_value")
EMPTY = 1e-30  # added to every cell
FILLED = 1e-20  # sum from which on a row is normalised
REACH = 1e-3  # the last index, that of `bins - 1`, is not quite reached
CHUNK = 100_000  # samples that are drawn at once


class HistogramModel(nn.Module):
    """Shares of the observations, for signals and observations on one common range.

    The density is the share of the cell divided by its width. The index of the observation is
    floored, that of the signal interpolated between two rows, so the density is differentiable in
    the signal. Both indices are clamped to the table.

    Parameters
    ----------
    histogram : array (bins, bins)
        Shares: one row per signal, one column per observation; filled rows sum to 1.
    min_value, max_value : float
        The common range, raw intensity.
    """

    histogram: Tensor
    min_value: Tensor
    max_value: Tensor
    moments: Tensor
    shares: Tensor

    def __init__(self, histogram: npt.ArrayLike, min_value: float, max_value: float) -> None:
        super().__init__()
        table = np.asarray(histogram, dtype=np.float64)
        if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
            raise ValueError(f"histogram has shape {table.shape}, expected (bins, bins)")
        limits = np.isfinite([min_value, max_value]).all() and max_value > min_value
        if not (limits and np.isfinite(table).all() and (table > 0).all()):
            raise ValueError(
                f"shares must be finite and positive, max_value ({max_value}) above min_value "
                f"({min_value})"
            )
        bins = len(table)
        centre = (np.arange(bins) + 0.5) / bins - 0.5
        # of a cell the observations are spread evenly
        powers = (np.ones(bins), centre, centre**2 + 1 / (12 * bins**2))
        for name, value, kind in (
            ("histogram", table, torch.float32),
            ("min_value", min_value, torch.float32),
            ("max_value", max_value, torch.float32),
            ("moments", table @ np.stack(powers, axis=1), torch.float64),  # in units of the range
            ("shares", np.cumsum(table, axis=1) / table.sum(axis=1, keepdims=True), torch.float32),
        ):
            self.register_buffer(name, torch.as_tensor(value, dtype=kind))

    @property
    def bins(self) -> int:
        """Number of rows, and of columns."""
        return self.histogram.shape[0]

    @property
    def width(self) -> Tensor:
        """Width of a cell, raw intensity."""
        return (self.max_value - self.min_value) / self.bins

    def log_prob(self, observed: Tensor, signal: Tensor) -> Tensor:
        """log p(observed | signal), elementwise and broadcasting; raw units, float32."""
        observed, signal = torch.broadcast_tensors(observed.float(), signal.float())
        column = self._index(observed).long()
        row, share = self._rows(signal)
        lower, upper = self.histogram[row, column], self.histogram[row + 1, column]
        return torch.log((1 - share) * lower + share * upper) - torch.log(self.width)

    def variance(self, signal: Tensor) -> Tensor:
        """Variance of the observation given the signal, raw units squared."""
        row, share = self._rows(signal.float())
        weight = share.double()[..., None]
        total, first, second = (
            (1 - weight) * self.moments[row] + weight * self.moments[row + 1]
        ).unbind(dim=-1)
        span = (self.max_value - self.min_value).double()
        return (span**2 * (second / total - (first / total) ** 2)).float()

    def sample(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one observation per signal value; randomness is passed in."""
        signal = signal.float()
        row, share = self._rows(signal.flatten())
        which, where, within = torch.rand(
            (3, row.numel()), generator=generator, device=signal.device
        )
        row = row + (which < share)
        # chunk by chunk, as every value is compared with a row of the table
        columns = [
            torch.searchsorted(self.shares[rows], values[:, None], right=True)[:, 0]
            for rows, values in zip(row.split(CHUNK), where.split(CHUNK), strict=True)
        ]
        column = torch.cat(columns).clamp(max=self.bins - 1)
        drawn: Tensor = self.min_value + self.width * (column + within)
        return drawn.reshape(signal.shape)

    def _index(self, values: Tensor) -> Tensor:
        """Place in the table, as a real number."""
        return ((values - self.min_value) / self.width).clamp(0, self.bins - 1 - REACH)

    def _rows(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """The row below each signal, and the share of the row above it."""
        index = self._index(signal)
        row = index.detach().floor()
        return row.long(), index - row

    @classmethod
    def fit(
        cls, *, signal: npt.ArrayLike, observed: npt.ArrayLike, bins: int = 100
    ) -> HistogramModel:
        """Count pairs of signal and observation.

        Parameters
        ----------
        signal, observed : array
            Of one shape; raw intensity.
        bins : int
            Of the signals and of the observations.

        Raises
        ------
        ValueError
            If shapes differ, values are not finite, or all are the same.
        InputError
            If signal and observation are swapped.
        """
        s, y = flat_pairs(signal, observed)
        check_direction(signal=s, observed=y)
        return cls.counted(s, y, bins=bins)

    @classmethod
    def counted(cls, s: Flat, y: Flat, *, bins: int = 100) -> HistogramModel:
        """`fit` of pairs that are known to be such."""
        low, high = (float(f([f(s), f(y)])) for f in (np.min, np.max)) if s.size else (0.0, 0.0)
        if low == high:
            raise ValueError("all values are the same: a noise model needs a range")
        row, column = (
            np.minimum((values - low) / (high - low) * bins, bins - 1).astype(np.int64)
            for values in (s, y)
        )
        counts = np.bincount(row * bins + column, minlength=bins**2).reshape(bins, bins)
        table = counts + EMPTY
        total = table.sum(axis=1, keepdims=True)
        return cls(np.where(total > FILLED, table / total, table), low, high)

    def to_bytes(self) -> bytes:
        """The model as an .npz file without pickles."""
        buffer = io.BytesIO()
        arrays = {key: getattr(self, key).cpu().numpy() for key in KEYS}
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> HistogramModel:
        """Read what `to_bytes` gave; nothing in it is executed.

        Raises
        ------
        InputError
            If the file is missing, no such archive, or its arrays do not fit together.
        """
        remedy = "give a histogram noise model (.npz) of this program"
        arrays = read_arrays(path, KEYS, "a histogram noise model", remedy)
        try:
            low, high = (float(arrays[key].reshape(-1)[0]) for key in KEYS[1:])
            return cls(arrays["histogram"], low, high)
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(
                where=path, found=str(error), expected=f"arrays {', '.join(KEYS)}", remedy=remedy
            ) from None
