"""Write fitted noise models to a run folder, and read them again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from denoisplit.errors import InputError
from denoisplit.files.atomic import write_bytes
from denoisplit.files.json_file import read_json, write_json
from denoisplit.files.npz import read_arrays
from denoisplit.noise_models.gmm import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality
from denoisplit.noise_models.pairs import Pairs

STORED_PAIRS = 100_000  # enough for a plot, and small enough to be mailed


class FittedNoiseModel(NamedTuple):
    """A noise model with its goodness of fit and (some of) the pairs that it was fitted to.

    A model that the user provides as a file has neither quality nor pairs.
    """

    model: GaussianMixture
    quality: Quality | None = None
    pairs: Pairs | None = None

    @property
    def correlation(self) -> tuple[float, float]:
        """Measured correlation of the noise of neighbours along x and y; 0 if it is not known."""
        return self.quality.correlation if self.quality else (0.0, 0.0)


def write_fitted(folder: Path, name: str, fitted: FittedNoiseModel) -> None:
    """Write a fit; ``NAME.npz`` is written last, so its presence means that the fit is complete."""
    if fitted.quality is not None and fitted.pairs is not None:
        every = max(1, len(fitted.pairs) // STORED_PAIRS)
        content = io.BytesIO()
        np.savez_compressed(
            content,
            signal=fitted.pairs.signal[::every].astype(np.float32),
            observed=fitted.pairs.observed[::every].astype(np.float32),
            step=fitted.pairs.step,
        )
        path = _pairs_path(folder, name)
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, content.getvalue())
        write_json(folder / f"{name}.json", fitted.quality.as_dict())
    write_bytes(folder / f"{name}.npz", fitted.model.to_bytes())


def is_written(folder: Path, name: str) -> bool:
    """Return whether the noise model of a structure is complete."""
    return (folder / f"{name}.npz").is_file()


def read_fitted(folder: Path, name: str) -> FittedNoiseModel:
    """Read what `write_fitted` wrote; without quality and pairs if one of their files is missing.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    model = GaussianMixture.load(folder / f"{name}.npz")
    quality_path, pairs_path = folder / f"{name}.json", _pairs_path(folder, name)
    if not (quality_path.is_file() and pairs_path.is_file()):
        return FittedNoiseModel(model)
    remedy = "copy the run again, or remove the file"
    try:
        quality = Quality.from_dict(read_json(quality_path))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"the quality of the noise model is unreadable ({type(error).__name__})",
            where=quality_path,
            remedy=remedy,
        ) from None
    keys = ("signal", "observed", "step")
    arrays = read_arrays(pairs_path, keys, "pairs of a noise model", remedy)
    signal, observed = (arrays[key].astype(np.float64) for key in keys[:2])
    pairs = Pairs(
        signal,
        observed,
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
