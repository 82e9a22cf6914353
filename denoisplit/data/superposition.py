"""Superpose C structures in one image: as their sum, or (as published) their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Superposition:
    """Map C structures to one image, raw units: ``scale * sum_k y_k + shift``.

    A sum of separately recorded structures contains C camera offsets, a recorded image only one:
    the sum of ``offsets`` is subtracted and their mean added.

    Parameters
    ----------
    kind : {"sum", "mean"}
    offsets : tuple of float
        Camera offset of each structure, raw units; its length is C.
    """

    kind: str
    offsets: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in ("sum", "mean"):
            raise ValueError(f"superposition is {self.kind!r}, but must be 'sum' or 'mean'")

    @property
    def scale(self) -> float:
        """Factor on the sum: 1 for kind "sum", 1 / C for "mean"."""
        return 1.0 if self.kind == "sum" else 1.0 / len(self.offsets)

    @property
    def shift(self) -> float:
        """Offset of the result, raw units: removes all but one camera offset from a sum."""
        total = sum(self.offsets)
        return total / len(self.offsets) - total if self.kind == "sum" else 0.0

    def __call__(self, structures: Sequence[Array] | Array) -> Array:
        """Superpose C images of one shape (Y, X), or an array (C, ...); float32."""
        total: Array = np.asarray(structures, dtype=np.float32).sum(axis=0, dtype=np.float32)
        superposed: Array = total * np.float32(self.scale) + np.float32(self.shift)
        return superposed

    def input_statistics(self, pooled_mean: float, pooled_std: float) -> tuple[float, float]:
        """Return mean and std of a superposed image, from those of the pooled structures.

        The normalised input is the same for sum and mean: ``(mean_k y_k - m) / s``.
        """
        g = self.scale * len(self.offsets)
        return g * pooled_mean + self.shift, g * pooled_std
