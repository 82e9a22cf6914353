"""A noise model with what is known of its fit, in memory and in a run folder."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.files.json_file import write_json
from denoisplit.files.npz import read_arrays
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality
from denoisplit.noise_models.pairs import Pairs

SAMPLE = 100_000  # pairs that are kept: enough for a picture, and small enough to be mailed


class FittedNoiseModel(NamedTuple):
    """A noise model, how well it fits, and what it was fitted to; of a given file only the first.

    ``pairs`` may be some of all.
    """

    model: GaussianMixture
    quality: Quality | None = None
    pairs: Pairs | None = None


def keep(folder: Path, name: str, fitted: FittedNoiseModel) -> None:
    """Write ``NAME.npz``, and before it what `fit_kept` reads: where it is there, all is."""
    if fitted.quality is not None and fitted.pairs is not None:
        every = max(1, len(fitted.pairs) // SAMPLE)
        content = io.BytesIO()
        np.savez_compressed(
            content,
            signal=fitted.pairs.signal[::every].astype(np.float32),
            observed=fitted.pairs.observed[::every].astype(np.float32),
            step=fitted.pairs.step,
        )
        _pairs_path(folder, name).parent.mkdir(exist_ok=True)
        write_bytes(_pairs_path(folder, name), content.getvalue())
        write_json(folder / f"{name}.json", fitted.quality.as_dict())
    write_bytes(folder / f"{name}.npz", fitted.model.to_bytes())


def is_kept(folder: Path, name: str) -> bool:
    """Whether the noise model of a structure is ready."""
    return (folder / f"{name}.npz").is_file()


def fit_kept(folder: Path, name: str) -> FittedNoiseModel:
    """Read what `keep` has written; of a given file, or where a part was taken away, the model.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    model = GaussianMixture.load(folder / f"{name}.npz")
    told, drawn = folder / f"{name}.json", _pairs_path(folder, name)
    if not (told.is_file() and drawn.is_file()):
        return FittedNoiseModel(model)
    try:
        quality = Quality.from_dict(json.loads(told.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(
            where=told,
            found=f"no quality of a noise model ({type(error).__name__})",
            expected="what the training has written",
            remedy="copy the run again, or remove the file",
        ) from None
    arrays = read_arrays(
        drawn,
        ("signal", "observed", "step"),
        "pairs of a noise model",
        "copy the run again, or remove the file",
    )
    signal = arrays["signal"].astype(np.float64)
    pairs = Pairs(
        signal,
        arrays["observed"].astype(np.float64),
        np.arange(signal.size),
        step=float(arrays["step"]),
        source=quality.source,
        saturated=quality.saturated,
        clipped=quality.clipped,
        correlation=quality.correlation,
    )
    return FittedNoiseModel(model, quality, pairs)


def _pairs_path(folder: Path, name: str) -> Path:
    return folder / "pairs" / f"{name}.npz"
