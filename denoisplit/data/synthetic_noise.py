"""Seeded synthetic noise, Poisson then Gaussian, fixed per split, structure and frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from denoisplit.errors import InputError

Array = npt.NDArray[np.float32]
MOST_EVENTS = 1e15  # per pixel; NumPy draws from Poisson distributions of means up to 9e18
SPLITS = ("training", "validation", "test", "evaluation")


@dataclass(frozen=True)
class Address:
    """Address of a noise field: equal addresses give equal noise."""

    seed: int
    split: str  # one of SPLITS
    structure: int
    frame: int

    def generator(self, use: int) -> np.random.Generator:
        """Return an independent generator per use (0 Poisson, 1 Gaussian)."""
        parts = (self.seed, SPLITS.index(self.split), self.structure, self.frame, use)
        return np.random.default_rng(parts)


@dataclass(frozen=True)
class SyntheticNoise:
    """Noise added to clean images (paper, section on data; supplement, Table S.3).

    Parameters
    ----------
    poisson_factor : float
        f, raw intensity per event; 0 for no Poisson noise. Adds a variance of f times the signal.
    gaussian_sigma : float
        Standard deviation of the Gaussian noise, raw units (absolute).
    clip : float or None
        Upper clip, applied after Poisson and before Gaussian noise.
    """

    poisson_factor: float = 0.0
    gaussian_sigma: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        for name, value, argument in (
            ("Poisson factor", self.poisson_factor, "synthetic_poisson"),
            ("Gaussian sigma", self.gaussian_sigma, "synthetic_gaussian"),
        ):
            if not (math.isfinite(value) and value >= 0):
                raise InputError(
                    f"the {name} is {value:g}, but must be finite and not negative",
                    where="synthetic noise",
                    remedy=f"correct `{argument}`",
                )

    def __bool__(self) -> bool:
        return self.poisson_factor > 0 or self.gaussian_sigma > 0

    def shot(self, clean: npt.NDArray[np.generic], address: Address) -> Array:
        """Add Poisson noise and clip, without Gaussian noise; raw units, float32."""
        image = clean.astype(np.float32)
        if self.poisson_factor > 0:
            low = float(image.min())
            if low < 0:
                raise InputError(
                    f"Poisson noise cannot be added to the negative value {low:g}",
                    where=f"structure {address.structure + 1}, frame {address.frame}",
                    remedy="subtract less offset, or leave `synthetic_poisson` out",
                )
            if float(image.max()) > MOST_EVENTS * self.poisson_factor:
                raise InputError(
                    f"a pixel of {float(image.max()):.3g} has more than {MOST_EVENTS:g} events of "
                    f"{self.poisson_factor:g} each",
                    where=f"structure {address.structure + 1}, frame {address.frame}",
                    remedy="correct `synthetic_poisson`",
                )
            events = address.generator(0).poisson(image.astype(np.float64) / self.poisson_factor)
            image = (self.poisson_factor * events).astype(np.float32)
        if self.clip is not None:
            image = np.minimum(image, np.float32(self.clip))
        return image

    def observe(self, clean: npt.NDArray[np.generic], address: Address) -> Array:
        """Add all noise to the image (Y, X) of one structure; raw units, float32."""
        image = self.shot(clean, address)
        if self.gaussian_sigma > 0:
            field = address.generator(1).standard_normal(image.shape, dtype=np.float32)
            image = image + np.float32(self.gaussian_sigma) * field
        return image
