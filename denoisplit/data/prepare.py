"""Prepare training data: split frames, add noise, and measure statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from denoisplit.config.settings import Settings
from denoisplit.data.splits import Group, Image, Splits, rule_for, split
from denoisplit.data.statistics import Statistics, pooled_std, statistics
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import Address, SyntheticNoise

Array = npt.NDArray[np.float32]
FloatGroup = tuple[tuple[Array, ...], ...]  # [structure][frame] -> (Y, X)


@dataclass(frozen=True)
class Mixed:
    """Input frames of a chain, which are denoised and no superposition of the targets."""

    training: tuple[Array, ...]
    validation: tuple[Array, ...]


@dataclass(frozen=True)
class Truth:
    """Separate images of the same fields with little or no noise, in the unit of the structures."""

    images: Splits
    unsaturated: Splits  # masks of the pixels that are not saturated


@dataclass(frozen=True)
class TrainingData:
    """Splits with and without synthetic noise; if none is added, both are the recorded images."""

    clean: Splits
    training: FloatGroup  # noisy
    validation: FloatGroup  # noisy
    test: FloatGroup  # noisy
    noise: SyntheticNoise
    superposition: Superposition
    statistics: Statistics
    pooled_std: float  # of the clean training frames, raw units
    seed: int
    split_rule: str
    mixed: Mixed | None = None  # the input, if it is not the superposition of the structures
    truth: Truth | None = None  # to calibrate and evaluate with recorded noise

    @property
    def has_truth(self) -> bool:
        """Whether the structures are known without the noise of the input."""
        return bool(self.noise) or self.truth is not None

    @property
    def training_images(self) -> FloatGroup:
        """Images that crops are cut from: the structures, then the mixed input if there is one."""
        return self.training if self.mixed is None else (*self.training, self.mixed.training)

    @property
    def validation_images(self) -> FloatGroup:
        """Images of the validation grid, as `training_images`."""
        return self.validation if self.mixed is None else (*self.validation, self.mixed.validation)

    @property
    def can_superpose_training(self) -> bool:
        """Whether training frame j of every structure has one shape: not so for unrelated cells."""
        shapes = [[frame.shape for frame in frames] for frames in self.training]
        return all(one == shapes[0] for one in shapes)

    def inputs(self, noisy: FloatGroup) -> list[Array]:
        """Superpose the structures of every frame, raw units."""
        return [self.superposition(frame) for frame in zip(*noisy, strict=True)]


def superposition_of(settings: Settings) -> Superposition:
    """Return how the structures of a run add up."""
    offsets = tuple(s.offset for s in settings.structures)
    return Superposition(settings.data.superposition, offsets)


def observe(clean: Group, noise: SyntheticNoise, *, seed: int, part: str) -> FloatGroup:
    """Add the synthetic noise of a split, the same in every call."""
    return tuple(
        tuple(noise.observe(image, Address(seed, part, k, j)) for j, image in enumerate(frames))
        for k, frames in enumerate(clean)
    )


def prepare(structures: Sequence[Sequence[Image]], settings: Settings) -> TrainingData:
    """Split frames, add noise and measure statistics (paper, supplement on data).

    The ``structures`` are raw intensities, [structure][frame] of (Y, X).

    Raises
    ------
    InputError
        If frames do not match, or are too few or too small.
    """
    data, chain = settings.data, settings.denoiser
    rule = rule_for(structures, data.split)
    clean = split(
        structures,
        names=settings.names,
        pairing=data.pairing,
        rule=rule,
        patch=max(settings.network.patch, chain.network.patch if chain else 0),
    )
    unit = pooled_std(clean.training)
    sigma = data.synthetic_gaussian * unit if data.gaussian_sigma is None else data.gaussian_sigma
    noise = SyntheticNoise(data.synthetic_poisson, sigma)
    if data.clip_quantile is not None:
        poisson = SyntheticNoise(data.synthetic_poisson)
        shot = observe(clean.training, poisson, seed=settings.seed, part="training")
        values = np.concatenate([image.ravel() for frames in shot for image in frames])
        clip = float(np.quantile(values, data.clip_quantile))
        noise = SyntheticNoise(noise.poisson_factor, noise.gaussian_sigma, clip)
    training = observe(clean.training, noise, seed=settings.seed, part="training")
    return TrainingData(
        clean=clean,
        training=training,
        validation=observe(clean.validation, noise, seed=settings.seed, part="validation"),
        test=observe(clean.test, noise, seed=settings.seed, part="test"),
        noise=noise,
        superposition=superposition_of(settings),
        statistics=statistics(clean.training, training, noise, settings.seed),
        pooled_std=unit,
        seed=settings.seed,
        split_rule=rule,
    )
