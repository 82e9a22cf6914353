"""Noise models of long and short exposures of real cells agree with the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from denoisplit.config.groups import NoiseModelSettings
from denoisplit.errors import InputError
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality, fit_pairs
from denoisplit.noise_models.pairs import Pairs, from_exposures
from denoisplit.noise_models.validity import correlation_warning

Array = NDArray[np.float64]


def binned(values: Array, signal: Array, bins: int = 20) -> tuple[Array, Array, Array]:
    """Numbers, mean signals and means of values in bins of equal width."""
    edges = np.linspace(signal.min(), signal.max(), bins + 1)
    place = np.clip(np.digitize(signal, edges) - 1, 0, bins - 1)
    n = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, v, minlength=bins) for v in (signal, values))
    with np.errstate(invalid="ignore"):
        return n, *(s / n for s in sums)


def exposures(data_dir: Path, name: str) -> dict[str, list[NDArray[np.uint8]]]:
    folder = data_dir / "hagen_actin_mito/60x"
    return {
        "signal": [tifffile.imread(folder / f"{name}_high.tif")],
        "observed": [tifffile.imread(folder / f"{name}_low.tif")],
    }


@pytest.fixture(scope="module", params=["actin", "mito"])
def hagen(data_dir: Path, request: pytest.FixtureRequest) -> tuple[Pairs, GaussianMixture, Quality]:
    pairs = from_exposures(**exposures(data_dir, request.param))
    # a fifth of the default steps
    return pairs, *fit_pairs(pairs, NoiseModelSettings(steps=400), seed=0)


def test_variance_of_exposures_is_the_empirical_one(
    hagen: tuple[Pairs, GaussianMixture, Quality],
) -> None:
    pairs, model, _ = hagen
    residual = pairs.observed - pairs.signal
    n, _, mean = binned(residual, pairs.signal)
    _, _, square = binned(residual**2, pairs.signal)
    _, _, modelled = binned(
        model.variance(torch.from_numpy(pairs.signal)).double().numpy(), pairs.signal
    )
    judged = n >= 5000
    assert judged.sum() >= 15
    ratio = modelled[judged] / (square - mean**2)[judged]
    np.testing.assert_allclose(ratio, 1, atol=0.15)


def test_gain_and_distribution_of_exposures(hagen: tuple[Pairs, GaussianMixture, Quality]) -> None:
    _, _, quality = hagen
    assert quality.gain == pytest.approx(2.5, rel=0.15)
    assert quality.ks < 0.03
    assert quality.log_likelihood > quality.gaussian + 0.15
    assert max(quality.correlation) < 0.05
    assert correlation_warning(quality.correlation) is None


@pytest.mark.parametrize("name", ["actin", "mito"])
def test_swapped_exposures_are_refused(data_dir: Path, name: str) -> None:
    images = exposures(data_dir, name)
    with pytest.raises(
        InputError, match="signal and observation appear to be swapped.*exchange them"
    ):
        from_exposures(signal=images["observed"], observed=images["signal"])
