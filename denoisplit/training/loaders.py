"""The crops and the validation patches of one training, in batches."""

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
from denoisplit.noise_models.binning import straight_line
from denoisplit.training.schedule import Schedule, schedule

PLACES = 64  # signals between which the line is fitted


class Ahead(DataLoader[Tensor]):
    """Cuts the next batch while the network works on this one, in a thread: frames lie once."""

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        """The batches of the loader, in its order."""
        batches: Iterator[Any] = super().__iter__()
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = thread.submit(next, batches, None)
                yield batch


class Loaders(NamedTuple):
    """What a training loop goes over; batches are as `RandomCrops` says."""

    training: DataLoader[Tensor]
    validation: DataLoader[Tensor]
    plan: Schedule


def loaders(
    data: TrainingData, noise_models: Sequence[GaussianMixture], settings: Settings, who: Team
) -> Loaders:
    """Crops of the training frames, this process' share of them, and the validation grid.

    Raises
    ------
    InputError
        If a batch cannot be shared evenly between the processes.
    """
    chosen = settings.data
    sizes = {"patch": settings.network.patch, "planes": settings.network.planes}
    crops = RandomCrops(
        data.training_images,
        seed=settings.seed,
        independent=chosen.pairing == "unrelated",
        augment=chosen.augment,
        candidates=chosen.crop_candidates,
        sums=sums_of(noise_models, binned=chosen.binned_crops, stacked=chosen.stacked_crops),
        **sizes,
    )
    plan, batch = schedule(settings, crops.per_epoch), settings.training.batch
    own = who.share(batch)
    numbers = EpochSampler(plan.steps_per_epoch * batch, share=own, rank=who.rank, size=who.size)
    return Loaders(
        Ahead(crops, batch_size=own, sampler=numbers),
        DataLoader(GridPatches(data.validation_images, **sizes), batch_size=batch),
        plan,
    )


def sums_of(models: Sequence[GaussianMixture], *, binned: float, stacked: float) -> Sums | None:
    """What the noise models allow; None without any, or where a dark sum is too bright already.

    The latter is so where the noise is mostly that of reading out: it adds up with the pixels.
    """
    zeros, limits = [], []
    for model in models:
        low, high = model.min_signal.item(), model.max_signal.item()
        signal = torch.linspace(low, high, PLACES)
        variance = model.variance(signal.to(model.weight.device)).double().cpu().numpy()
        gain, offset = straight_line(signal.double().numpy(), variance, np.ones(PLACES), variance)
        zeros.append(-offset / gain if gain > 0 else -np.inf)
        limits.append(high)
        if 4 * low - 3 * zeros[-1] > high:
            return None
    return Sums(binned, stacked, zeros, limits) if models and (binned or stacked) else None
