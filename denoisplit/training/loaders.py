"""Batches of training crops and validation patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from denoisplit.config.settings import Settings
from denoisplit.data.patches import EpochSampler, GridPatches, RandomCrops
from denoisplit.data.prepare import TrainingData
from denoisplit.data.summed_crops import Sums
from denoisplit.machine.distributed import Team
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.binning import fit_variance_line
from denoisplit.training.schedule import Schedule, schedule

MOMENT_BATCHES = 100  # from which the moments of BatchNorm are measured after a training
HELD_OUT_BATCHES = 16  # by which they are judged
LINE_POINTS = 64  # signals at which the variance of a noise model is compared with a line


class Loaders(NamedTuple):
    """Batches of a training loop, as `RandomCrops` shapes them, and its schedule."""

    training: DataLoader[Tensor]
    validation: DataLoader[Tensor]
    further: DataLoader[Tensor]  # crops like those of the training, and after them
    held_out: DataLoader[Tensor]  # the same from validation frames
    schedule: Schedule


def loaders(
    data: TrainingData, noise_models: Sequence[GaussianMixture], settings: Settings, ranks: Team
) -> Loaders:
    """Return the training crops of this rank, and the grid of validation patches.

    Raises
    ------
    InputError
        If a batch cannot be shared evenly between the ranks.
    """
    options = settings.data
    sizes = {"patch": settings.network.patch, "planes": settings.network.planes}
    sums = allowed_sums(noise_models, binned=options.binned_crops, stacked=options.stacked_crops)
    crops, held_out = (
        RandomCrops(
            images,
            seed=settings.seed,
            independent=options.pairing == "unrelated",
            augment=options.augment,
            candidates=options.crop_candidates,
            sums=sums,
            **sizes,
        )
        for images in (data.training_images, data.validation_images)
    )
    plan, batch = schedule(settings, crops.per_epoch), settings.training.batch
    share = ranks.share(batch)
    sampler = EpochSampler(
        plan.steps_per_epoch * batch, share=share, rank=ranks.rank, size=ranks.size
    )
    return Loaders(
        PrefetchLoader(crops, batch_size=share, sampler=sampler),
        DataLoader(GridPatches(data.validation_images, **sizes), batch_size=batch),
        _after_training(crops, MOMENT_BATCHES, plan, settings),
        _after_training(held_out, HELD_OUT_BATCHES, plan, settings),
        plan,
    )


def _after_training(
    crops: RandomCrops, batches: int, plan: Schedule, settings: Settings
) -> DataLoader[Tensor]:
    """Return batches of the crops after the last of a training, as BatchNorm sees them."""
    training = settings.training
    size = training.virtual_batch or training.batch
    first = plan.steps * training.batch
    numbers = range(first, first + min(batches, plan.steps) * size)
    return PrefetchLoader(crops, batch_size=size, sampler=numbers)


class PrefetchLoader(DataLoader[Tensor]):
    """Loader that cuts the next batch in a thread while the network works on the present one.

    A thread shares the frames with the training; a worker process would copy them.
    """

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        """Yield the batches of a plain loader, in the same order."""
        batches: Iterator[Any] = super().__iter__()
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = thread.submit(next, batches, None)
                yield batch


def allowed_sums(
    models: Sequence[GaussianMixture], *, binned: float, stacked: float
) -> Sums | None:
    """Return how pixels and crops may be summed so that the noise models remain valid.

    Parameters
    ----------
    models : sequence of GaussianMixture
        One per structure.
    binned, stacked : float
        Shares of the crops that are binned, and to which another crop is added.

    Returns
    -------
    Sums or None
        None without noise models, and where even a sum of dark pixels is brighter than a noise
        model knows. That happens if most noise is readout noise, which adds up with every pixel.
    """
    zeros, limits = [], []
    for model in models:
        low, high = model.min_signal.item(), model.max_signal.item()
        signal = torch.linspace(low, high, LINE_POINTS)
        variance = model.variance(signal.to(model.weight.device)).double().cpu().numpy()
        ones = np.ones(LINE_POINTS)
        gain, offset = fit_variance_line(signal.double().numpy(), variance, ones, variance)
        zeros.append(-offset / gain if gain > 0 else -np.inf)
        limits.append(high)
        if 4 * low - 3 * zeros[-1] > high:
            return None
    return Sums(binned, stacked, zeros, limits) if models and (binned or stacked) else None
