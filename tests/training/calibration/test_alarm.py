"""Fit of the alarm of a network: reproducible, for any number of structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from denoisplit.data.summed_crops import Sums
from denoisplit.data.superposition import Superposition
from denoisplit.files.json_file import write_json
from denoisplit.images.tiling import Array
from denoisplit.jobs.alarm import BEFORE, UNLIKE
from denoisplit.jobs.alarm_file import ALARM, read_alarm
from denoisplit.network.vse import VSE
from denoisplit.noise_models import GaussianMixture
from denoisplit.training.calibration.alarm import _summed, fit_alarm

OPTIONS = {"tile": 128, "halo": 16, "seed": 0}
FLAT = GaussianMixture([[0.0], [np.log(9.0)], [0.0]], 0.0, 100.0, 1.0)  # a variance of 9


def network(structures: int) -> VSE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VSE(structures, filters=4, latents=2, levels=2)
    return model.eval()


def frames(structures: int, size: int = 96, count: int = 3) -> list[Array]:
    random = np.random.default_rng(0)
    return [random.normal(20, 3, (structures, size, size)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("structures", [1, 2, 3])
@pytest.mark.parametrize("models", [True, False])
def test_frames_of_the_fit_are_judged(structures: int, models: bool, tmp_path: Path) -> None:
    superposition = Superposition("mean", (0.0,) * structures)
    noise_models = [FLAT] * structures if models else []
    images = frames(structures)
    alarm = fit_alarm(network(structures), images, superposition, noise_models, **OPTIONS)
    assert alarm is not None
    assert alarm.names[:4] == BEFORE
    assert alarm.names[-1] == UNLIKE
    write_json(tmp_path / ALARM, alarm.as_dict())
    again = read_alarm(tmp_path, structures)
    assert again is not None
    tiles = again.judge(superposition(images[0]), images[0])
    assert tiles.scores.shape == (2, 2)
    assert np.isfinite(tiles.each).all()


def test_the_seed_decides() -> None:
    superposition = Superposition("sum", (0.0, 0.0))
    first, second = (
        fit_alarm(network(2), frames(2), superposition, [FLAT] * 2, **OPTIONS) for _ in range(2)
    )
    assert first is not None
    assert second is not None
    assert first.as_dict() == second.as_dict()


@pytest.mark.parametrize("count", [1, 2])
def test_frames_of_one_tile_have_no_covariance(count: int) -> None:
    images, superposition = frames(2, size=64, count=count), Superposition("sum", (0.0, 0.0))
    alarm = fit_alarm(network(2), images, superposition, [FLAT] * 2, **OPTIONS)
    assert alarm is not None
    assert np.isfinite(alarm.limits).all() and (alarm.limits > 0).all()
    assert np.isfinite(alarm.judge(superposition(images[0]), images[0]).each).all()


def test_frames_below_the_side_of_a_tile_give_no_alarm() -> None:
    small = frames(2, size=48)
    superposition = Superposition("sum", (0.0, 0.0))
    assert fit_alarm(network(2), small, superposition, [FLAT] * 2, **OPTIONS) is None


def test_sums_of_pixels_and_crops_are_like_the_training() -> None:
    images = frames(2, size=128, count=2)
    sums = Sums(0.5, 0.5, zeros=[0.0, 0.0], limits=[1e3, 1e3])
    binned, stacked, *_ = _summed(images, sums)
    np.testing.assert_allclose(binned[1, 3, 5], images[0][1, 6:8, 10:12].sum(), rtol=1e-5)
    np.testing.assert_allclose(stacked, images[0] + images[1], rtol=1e-5)
