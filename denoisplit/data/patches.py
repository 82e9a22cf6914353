"""Datasets of training crops, addressed by (seed, number), and of the validation grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from denoisplit.data.pyramid import Pyramid
from denoisplit.data.splits import Group
from denoisplit.data.summed_crops import MAX_PLACES, Sums

Array = npt.NDArray[np.float32]


class RandomCrops(Dataset[Tensor]):
    """Random crops: crop i is a pure function of (seed, i), so that training resumes exactly.

    An item is the raw noisy targets (C, P, P), float32; the input is their superposition. With
    more than one plane it is (C, n, P, P), see `denoisplit.data.pyramid`.

    Parameters
    ----------
    frames : [structure][frame] of (Y, X) float32
        Noisy training frames.
    patch : int
        P, side in px.
    seed : int
    independent : bool
        Draw frame and position for each structure separately, for unrelated fields of view.
    augment : bool
        Apply one of the 8 flips and rotations per crop (per structure if independent).
    candidates : int
        Positions that are drawn for every crop; the one with the most contrast is used, so that
        mostly empty images do not give mostly empty crops. The paper has 1.
    planes : int
        n; more than 1 for a network with context.
    sums : Sums, optional
        Bins some crops from windows of twice the side (if all frames are large enough), and adds
        several positions up; not with context.
    """

    def __init__(
        self,
        frames: Group,
        *,
        patch: int,
        seed: int,
        independent: bool,
        augment: bool,
        candidates: int = 1,
        planes: int = 1,
        sums: Sums | None = None,
    ) -> None:
        self.frames = frames
        self.patch = patch
        self.seed = seed
        self.independent = independent
        self.augment = augment
        self.candidates = candidates
        self._pyramids = _pyramids(frames, planes, patch)
        smallest = min(min(frame.shape) for structure in frames for frame in structure)
        self.sums = None if planes > 1 else sums
        if self.sums and smallest < 2 * patch:
            self.sums = replace(self.sums, binned=0.0)
        self._weights = [
            _contrast_unit(structure) if candidates > 1 else 0.0 for structure in frames
        ]
        tiles = [
            np.array([(y // patch) * (x // patch) for y, x in (f.shape for f in structure)])
            for structure in frames
        ]
        self.per_epoch = int(max(t.sum() for t in tiles))
        self._chances = [t / t.sum() for t in tiles]

    def __len__(self) -> int:
        return self.per_epoch

    def __getitem__(self, number: int) -> Tensor:
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, number]))
        if self.independent:
            crops = [self._crop([k], rng)[0] for k in range(len(self.frames))]
        else:
            crops = self._crop(range(len(self.frames)), rng)
        if self.sums and self.sums.stacked:
            crops = [self._stacked(self.sums, crop, k, rng) for k, crop in enumerate(crops)]
        return torch.from_numpy(np.stack(crops))

    def _crop(self, structures: Sequence[int], rng: np.random.Generator) -> list[Array]:
        """Return the same position of the same frame in all given structures."""
        crops: list[Array] | None = None
        if self.sums and self.sums.binned and rng.random() < self.sums.binned:
            crops = self.sums.of_pixels(self._cut(structures, rng, 2 * self.patch), structures)
        if crops is None:
            crops = self._cut(structures, rng, self.patch)
        if self.augment:
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            crops = [np.rot90(c, turns, axes=(-2, -1)) for c in crops]
            crops = [np.ascontiguousarray(c[..., ::-1] if flip else c) for c in crops]
        return crops

    def _stacked(self, sums: Sums, crop: Array, k: int, rng: np.random.Generator) -> Array:
        """Add up to three other positions of the same structure to a crop."""
        for _ in range(1, MAX_PLACES):
            if rng.random() >= sums.stacked:
                break
            crop = sums.of_places(crop, self._crop([k], rng)[0], k)
        return crop

    def _cut(self, structures: Sequence[int], rng: np.random.Generator, side: int) -> list[Array]:
        """Return the candidate position of most contrast, ``side`` px wide."""
        places = [self._position(structures[0], rng, side) for _ in range(self.candidates)]
        best = max(places, key=lambda place: self._contrast(structures, place, side))
        if self._pyramids:
            j, y, x = best
            return [self._pyramids[k][j].cut(y, x) for k in structures]
        return [self._window(k, best, side) for k in structures]

    def _contrast(self, structures: Sequence[int], place: tuple[int, int, int], side: int) -> float:
        """Sum of the contrasts of all structures, each in units of its standard deviation."""
        if self.candidates == 1:
            return 0.0
        return sum(self._weights[k] * float(self._window(k, place, side).std()) for k in structures)

    def _position(self, first: int, rng: np.random.Generator, side: int) -> tuple[int, int, int]:
        """Draw a frame, and the first pixel (y, x) of a window in it."""
        j = int(rng.choice(len(self._chances[first]), p=self._chances[first]))
        height, width = self.frames[first][j].shape
        y = int(rng.integers(0, height - side, endpoint=True))
        x = int(rng.integers(0, width - side, endpoint=True))
        return j, y, x

    def _window(self, k: int, place: tuple[int, int, int], side: int) -> Array:
        j, y, x = place
        window = (slice(y, y + side), slice(x, x + side))
        return np.asarray(self.frames[k][j][window], dtype=np.float32)


def _pyramids(frames: Group, planes: int, patch: int) -> list[list[Pyramid]]:
    """Return the pyramids [structure][frame]; none without context."""
    if planes == 1:
        return []
    return [[Pyramid(f, planes=planes, patch=patch) for f in structure] for structure in frames]


def _contrast_unit(frames: Sequence[npt.NDArray[Any]]) -> float:
    """Return one over the standard deviation of a structure; 0 for masks."""
    if frames[0].dtype == np.bool_:
        return 0.0
    n = sum(frame.size for frame in frames)
    mean = sum(float(frame.sum(dtype=np.float64)) for frame in frames) / n
    square = sum(float(((frame - mean) ** 2).sum(dtype=np.float64)) for frame in frames) / n
    return 1 / np.sqrt(square) if square > 0 else 0.0


class EpochSampler(Sampler[int]):
    """Number the crops of epoch e from ``e * n``; the training loop calls `set_epoch`.

    With several processes, each takes its share of every batch, so that together they process the
    same batches as a single one.
    """

    def __init__(self, per_epoch: int, *, share: int = 1, rank: int = 0, size: int = 1) -> None:
        self.per_epoch = per_epoch
        self.share, self.rank, self.size = share, rank, size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch; called before each one, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_epoch // self.size

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.per_epoch
        for batch in range(first, first + self.per_epoch, self.share * self.size):
            start = batch + self.rank * self.share
            yield from range(start, start + self.share)


class GridPatches(Dataset[Tensor]):
    """Non-overlapping grid of patches in every frame: raw noisy targets, as in `RandomCrops`."""

    def __init__(self, frames: Group, *, patch: int, planes: int = 1) -> None:
        self.frames = frames
        self.patch = patch
        self._pyramids = _pyramids(frames, planes, patch)
        self._corners = [
            (j, y, x)
            for j, frame in enumerate(frames[0])
            for y in range(0, frame.shape[0] - patch + 1, patch)
            for x in range(0, frame.shape[1] - patch + 1, patch)
        ]

    def __len__(self) -> int:
        return len(self._corners)

    def __getitem__(self, index: int) -> Tensor:
        j, y, x = self._corners[index]
        if self._pyramids:
            return torch.from_numpy(np.stack([p[j].cut(y, x) for p in self._pyramids]))
        window = (slice(y, y + self.patch), slice(x, x + self.patch))
        crops = [np.asarray(structure[j][window], dtype=np.float32) for structure in self.frames]
        return torch.from_numpy(np.stack(crops))
