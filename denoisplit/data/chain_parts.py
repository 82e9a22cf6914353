"""The denoisers of HDN(+)muSplit: their settings and what they are trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from denoisplit.config.groups import StructureSettings
from denoisplit.config.settings import MIXED, Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.data.splits import Group, Splits
from denoisplit.data.statistics import Statistics
from denoisplit.data.synthetic_noise import SyntheticNoise

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """One denoiser of a chain: a run with one structure, and what it is trained on."""

    name: str
    settings: Settings
    data: TrainingData


def parts_of(settings: Settings, data: TrainingData) -> list[Part]:
    """The denoisers: one of every structure, then that of the mixed input."""
    alone = [
        Part(s.name, _settings(settings, s, data.noise), _of_structure(data, k, s))
        for k, s in enumerate(settings.structures)
    ]
    mixed = _of_mixture(data)
    files = tuple(file for s in settings.structures for file in s.files)
    structure = StructureSettings(name=MIXED, files=files)
    return [*alone, Part(MIXED, _settings(settings, structure, mixed.noise), mixed)]


def _settings(settings: Settings, structure: StructureSettings, noise: SyntheticNoise) -> Settings:
    own = settings.denoiser
    if own is None:
        raise ValueError("settings without denoisers")
    level = {
        "synthetic_poisson": noise.poisson_factor,
        "synthetic_gaussian": 0.0,
        "gaussian_sigma": noise.gaussian_sigma,
    }
    # its samples are drawn for every frame anyway: as many calibrate it
    prediction = {"calibration_samples": own.samples, "halo": None}
    return Settings(
        structures=(structure,),
        system="hdn",
        preset=settings.preset,
        seed=settings.seed,
        network=own.network,
        objective=own.objective,
        training=own.training,
        data=settings.data.model_copy(update=level),
        noise_model_fit=settings.noise_model_fit,
        n2v=settings.n2v,
        prediction=settings.prediction.model_copy(update=prediction),
    )


def _of_structure(data: TrainingData, k: int, structure: StructureSettings) -> TrainingData:
    """The frames of one structure, with the noise that they have in the whole."""
    mean, std = data.statistics.means[k], data.statistics.stds[k]
    return replace(
        data,
        clean=Splits(*((group[k],) for group in data.clean)),
        training=(data.training[k],),
        validation=(data.validation[k],),
        test=(data.test[k],),
        superposition=replace(data.superposition, offsets=(structure.offset,)),
        statistics=Statistics(mean, std, (mean,), (std,)),
    )


def _of_mixture(data: TrainingData) -> TrainingData:
    """The mixed frames as images of one structure; their noise is that of all structures together.

    Poisson noise of a sum is Poisson noise of the sum, and Gaussian noise adds up in squares. So
    the mixture has dependent noise, as that which the other systems split.
    """
    mix, noise = data.superposition, data.noise
    count = len(mix.offsets)

    def mixed(group: Group, clip: float | None = None) -> tuple[Array, ...]:
        limit = np.float32(np.inf if clip is None else clip)
        return tuple(
            mix([np.minimum(image.astype(np.float32), limit) for image in frame])
            for frame in zip(*group, strict=True)
        )

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
    )
