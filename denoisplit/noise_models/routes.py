"""Where the noise models of a run come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from denoisplit.config import Settings
from denoisplit.data.prepare import TrainingData
from denoisplit.errors import InputError
from denoisplit.noise_models.fit import fit
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.progress import bar


def noise_models_of_run(
    settings: Settings, data: TrainingData, stored: Path | None
) -> list[GaussianMixture]:
    """One frozen model per structure: stored in a run that is resumed, given, or fitted (route B).

    Raises
    ------
    InputError
        If there is no way to one, or a given one was made for other noise.
    """
    if settings.system == "altered_musplit":
        return []
    if stored is not None:
        return [GaussianMixture.load(stored / f"{name}.npz") for name in settings.names]
    missing = [s.name for s in settings.structures if s.noise_model is None]
    if missing and not data.noise:
        raise InputError(
            f"structure {missing[0]}", "no noise model", "one for each structure",
            f"give it with --noise-model {missing[0]} FILE.npz, or, if the images are clean, "
            "say what noise to add with --synthetic-poisson and --synthetic-gaussian",
        )  # fmt: skip
    about: dict[str, str | float] = {
        "source": "clean images and synthetic noise",
        "poisson_factor": data.noise.poisson_factor,
        "gaussian_sigma": data.noise.gaussian_sigma,
    }
    given: dict[str, GaussianMixture] = {}
    for structure in settings.structures:
        if structure.noise_model is not None:
            model = GaussianMixture.load(structure.noise_model)
            _same_noise(model, about, structure.noise_model, synthetic=bool(data.noise))
            given[structure.name] = model
    models = []
    with bar("noise models", len(settings.structures)) as progress:
        for k, structure in enumerate(settings.structures):
            if structure.name in given:
                model = given[structure.name]
            else:
                model = fit(
                    signal=np.concatenate([f.ravel() for f in data.clean.training[k]]),
                    observed=np.concatenate([f.ravel() for f in data.training[k]]),
                    seed=settings.seed,
                    about=about,
                    **settings.noise_model_fit.model_dump(),
                )
            models.append(model)
            progress.to(k + 1)
    return models


def _same_noise(
    model: GaussianMixture, about: Mapping[str, Any], path: str, *, synthetic: bool
) -> None:
    """Refuse a model whose stored noise is not the noise of the data."""
    for key in ("poisson_factor", "gaussian_sigma"):
        if key not in model.about:
            continue
        stored, needed = float(model.about[key]), float(about[key]) if synthetic else 0.0
        if abs(stored - needed) > 1e-3 * max(abs(stored), abs(needed)):
            raise InputError(
                path, f"a noise model made for {key.replace('_', ' ')} {stored:g}",
                f"{needed:g} as in the data", "give the model of this noise, or leave it out",
            )  # fmt: skip
