"""Where the noise models of a run come from: a file, repeated shots, clean or noisy images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from denoisplit.config.groups import NoiseModelSettings, StructureSettings
from denoisplit.config.settings import Settings
from denoisplit.config.systems import SYSTEMS
from denoisplit.data.prepare import TrainingData
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.noise_models.fit import OnStep
from denoisplit.noise_models.from_noisy import check_noisy, pairs_of_noisy
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import fit_pairs
from denoisplit.noise_models.pairs import Image, Pairs, from_clean, from_repeats
from denoisplit.noise_models.storage import FittedNoiseModel, is_kept, keep
from denoisplit.noise_models.validity import check_range, correlation_warning
from denoisplit.progress import Bar, bar, logger

MOST_SIGNALS, DRAWS = 4096, 100  # of simulated shots
EXTENT = (0.001, 0.999)  # quantiles of the data that a noise model's range is compared with


def fit_available_noise_models(
    settings: Settings, data: TrainingData, scenes: Mapping[str, Sequence[Image]]
) -> dict[str, FittedNoiseModel]:
    """The noise models that need no denoiser: given, of repeated shots (A), of clean images (B).

    The others are made by `fit_remaining_noise_models`, which takes minutes and happens in the run
    folder. What that could be refused for is refused here.

    Parameters
    ----------
    settings : Settings
    data : TrainingData
    scenes : mapping of name to stacks (T, Y, X)
        Repeated shots of the structures that have some; raw intensity.

    Raises
    ------
    InputError
        If images or files do not serve, or a model was made for other noise or intensities.
    """
    found: dict[str, FittedNoiseModel] = {}
    for k, structure in enumerate(settings.structures):
        name, fit = structure.name, settings.noise_model_fit
        route = _route(structure, settings, data.noise)
        if route == "none":
            continue
        if structure.noise_model is not None:
            model = GaussianMixture.load(structure.noise_model)
            _check_noise(model, data.noise, structure.noise_model)
            _check_range(model, data, k, structure.noise_model)
            found[name] = FittedNoiseModel(model)
        elif structure.repeats:
            with _naming(f"--repeats {name}"):
                pairs = from_repeats(stacks=scenes[name], seed=settings.seed)
                found[name] = fit_structure(name, pairs, fit, settings.seed)
            _check_range(found[name].model, data, k, f"--repeats {name}")
        elif route in ("A", "B"):
            clean = data.clean.training[k]
            with _naming(f"structure {name}"):
                pairs = (
                    from_known_signals(clean, data.noise, seed=settings.seed)
                    if route == "A"
                    else from_clean(frames=clean, noise=data.noise, seed=settings.seed)
                )
                found[name] = fit_structure(name, pairs, fit, settings.seed, noise=data.noise)
        else:
            with _naming(f"structure {name}"):
                check_noisy(_recorded(data, k))
    return found


def from_known_signals(clean: Sequence[Image], noise: SyntheticNoise, *, seed: int) -> Pairs:
    """Route A where the noise is known: many observations of every intensity that occurs.

    Parameters
    ----------
    clean : sequence of array (Y, X)
        Raw intensity. Of integers all from the least to the greatest are taken, at most 4096, else
        as many evenly spaced values.
    noise : SyntheticNoise
    seed : int
        Of the noise.
    """
    low, high = (float(end([end(frame) for frame in clean])) for end in (np.min, np.max))
    integers = all(np.issubdtype(frame.dtype, np.integer) for frame in clean)
    count = min(MOST_SIGNALS, int(high - low) + 1) if integers else MOST_SIGNALS
    shots = np.repeat(np.linspace(low, high, count)[:, None], DRAWS, axis=1)
    pairs = from_clean(frames=[shots], noise=noise, seed=seed)
    return replace(pairs, source="simulated shots of known signals")


def fit_remaining_noise_models(
    folder: Path, checkpoints: Path, settings: Settings, data: TrainingData
) -> list[GaussianMixture]:
    """All noise models of a run; what is missing is fitted to the noisy images alone (route C).

    Parameters
    ----------
    folder : Path
        The noise models of the run; each appears here when it is ready.
    checkpoints : Path
        Where an interrupted denoiser is left, and found again: it goes on to the same weights.

    Raises
    ------
    InputError
        If a stored file is unreadable, or nothing can be made of the images.
    """
    if not SYSTEMS[settings.system].noise_models:
        return []
    models = []
    for k, name in enumerate(settings.names):
        if not is_kept(folder, name):
            checkpoint = checkpoints / f"n2v {name}.ckpt"
            with _naming(f"structure {name}"):
                fitted = fit_noisy(
                    name, _recorded(data, k), settings, checkpoint=checkpoint, noise=data.noise
                )
            keep(folder, name, fitted)
            checkpoint.unlink(missing_ok=True)
        models.append(GaussianMixture.load(folder / f"{name}.npz"))
    return models


def fit_noisy(
    name: str,
    frames: Sequence[Image],
    settings: Settings,
    *,
    checkpoint: Path,
    noise: SyntheticNoise,
) -> FittedNoiseModel:
    """Route C for the frames of one structure; ``noise`` is what was added to them, if any."""
    with bar(f"denoiser of {name}", 100) as progress:
        pairs = pairs_of_noisy(
            frames,
            settings.n2v,
            seed=settings.seed,
            checkpoint=checkpoint,
            on_step=_percent(progress),
        )
    return fit_structure(name, pairs, settings.noise_model_fit, settings.seed, noise=noise)


def fit_structure(
    name: str,
    pairs: Pairs,
    settings: NoiseModelSettings,
    seed: int,
    *,
    noise: SyntheticNoise | None = None,
) -> FittedNoiseModel:
    """Fit to pairs of one structure, and say how well; ``noise`` is stored if there is any."""
    pairs.check_noise()
    about: dict[str, str | float] = {}
    if noise:
        about = {"poisson_factor": noise.poisson_factor, "gaussian_sigma": noise.gaussian_sigma}
    with bar(f"noise model of {name}", 100) as progress:
        model, quality = fit_pairs(
            pairs,
            components=settings.components,
            coefficients=settings.coefficients,
            steps=settings.steps,
            seed=seed,
            about=about,
            on_step=_percent(progress),
        )
    logger.info("noise model of %s: %s", name, quality.verdict()[0])
    if pairs.saturated or pairs.clipped:
        logger.info(
            "%s: %.2g %% of the pixels are saturated, %.2g %% are clipped; they were left out",
            name,
            100 * pairs.saturated,
            100 * pairs.clipped,
        )
    warning = correlation_warning(pairs.correlation)
    if warning:
        logger.warning("%s: %s", name, warning)
    return FittedNoiseModel(model, quality, pairs)


def _recorded(data: TrainingData, k: int) -> Sequence[Image]:
    """Noisy training frames of a structure; of recorded noise in the type that tells its limits."""
    synthetic = data.noise or data.noise.clip is not None
    return data.training[k] if synthetic else data.clean.training[k]


def _percent(progress: Bar) -> OnStep:
    return lambda done, total: progress.to(100 * done // total)


# ---------------------------------------------------------------- what does not fit


def _route(structure: StructureSettings, settings: Settings, noise: SyntheticNoise) -> str:
    """A, B or C, "file", or "none" where no noise model is needed; refuses what does not go."""
    name, route = structure.name, settings.noise_model_fit.route
    options = {
        f"--noise-model {name}": structure.noise_model,
        f"--repeats {name}": structure.repeats,
    }
    given = [option for option, value in options.items() if value]
    if len(given) > 1:
        raise InputError(
            where=given[1],
            found=f"{given[0]} beside it",
            expected="one of the two",
            remedy="leave one out",
        )
    if not SYSTEMS[settings.system].noise_models:
        if given:
            raise InputError(
                where=given[0],
                found=f"system {settings.system}, which has no noise models",
                expected="system denoisplit",
                remedy=f"leave {given[0].split()[0]} out",
            )
        return "none"
    if structure.repeats and noise:
        raise InputError(
            where=given[0],
            found="synthetic noise beside it",
            expected="images with the noise of their recording",
            remedy="leave --synthetic-poisson and --synthetic-gaussian out, or --repeats",
        )
    if given:
        return "A" if structure.repeats else "file"
    if route in ("A", "B") and not noise:
        raise InputError(
            where=f"structure {name}",
            found=f"noise_model_fit.route {route} without synthetic noise",
            expected="noise to add, or repeated shots",
            remedy="give --synthetic-gaussian, or --repeats, or leave the route out",
        )
    return ("B" if noise else "C") if route == "auto" else route


def _check_noise(model: GaussianMixture, noise: SyntheticNoise, path: str) -> None:
    """Refuse a model whose stored noise is not the noise of the data."""
    for key in ("poisson_factor", "gaussian_sigma"):
        if key not in model.about:
            continue
        try:
            stored, needed = float(model.about[key]), float(getattr(noise, key))
        except (TypeError, ValueError):
            raise InputError(
                where=path,
                found=f"the {key.replace('_', ' ')} {model.about[key]!r}",
                expected="a number",
                remedy="fit the noise model again",
            ) from None
        if abs(stored - needed) > 1e-3 * max(abs(stored), abs(needed)):
            raise InputError(
                where=path,
                found=f"a noise model made for {key.replace('_', ' ')} {stored:g}",
                expected=f"{needed:g} as in the data",
                remedy="give the model of this noise, or leave it out",
            )


def _check_range(model: GaussianMixture, data: TrainingData, k: int, path: str) -> None:
    values = np.concatenate([np.ravel(frame) for frame in data.training[k]])
    low, high = np.quantile(values, EXTENT)
    check_range(model, float(low), float(high), path)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Name the structure in what is said of its images."""
    try:
        yield
    except InputError as error:
        raise error.replace(where=f"{where}, {error.where}") from error
