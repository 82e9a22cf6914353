"""Provide the noise models of a run: from files, repeated shots, clean images or noisy images."""

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
from denoisplit.noise_models.pairs import Pairs, from_clean, from_repeats
from denoisplit.noise_models.saturation import Image
from denoisplit.noise_models.storage import FittedNoiseModel, is_written, write_fitted
from denoisplit.noise_models.validity import check_range, correlation_warning, dark_warning
from denoisplit.progress import Bar, bar, logger

MAX_SIGNALS, SHOTS = 4096, 100  # of simulated shots
EXTENT = (0.001, 0.999)  # quantiles of the data that are compared with the range of a model


def fit_available_noise_models(
    settings: Settings, data: TrainingData, repeats: Mapping[str, Sequence[Image]]
) -> dict[str, FittedNoiseModel]:
    """Read or fit the noise models that need no denoiser.

    They come from files, from repeated shots (route A) or from clean images (route B). The others
    (route C) take minutes to hours and are left to `fit_remaining_noise_models`, but images that it
    could not use are refused here.

    Parameters
    ----------
    repeats : mapping of name to stacks (T, Y, X)
        Repeats of static scenes, for the structures that have some; raw intensity.

    Raises
    ------
    InputError
        If images or files are unsuitable, or a model was made for other noise or intensities.
    """
    fits: dict[str, FittedNoiseModel] = {}
    for k, structure in enumerate(settings.structures):
        name, fit = structure.name, settings.noise_model_fit
        route = _route(structure, settings, data)
        if route == "none" or (route == "C" and not SYSTEMS[settings.system].noise_models):
            continue  # a training without noise models does not depend on those that judge it
        if structure.noise_model is not None:
            model = GaussianMixture.load(structure.noise_model)
            _check_noise(model, data.noise, structure.noise_model)
            _check_range(model, data, k, name, structure.noise_model)
            fits[name] = FittedNoiseModel(model)
        elif structure.repeats:
            with _located(f"repeats {name}"):
                pairs = from_repeats(stacks=repeats[name], seed=settings.seed)
                fits[name] = fit_structure(name, pairs, fit, settings.seed)
            _check_range(fits[name].model, data, k, name, f"repeats {name}")
        elif route in ("A", "B"):
            clean = data.clean.training[k]
            with _located(f"structure {name}"):
                pairs = (
                    from_known_signals(clean, data.noise, seed=settings.seed)
                    if route == "A"
                    else from_clean(frames=clean, noise=data.noise, seed=settings.seed)
                )
                fits[name] = fit_structure(name, pairs, fit, settings.seed, noise=data.noise)
        else:
            with _located(f"structure {name}"):
                check_noisy(_recorded(data, k))
    return fits


def from_known_signals(clean: Sequence[Image], noise: SyntheticNoise, *, seed: int) -> Pairs:
    """Simulate many observations of every intensity that occurs (route A with known noise).

    Parameters
    ----------
    clean : sequence of array (Y, X)
        Raw intensity. For integers, all values from the least to the greatest are used, at most
        4096; otherwise 4096 evenly spaced values.
    """
    low, high = (float(end([end(frame) for frame in clean])) for end in (np.min, np.max))
    integers = all(np.issubdtype(frame.dtype, np.integer) for frame in clean)
    count = min(MAX_SIGNALS, int(high - low) + 1) if integers else MAX_SIGNALS
    shots = np.repeat(np.linspace(low, high, count)[:, None], SHOTS, axis=1)
    pairs = from_clean(frames=[shots], noise=noise, seed=seed)
    return replace(pairs, source="simulated shots of known signals")


def fit_remaining_noise_models(
    folder: Path, checkpoints: Path, settings: Settings, data: TrainingData
) -> list[GaussianMixture]:
    """Fit the missing noise models of a run to its noisy images (route C), and return all models.

    This trains a denoiser per structure, which takes minutes to hours. Nothing is fitted if
    nothing needs noise models, see `needs_noise_models`.

    Parameters
    ----------
    folder : Path
        Noise models of the run; each is written here as soon as it is ready.
    checkpoints : Path
        Folder of the checkpoints from which an interrupted denoiser resumes.

    Raises
    ------
    InputError
        If a stored file is unreadable, or the images are unsuitable.
    """
    if not needs_noise_models(settings, data):
        return []
    models = []
    for k, name in enumerate(settings.names):
        checkpoint = checkpoints / f"n2v {name}.ckpt"
        if not is_written(folder, name):
            with _located(f"structure {name}"):
                with bar(f"denoiser of {name}", 100) as progress:
                    pairs = pairs_of_noisy(
                        _recorded(data, k),
                        settings.n2v,
                        seed=settings.seed,
                        checkpoint=checkpoint,
                        on_step=_percent(progress),
                    )
                fit = settings.noise_model_fit
                fitted = fit_structure(name, pairs, fit, settings.seed, noise=data.noise)
            write_fitted(folder, name, fitted)
        checkpoint.unlink(missing_ok=True)  # also that of a training that was killed here
        models.append(GaussianMixture.load(folder / f"{name}.npz"))
    return models


def needs_noise_models(settings: Settings, data: TrainingData) -> bool:
    """Return whether a run has noise models of its own: for its training, or to estimate errors."""
    if SYSTEMS[settings.system].noise_models:
        return True
    estimated = settings.prediction.error_map and not data.has_truth
    return estimated and settings.denoiser is None  # else those of the denoisers serve


def fit_structure(
    name: str,
    pairs: Pairs,
    settings: NoiseModelSettings,
    seed: int,
    *,
    noise: SyntheticNoise | None = None,
) -> FittedNoiseModel:
    """Fit to pairs of one structure, and log the verdict; ``noise`` is stored if there is any."""
    pairs.check_noise()
    about: dict[str, str | float] = {}
    if noise:
        about = {"poisson_factor": noise.poisson_factor, "gaussian_sigma": noise.gaussian_sigma}
    with bar(f"noise model of {name}", 100) as progress:
        model, quality = fit_pairs(
            pairs, settings, seed=seed, about=about, on_step=_percent(progress)
        )
    logger.info("noise model of %s: %s", name, quality.verdict()[0])
    if pairs.saturated or pairs.clipped:
        text = "%s: %.2g %% of the pixels are saturated and %.2g %% are clipped; they were excluded"
        logger.info(text, name, 100 * pairs.saturated, 100 * pairs.clipped)
    warning = correlation_warning(pairs.correlation)
    if warning:
        logger.warning("%s: %s", name, warning)
    return FittedNoiseModel(model, quality, pairs)


def _recorded(data: TrainingData, k: int) -> Sequence[Image]:
    """Noisy training frames of a structure, as recorded: their data type shows saturation."""
    synthetic = data.noise or data.noise.clip is not None
    return data.training[k] if synthetic else data.clean.training[k]


def _percent(progress: Bar) -> OnStep:
    return lambda done, total: progress.to(100 * done // total)


# ---------------------------------------------------------------- checks


def _route(structure: StructureSettings, settings: Settings, data: TrainingData) -> str:
    """Return A, B, C, "file", or "none" if no noise model is needed; refuse contradictions."""
    name, route, noise = structure.name, settings.noise_model_fit.route, data.noise
    arguments = {"noise_models": structure.noise_model, "repeats": structure.repeats}
    given = [argument for argument, value in arguments.items() if value]
    if len(given) > 1:
        raise InputError(
            f"`noise_models` already provides a noise model of {name}",
            where=f"repeats {name}",
            remedy="leave one of the two out",
        )
    if not needs_noise_models(settings, data):
        if given:
            raise InputError(
                f"system {settings.system} needs no noise models here: the truth is known, or no "
                "error map is trained",
                where=f"{given[0]} {name}",
                remedy=f"leave `{given[0]}` out, or choose another `system`",
            )
        return "none"
    if structure.repeats and noise:
        raise InputError(
            "synthetic noise is added too, but repeats contain the noise of their recording only",
            where=f"repeats {name}",
            remedy="leave `synthetic_poisson` and `synthetic_gaussian` out, or `repeats`",
        )
    if given:
        return "A" if structure.repeats else "file"
    if route in ("A", "B") and not noise:
        raise InputError(
            f"noise_model_fit.route {route} needs synthetic noise, but none is added",
            where=f"structure {name}",
            remedy="set `synthetic_gaussian`, provide `repeats`, or leave the route out",
        )
    return ("B" if noise else "C") if route == "auto" else route


def _check_noise(model: GaussianMixture, noise: SyntheticNoise, path: str) -> None:
    """Raise `InputError` if the noise stored in a model is not that of the data."""
    for key in ("poisson_factor", "gaussian_sigma"):
        if key not in model.about:
            continue
        label = key.replace("_", " ")
        try:
            stored, needed = float(model.about[key]), float(getattr(noise, key))
        except (TypeError, ValueError):
            raise InputError(
                f"the {label} {model.about[key]!r} is not a number",
                where=path,
                remedy="fit the noise model again",
            ) from None
        if abs(stored - needed) > 1e-3 * max(abs(stored), abs(needed)):
            raise InputError(
                where=path,
                found=f"a noise model for {label} {stored:g}",
                expected=f"{needed:g} as in the data",
                remedy="use the noise model of this noise, or leave it out",
            )


def _check_range(model: GaussianMixture, data: TrainingData, k: int, name: str, where: str) -> None:
    values = np.concatenate([np.ravel(frame) for frame in data.training[k]])
    low, high = np.quantile(values, EXTENT)
    check_range(model, float(low), float(high), where)
    warning = dark_warning(model, values)
    if warning:
        logger.warning("%s: %s", name, warning)


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Prefix the location of errors with their structure."""
    try:
        yield
    except InputError as error:
        raise error.replace(where=f"{where}, {error.where}") from error
