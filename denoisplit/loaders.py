"""The crops and the validation patches of one training, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader

from denoisplit.config import Settings
from denoisplit.data.binning import binning_of
from denoisplit.data.patches import EpochSampler, GridPatches, RandomCrops
from denoisplit.data.prepare import TrainingData
from denoisplit.noise_models import GaussianMixture
from denoisplit.parallel import Team
from denoisplit.schedule import Schedule, schedule


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
    sizes = {"patch": settings.network.patch, "planes": settings.network.planes}
    crops = RandomCrops(
        data.training_images,
        seed=settings.seed,
        independent=settings.data.pairing == "unrelated",
        augment=settings.data.augment,
        candidates=settings.data.crop_candidates,
        binning=binning_of(noise_models, settings.data.binned_crops),
        **sizes,
    )
    plan, batch = schedule(settings, crops.per_epoch), settings.training.batch
    own = who.share(batch)
    numbers = EpochSampler(plan.steps_per_epoch * batch, share=own, rank=who.rank, size=who.size)
    return Loaders(
        DataLoader(crops, batch_size=own, sampler=numbers),
        DataLoader(GridPatches(data.validation_images, **sizes), batch_size=batch),
        plan,
    )
