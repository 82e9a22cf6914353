"""Settings and training data of the denoisers in HDN(+)muSplit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from denoisplit.config.groups import StructureSettings
from denoisplit.config.settings import MIXED, Settings
from denoisplit.data.prepare import TrainingData, Truth
from denoisplit.data.splits import Group, Splits
from denoisplit.data.statistics import Statistics
from denoisplit.data.synthetic_noise import SyntheticNoise

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """Settings and training data of one denoiser: a run with a single structure."""

    name: str
    settings: Settings
    data: TrainingData


def parts_of(settings: Settings, data: TrainingData) -> list[Part]:
    """Return the denoisers: one of every structure, then that of the mixed input."""
    alone = [
        Part(s.name, _settings(settings, s, data.noise), _of_structure(data, k, s))
        for k, s in enumerate(settings.structures)
    ]
    mixed = _of_mixture(data)
    files = tuple(file for s in settings.structures for file in s.files)
    structure = StructureSettings(name=MIXED, files=files)
    return [*alone, Part(MIXED, _settings(settings, structure, mixed.noise), mixed)]


def _settings(settings: Settings, structure: StructureSettings, noise: SyntheticNoise) -> Settings:
    denoiser = settings.denoiser
    if denoiser is None:
        raise ValueError("the settings have no denoisers")
    level = {
        "synthetic_poisson": noise.poisson_factor,
        "synthetic_gaussian": 0.0,
        "gaussian_sigma": noise.gaussian_sigma,
    }
    # as many samples as are drawn of every frame to denoise it
    prediction = {"calibration_samples": denoiser.samples, "halo": None}
    return Settings(
        structures=(structure,),
        system="hdn",
        preset=settings.preset,
        seed=settings.seed,
        network=denoiser.network,
        objective=denoiser.objective,
        training=denoiser.training,
        data=settings.data.model_copy(update=level),
        noise_model_fit=settings.noise_model_fit,
        n2v=settings.n2v,
        prediction=settings.prediction.model_copy(update=prediction),
    )


def _of_structure(data: TrainingData, k: int, structure: StructureSettings) -> TrainingData:
    """Return the frames of one structure, with the same noise as in the whole data."""
    mean, std = data.statistics.means[k], data.statistics.stds[k]

    def alone(splits: Splits) -> Splits:
        return Splits(*((group[k],) for group in splits))

    truth = data.truth
    return replace(
        data,
        clean=alone(data.clean),
        training=(data.training[k],),
        validation=(data.validation[k],),
        test=(data.test[k],),
        superposition=replace(data.superposition, offsets=(structure.offset,)),
        statistics=Statistics(mean, std, (mean,), (std,)),
        truth=truth and Truth(alone(truth.images), alone(truth.unsaturated)),
    )


def _of_mixture(data: TrainingData) -> TrainingData:
    """Return the mixed frames as images of one structure, with the noise of all structures.

    The sum of Poisson noise is Poisson noise of the sum, and variances of Gaussian noise add up. So
    the noise of the mixture depends on that of the structures, as in the other systems.
    """
    mix, noise = data.superposition, data.noise
    count = len(mix.offsets)

    def mixed(group: Group, clip: float | None = None) -> tuple[Array, ...]:
        limit = np.float32(np.inf if clip is None else clip)
        return tuple(
            mix([np.minimum(image.astype(np.float32), limit) for image in frame])
            for frame in zip(*group, strict=True)
        )

    truth = data.truth
    if truth is not None:
        masks = (
            (tuple(np.logical_and.reduce(frame) for frame in zip(*group, strict=True)),)
            for group in truth.unsaturated
        )
        images = Splits(*((mixed(group, noise.clip),) for group in truth.images))
        truth = Truth(images, Splits(*masks))
    mean, std = mix.input_statistics(data.statistics.pooled_mean, data.statistics.pooled_std)
    return replace(
        data,
        clean=Splits(*((mixed(group, noise.clip),) for group in data.clean)),
        training=(mixed(data.training),),
        validation=(mixed(data.validation),),
        test=(mixed(data.test),),
        noise=SyntheticNoise(
            mix.scale * noise.poisson_factor, mix.scale * count**0.5 * noise.gaussian_sigma
        ),
        superposition=replace(mix, offsets=(0.0,)),
        statistics=Statistics(mean, std, (mean,), (std,)),
        truth=truth,
    )
