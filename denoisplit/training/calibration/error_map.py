"""Training of the learned error map, on true or on estimated squared errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from denoisplit.evaluation.risk import SquaredErrors, estimate
from denoisplit.network.error_map import ErrorMap, copy_normalisation
from denoisplit.network.vse import VSE
from denoisplit.progress import bar

Array = npt.NDArray[np.float32]

CROPS, SIDE = 8, 96  # per step, px
LEARNING_RATE = 3e-3
POOL = 8  # px, side of the squares over which estimated errors are averaged
LEAST_LEVEL = 1e-4  # usual variance, in units of target_std^2


def fit_error_map(
    network: VSE,
    inputs: Sequence[Array],
    decoded: Sequence[Array],
    errors: Sequence[SquaredErrors],
    *,
    seed: int,
    steps: int = 600,
) -> ErrorMap:
    """Fit an error map to the squared errors of decoded means; on the CPU, not corrected yet.

    True errors e^2 are fitted by the likelihood of a normal distribution, ``log v + e^2 / v``.
    Estimated errors may be negative, for which that is unbounded; there the squared difference of
    averages over 8 x 8 px is minimised, each weighted by its own uncertainty.

    Parameters
    ----------
    network : VSE
        The splitting network.
    inputs : sequence of array (Y, X)
        Frames that were split, raw intensity; after the network's denoiser if it needs one.
    decoded : sequence of array (C, Y, X)
        Decoded means of the frames, raw intensity.
    errors : sequence of SquaredErrors
        Of the decoded means.
    seed : int
        Random seed of initial weights and crops.
    steps : int
        Of the optimiser; each takes `CROPS` crops.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        error_map = ErrorMap(network.structures)
    copy_normalisation(error_map, network)
    unit = error_map.target_std.numpy()[:, None, None] ** 2
    for k in range(network.structures):
        usual = estimate(errors, k).value
        error_map.level[k] = max(usual / float(unit[k, 0, 0]), LEAST_LEVEL)
    planes = [
        [
            x[None],
            mean,
            e.values / unit,
            e.inside,
            *([e.noise / unit] if e.noise is not None else []),
        ]
        for x, mean, e in zip(inputs, decoded, errors, strict=True)
    ]

    def loss(x: Tensor, means: Tensor, target: Tensor, inside: Tensor, *noise: Tensor) -> Tensor:
        variance = error_map.uncorrected(x, means)
        if noise:
            return _pooled_loss(variance, target, inside, noise[0])
        nll = torch.log(variance) + target / variance
        return (nll * inside).sum() / inside.sum().clamp(min=1)

    fit_on_crops(error_map, planes, loss, "error map", seed=seed, steps=steps)
    return error_map.eval().requires_grad_(False)


def fit_on_crops(
    module: nn.Module,
    planes: Sequence[Sequence[npt.NDArray[Any]]],
    loss: Callable[..., Tensor],
    label: str,
    *,
    seed: int,
    steps: int,
) -> None:
    """Train a small network on random crops of frames, in place.

    Parameters
    ----------
    module : Module
    planes : sequence of sequence of array (n, Y, X)
        Of each frame: what the loss takes, as batches of float32 tensors.
    loss : callable
    label : str
        Of the progress bar.
    seed : int
        Random seed of the crops.
    steps : int
        Of the optimiser; each takes `CROPS` crops.
    """
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster
    optimiser = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    random = np.random.default_rng((seed, 1))
    shapes = [frame[0].shape[-2:] for frame in planes]
    sizes = np.array([y * x for y, x in shapes], dtype=np.float64)
    side = min(SIDE, *(n for shape in shapes for n in shape)) // POOL * POOL
    with bar(label, steps) as progress:
        for step in range(steps):
            batch = [
                _random_crop(planes[j], side, random)
                for j in random.choice(len(planes), size=CROPS, p=sizes / sizes.sum())
            ]
            value = loss(*(torch.from_numpy(np.stack(p)) for p in zip(*batch, strict=True)))
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            progress.to(step + 1)
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _random_crop(
    planes: Sequence[npt.NDArray[Any]], side: int, random: np.random.Generator
) -> list[Array]:
    """Cut the same square out of all planes (n, Y, X) of a frame, turned and mirrored at random."""
    y, x = (int(random.integers(n - side + 1)) for n in planes[0].shape[1:])
    turns, mirrored = int(random.integers(4)), bool(random.integers(2))
    crops = []
    for plane in planes:
        crop = np.rot90(plane[:, y : y + side, x : x + side], turns, axes=(1, 2))
        crop = crop[..., ::-1] if mirrored else crop
        crops.append(np.ascontiguousarray(crop, dtype=np.float32))
    return crops


def _pooled_loss(variance: Tensor, target: Tensor, inside: Tensor, noise: Tensor) -> Tensor:
    """Return the weighted squared difference of averages of variance and estimated errors.

    The weight is the inverse of what an average of estimates scatters by: noise of variance s^2
    gives a variance of 2 s^4 to each pixel, and the errors themselves vary by about their size.
    """

    def pooled(values: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(values * inside, POOL)

    share = nn.functional.avg_pool2d(inside, POOL)
    expected = pooled(variance)
    scatter = 2 * pooled(noise**2) / POOL**2 + expected.detach() ** 2
    loss = (expected - pooled(target)) ** 2 / scatter.clamp(min=LEAST_LEVEL**2)
    return (loss * share).sum() / share.sum().clamp(min=1)
