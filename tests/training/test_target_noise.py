"""Targets carry their own noise, the input carries theirs together: in every data path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from denoisplit.config.settings import settings_from
from denoisplit.data.patches import GridPatches, RandomCrops
from denoisplit.data.prepare import TrainingData, prepare
from denoisplit.training.one_network import initial_network
from denoisplit.training.schedule import Schedule
from denoisplit.training.task import SplittingTask

PATCH, SIGMA = 16, 5.0


def material(**groups: Any) -> tuple[Any, TrainingData]:
    """Flat images: what is not flat in a batch is noise."""
    values: dict[str, Any] = {
        "structures": [{"name": name, "files": ["unused"]} for name in "ABC"],
        "network": {"filters": 4, "latents": 2, "levels": 2, "patch": PATCH},
        "data": {"gaussian_sigma": SIGMA, "augment": False},
        "system": "musplit",
    }
    settings = settings_from({**values, **groups})
    flat = [np.full((4, 64, 64), 100.0 * k, np.float32) for k in (1, 2, 3)]
    return settings, prepare(flat, settings)


@pytest.mark.parametrize("path", ["training", "validation"])
@pytest.mark.parametrize("system", ["musplit", "altered_musplit"])
def test_every_target_has_the_noise_of_its_own_structure(system: str, path: str) -> None:
    """A slip by one in the context data path would give target 1 the input's noise."""
    network = {"filters": 4, "latents": 2, "levels": 2, "patch": PATCH}
    if system == "musplit":
        network["planes"] = 3
    settings, data = material(system=system, network=network)
    planes = settings.network.planes
    crops: Any
    if path == "training":
        crops = RandomCrops(
            data.training, patch=PATCH, seed=0, independent=False, augment=False, planes=planes
        )
    else:
        crops = GridPatches(data.validation, patch=PATCH, planes=planes)
    batch = torch.stack([crops[j] for j in range(8)])
    task = SplittingTask(
        initial_network(settings, data), [], data.superposition, settings, Schedule(1, 1)
    )
    raw, targets = task.pairs(batch)
    assert raw.shape == (8, planes, PATCH, PATCH) and targets.shape == (8, 3, PATCH, PATCH)
    noise = targets - torch.tensor([100.0, 200.0, 300.0])[:, None, None]
    together = raw[:, 0] - 600
    torch.testing.assert_close(noise.sum(dim=1), together, rtol=0, atol=1e-3)
    flat = noise.movedim(1, 0).flatten(1)
    among = torch.corrcoef(torch.cat([flat, together.flatten()[None]]))
    # independent of each other, and each the third part of the input's variance
    for a in range(3):
        assert flat[a].std().item() == pytest.approx(SIGMA, rel=0.05)
        assert among[a, 3].item() == pytest.approx(3**-0.5, abs=0.08)
        for b in range(a):
            assert abs(among[a, b].item()) < 0.08
    # and it is that of the frames themselves, at the place of the crop
    frames = {"training": data.training, "validation": data.validation}[path]
    for k in range(3):
        first = targets[0, k].numpy()
        places = np.argwhere(np.stack(frames[k]) == first[0, 0])
        assert any(
            np.array_equal(frames[k][j][y : y + PATCH, x : x + PATCH], first) for j, y, x in places
        )


def test_an_absolute_sigma_goes_before_a_level() -> None:
    _, data = material(data={"gaussian_sigma": SIGMA, "synthetic_gaussian": 3.0})
    assert data.noise.gaussian_sigma == SIGMA
    _, data = material(data={"synthetic_gaussian": 3.0})
    assert data.noise.gaussian_sigma == pytest.approx(3 * data.pooled_std)
