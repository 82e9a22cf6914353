"""Posterior samples of one patch with addressed noise, and the options of sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denoisplit.network.addressed_noise import (
    addressed_noise,
    content_keys,
    normal_table,
    position_keys,
)
from denoisplit.network.vse import VSE
from denoisplit.prediction.moments import RunningMoments
from denoisplit.prediction.tiles import pixels_that_fit

NoiseAddress = Literal["position", "content"]

MIN_DRAWS = 4  # before the standard error of a mean is used
# pixels decoded at once; larger batches are slower (CPU caches) or no faster (GPU)
BATCH_PIXELS = {"cpu": 256**2, "cuda": 32 * 384**2}


@dataclass(frozen=True)
class Sampling:
    """Options of posterior sampling.

    Parameters
    ----------
    samples : int
        S, number of posterior samples; 0 for a preview, the decoded means of the latents.
    seed : int
        Random seed; sample k of a seed is the same image with every tiling.
    antithetic : bool
        Draw in pairs eps, -eps.
    address : {"position", "content"}
        Address of eps: the place in the frame, or the image content around it.
    quantum : float
        For content addresses: the step of the quantised raw intensities.
    keep : int
        Number of samples to return, beside mean and std.
    tolerance : float
        Raw intensity. A tile draws no more samples when the standard error of its mean (root mean
        square over the pixels, every structure) is at most this; 0 draws all samples.
    """

    samples: int = 50
    seed: int = 0
    antithetic: bool = True
    address: NoiseAddress = "position"
    quantum: float = 1.0
    keep: int = 0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= self.samples:
            raise ValueError(f"keep is {self.keep}, expected 0 to samples ({self.samples})")
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(f"tolerance is {self.tolerance}, expected 0 or more")
        if self.address not in ("position", "content"):
            raise ValueError(f"address is {self.address!r}, expected 'position' or 'content'")

    @property
    def preview(self) -> Sampling:
        """The same without samples: the decoded means of the latents."""
        return replace(self, samples=0, keep=0, tolerance=0.0)


def sample_names(structures: Sequence[str], samples: int) -> list[str]:
    """Return the channel names of consecutive samples of all structures: A_1, B_1, A_2, ..."""
    return [f"{name}_{k}" for k in range(1, samples + 1) for name in structures]


class Convergence:
    """Standard error of a tile's mean, compared to the tolerance after every sample."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        # an antithetic pair is one draw: its mean varies less than that of two independent samples
        self.samples_per_draw = 2 if sampling.antithetic else 1
        self.draws = RunningMoments()
        self.pending: list[Tensor] = []
        self.count = 0

    def reached(self, sample: Tensor) -> bool:
        """Take in a sample, and return whether the mean is known within the tolerance."""
        if not self.sampling.tolerance:
            return False
        self.count += 1
        self.pending.append(sample)
        if len(self.pending) == self.samples_per_draw:
            self.draws.add(torch.stack(self.pending).mean(dim=0))
            self.pending = []
        if self.pending or self.draws.count < MIN_DRAWS or self.count < self.sampling.keep:
            return False
        error = self.draws.std(antithetic=False) / math.sqrt(self.draws.count)
        worst = error.square().mean(dim=(-2, -1)).max().sqrt()
        return bool(worst <= self.sampling.tolerance)


class EncodedPatch:
    """A patch that was encoded once, to be decoded with any latents.

    Parameters
    ----------
    patch : array (Y, X), or (n, P, P) with context
        Raw intensities; sides are multiples of the total stride.
    y, x : int
        Position of its first pixel in the frame, multiples of the total stride; may be negative.
    """

    @torch.inference_mode()
    def __init__(self, model: VSE, patch: npt.NDArray[np.float32], *, y: int, x: int) -> None:
        self.model, self.y, self.x = model, y, x
        self.raw = torch.from_numpy(np.ascontiguousarray(patch)).to(model.input_mean.device)
        planes = self.raw if self.raw.ndim == 3 else self.raw[None]
        self.frame = planes[:1]  # (1, Y, X), without further planes of context
        self.features = model.encode(model.normalise(planes)[None])

    @cached_property
    @torch.inference_mode()
    def decoded_means(self) -> Tensor:
        """Decoded means of the latents, (C, Y, X), raw intensity, float32."""
        means: Tensor = self.model.decoded_means(self.features, self.frame[None])[0]
        return means

    @torch.inference_mode()
    def samples(self, sampling: Sampling, share: int = 1) -> Iterator[Tensor]:
        """Yield posterior samples, or the decoded means as the only one of a preview.

        ``share`` divides the number of samples that are decoded at once.

        Yields
        ------
        Tensor (C, Y, X)
            Raw intensities, float32.
        """
        if sampling.samples == 0:
            yield self.decoded_means
            return
        model, (height, width) = self.model, self.raw.shape[-2:]
        device = self.raw.device
        *features, top = self.features
        keys = _keys(model, self.raw, sampling, self.y, self.x)
        table = normal_table().to(device)
        # an antithetic pair shares its noise, so it is drawn together
        group = 2 if sampling.antithetic else 1
        pixels = BATCH_PIXELS.get(device.type, BATCH_PIXELS["cpu"])
        if device.type == "cuda":
            pixels = min(pixels, pixels_that_fit(model))
        at_once = max(1, pixels // (share * height * width))
        batch = max(1, at_once // group) * group
        for start in range(0, sampling.samples, batch):
            chosen = range(start, min(start + batch, sampling.samples))
            eps = addressed_noise(
                keys,
                chosen,
                seed=sampling.seed,
                channels=model.latents,
                antithetic=sampling.antithetic,
                table=table,
            )
            for first in range(0, len(chosen), at_once):
                part = [e[first : first + at_once] for e in eps]
                # the posterior of the top level does not depend on eps: it is not repeated
                shared = [f.expand(len(part[0]), -1, -1, -1) for f in features]
                yield from model.to_raw(model.means(model.decode([*shared, top], part)))


def sample_patch(
    model: VSE, patch: npt.NDArray[np.float32], sampling: Sampling, *, y: int, x: int
) -> Iterator[Tensor]:
    """Encode a patch and yield its posterior samples; see `EncodedPatch`."""
    yield from EncodedPatch(model, patch, y=y, x=x).samples(sampling)


def _keys(model: VSE, raw: Tensor, sampling: Sampling, y: int, x: int) -> list[Tensor]:
    """Return the keys of a patch's latent pixels, (h_i, w_i), level 0 first."""
    shapes = model.latent_shapes(*raw.shape[-2:])
    if sampling.address == "content":
        keys = content_keys(raw[None], levels=len(shapes), quantum=sampling.quantum)
        return [key[0] for key in keys]
    # latents are centred on their patch; with context they reach beyond it
    centre = y + raw.shape[-2] // 2, x + raw.shape[-1] // 2
    return [
        position_keys(i, (centre[0] >> (i + 1)) - h // 2, (centre[1] >> (i + 1)) - w // 2, h, w).to(
            raw.device
        )
        for i, (_, h, w) in enumerate(shapes)
    ]
