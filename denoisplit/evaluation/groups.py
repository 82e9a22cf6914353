"""Groups of pixels by local intensity, for corrections, intervals, checks and figures.

The local intensity is the decoded mean after a blur: in dark background, groups of the unblurred
mean would be selected by noise. Edges come from validation frames and are stored with the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from denoisplit.network.error_map import local_intensity

Array = npt.NDArray[np.float32]
Flat = npt.NDArray[np.float64]

BRIGHTEST = 0.95  # quantile above which pixels are the brightest group
QUANTILES = (*(i / 10 for i in range(1, 10)), BRIGHTEST)
NARROWEST = 0.002  # of the range: closer centres would make a correction too steep
FEWEST = 0.01  # share of the pixels: smaller groups are shown, but not judged


@dataclass(frozen=True)
class IntensityGroups:
    """Groups of one structure: deciles, the brightest of them in two halves.

    Attributes
    ----------
    edges : array (G - 1,)
        Inner edges, rising; raw intensity.
    centres : array (G,)
        Mean local intensity of each group, rising; raw intensity.
    """

    edges: Flat
    centres: Flat

    def index(self, intensity: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
        """Return the group of each pixel, 0 the darkest."""
        return np.searchsorted(self.edges, intensity, side="right")

    def __len__(self) -> int:
        return len(self.centres)

    def as_dict(self) -> dict[str, list[float]]:
        """Return plain values for JSON."""
        return {"edges": self.edges.tolist(), "centres": self.centres.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IntensityGroups:
        """Restore the values of `as_dict`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If they are missing, not finite, or not in order.
        """
        edges, centres = (np.asarray(values[key], np.float64) for key in ("edges", "centres"))
        shapes = edges.ndim == centres.ndim == 1 and len(centres) == len(edges) + 1
        finite = np.isfinite(edges).all() and np.isfinite(centres).all()
        rising = all((np.diff(v) > 0).all() for v in (edges, centres))
        if not (shapes and finite and rising):
            raise ValueError("edges and centres of intensity groups do not belong together")
        return cls(edges, centres)


def local_intensities(decoded: Sequence[Array]) -> list[Array]:
    """Return the local intensity (C, Y, X) of every frame, from its decoded means."""
    import torch

    with torch.inference_mode():
        return [local_intensity(torch.from_numpy(mean)[None])[0].numpy() for mean in decoded]


def intensity_groups(intensities: Sequence[Array], k: int) -> IntensityGroups:
    """Divide the pixels of structure k into groups; groups that lie too close are merged.

    Parameters
    ----------
    intensities : sequence of array (C, Y, X)
        Local intensities of the validation frames.
    """
    values = np.concatenate([frame[k].ravel() for frame in intensities]).astype(np.float64)
    edges = np.unique(np.quantile(values, QUANTILES))
    narrowest = NARROWEST * float(np.ptp(values))
    while True:
        group = np.searchsorted(edges, values, side="right")
        count = np.bincount(group, minlength=len(edges) + 1)
        total = np.bincount(group, values, minlength=len(edges) + 1)
        if len(edges) == 0:
            return IntensityGroups(edges, total / count)
        centres = total / np.maximum(count, 1)
        close = np.flatnonzero(
            (np.diff(centres) <= narrowest) | (count[1:] == 0) | (count[:-1] == 0)
        )
        if close.size == 0:
            return IntensityGroups(edges, centres)
        edges = np.delete(edges, close[0])
