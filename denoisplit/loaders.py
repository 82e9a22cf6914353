"""The crops and the validation patches of one training, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader

from denoisplit.config import Settings
from denoisplit.data.patches import EpochSampler, GridPatches, RandomCrops
from denoisplit.data.prepare import TrainingData
from denoisplit.data.sums import sums_of
from denoisplit.noise_models import GaussianMixture
from denoisplit.parallel import Team
from denoisplit.schedule import Schedule, schedule


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
