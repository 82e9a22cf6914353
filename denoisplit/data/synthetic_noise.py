"""Seeded synthetic noise: Poisson, then Gaussian, drawn once per split, structure and frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

Array = npt.NDArray[np.float32]
SPLITS = ("training", "validation", "test", "evaluation")


@dataclass(frozen=True)
class Address:
    """Which noise field: the same address gives the same noise, everywhere and always."""

    seed: int
    split: str  # one of SPLITS
    structure: int
    frame: int

    def generator(self, use: int) -> np.random.Generator:
        """An independent generator per use (0 Poisson, 1 Gaussian)."""
        parts = (self.seed, SPLITS.index(self.split), self.structure, self.frame, use)
        return np.random.default_rng(parts)


@dataclass(frozen=True)
class SyntheticNoise:
    """Noise added to clean images (paper, section on data; supplement, Table S.3).

    Parameters
    ----------
    poisson_factor : float
        f: raw intensity per event; 0 for no Poisson noise. Adds variance f times the signal.
    gaussian_sigma : float
        Standard deviation of the Gaussian noise, raw units (absolute).
    clip : float or None
        Values above are set to it, after Poisson and before Gaussian noise.
    """

    poisson_factor: float = 0.0
    gaussian_sigma: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("Poisson factor", self.poisson_factor),
            ("Gaussian sigma", self.gaussian_sigma),
        ):
            if not (math.isfinite(value) and value >= 0):
                raise InputError(
                    where="synthetic noise",
                    found=f"a {name} of {value:g}",
                    expected="a finite number, 0 or more",
                    remedy="correct --synthetic-poisson or --synthetic-gaussian",
                )

    def __bool__(self) -> bool:
        return self.poisson_factor > 0 or self.gaussian_sigma > 0

    def shot(self, clean: npt.NDArray[np.generic], address: Address) -> Array:
        """The image after Poisson noise and clip, before Gaussian noise; raw units, float32."""
        image = clean.astype(np.float32)
        if self.poisson_factor > 0:
            low = float(image.min())
            if low < 0:
                raise InputError(
                    where=f"structure {address.structure + 1}, frame {address.frame}",
                    found=f"the value {low:g}",
                    expected="no values below 0 for Poisson noise",
                    remedy="subtract less offset, or leave --synthetic-poisson out",
                )
            events = address.generator(0).poisson(image.astype(np.float64) / self.poisson_factor)
            image = (self.poisson_factor * events).astype(np.float32)
        if self.clip is not None:
            image = np.minimum(image, np.float32(self.clip))
        return image

    def observe(self, clean: npt.NDArray[np.generic], address: Address) -> Array:
        """The noisy image of one structure, (Y, X), raw units, float32."""
        image = self.shot(clean, address)
        if self.gaussian_sigma > 0:
            field = address.generator(1).standard_normal(image.shape, dtype=np.float32)
            image = image + np.float32(self.gaussian_sigma) * field
        return image
