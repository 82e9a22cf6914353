"""A noise model of repeated shots of real nuclei agrees with the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from denoisplit.config.groups import NoiseModelSettings
from denoisplit.noise_models import GaussianMixture
from denoisplit.noise_models.goodness_of_fit import Quality, fit_pairs
from denoisplit.noise_models.pairs import from_repeats
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


@pytest.fixture(scope="module")
def stacks(data_dir: Path) -> list[NDArray[np.uint8]]:
    files = sorted((data_dir / "fmd_nuclei_repeats").glob("*.tif"))
    return [tifffile.imread(file) for file in files]


@pytest.fixture(scope="module")
def repeats(stacks: list[NDArray[np.uint8]]) -> tuple[GaussianMixture, Quality]:
    """With the default settings."""
    return fit_pairs(from_repeats(stacks=stacks), NoiseModelSettings(), seed=0)


def test_variance_of_repeats_is_the_temporal_one(
    stacks: list[NDArray[np.uint8]], repeats: tuple[GaussianMixture, Quality]
) -> None:
    """Measured here from the images alone, pixel by pixel."""
    signal = np.concatenate([s.mean(axis=0, dtype=np.float64).ravel() for s in stacks])
    temporal = np.concatenate([s.astype(np.float64).var(axis=0, ddof=1).ravel() for s in stacks])
    n, at, measured = binned(temporal, signal)
    _, _, modelled = binned(repeats[0].variance(torch.from_numpy(signal)).double().numpy(), signal)
    lowest_tenth = signal.min() + 0.1 * np.ptp(signal)
    judged = (n >= 1000) & (at > lowest_tenth)
    assert judged.sum() >= 7
    np.testing.assert_allclose(modelled[judged], measured[judged], rtol=0.05)


def test_gain_and_distribution_of_repeats(repeats: tuple[GaussianMixture, Quality]) -> None:
    model, quality = repeats
    assert quality.gain == pytest.approx(4.0, abs=0.2)
    assert quality.offset == pytest.approx(-14, abs=2)
    assert quality.ks < 0.03
    assert quality.log_likelihood > quality.gaussian + 0.6
    assert quality.log_likelihood > quality.histogram
    assert model.components > 1
    assert quality.verdict()[0].startswith("The model fits well")


def test_repeats_cause_no_warning(repeats: tuple[GaussianMixture, Quality]) -> None:
    """Neighbours correlate by 0.1 and less; one pixel in 3000 is saturated."""
    _, quality = repeats
    assert 0.03 < max(quality.correlation) < 0.11
    assert correlation_warning(quality.correlation) is None
    assert len(quality.verdict()) == 3
    assert quality.verdict()[2] == "0.033 % of the pixels are saturated and were excluded."


def test_blurred_repeats_are_warned_of(stacks: list[NDArray[np.uint8]]) -> None:
    blurred = [(s[:, :, :-1].astype(np.float64) + s[:, :, 1:]) / 2 for s in stacks[:1]]
    along_x, along_y = from_repeats(stacks=blurred).correlation
    assert along_x > 0.4
    sentence = correlation_warning((along_x, along_y))
    assert sentence is not None and "the method assumes pixel-wise noise" in sentence
