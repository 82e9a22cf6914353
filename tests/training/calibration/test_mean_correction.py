"""Training of the correction of decoded means, on a network whose samples have another mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from denoisplit.data.superposition import Superposition
from denoisplit.evaluation.held_out import Parts
from denoisplit.evaluation.judge import Judge
from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import predict_frame
from denoisplit.run import correct_means
from denoisplit.training.calibration import error_map as error_map_fit
from denoisplit.training.calibration import mean_correction as fitting
from denoisplit.training.calibration.mean_correction import fit_mean_correction

STEPS = 60  # of 300: of frames that are smaller and simpler than real ones
SIDE = 64


def network(spread: float) -> VSE:
    """An untrained network; ``spread`` is added to the log-variances of its posteriors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = VSE(2, filters=4, latents=4, levels=2, patch=16).eval().requires_grad_(False)
    model.input_mean.fill_(50.0)
    model.input_std.fill_(25.0)
    model.target_mean.fill_(50.0)
    model.target_std.fill_(25.0)
    for module in (model.decoder.top, *model.decoder.levels):
        conv: Any = module.posterior_conv
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        conv.bias[len(conv.bias) // 2 :] += spread
        latent_out: Any = module.latent_out
        latent_out.weight *= 6  # the output depends on the latents
    return model


def frames(seed: int, number: int = 6) -> Any:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    made = []
    for _ in range(number):
        a, b = rng.uniform(0, 6, 2)
        mean = 50 + 40 * np.sin(x / 9 + a) * np.cos(y / 11 + b)
        made.append(np.float32(mean + rng.normal(0, 5, mean.shape)))
    return SimpleNamespace(inputs=made)


def judge(model: VSE) -> Judge:
    return Judge(model, ("A", "B"), [], [], Superposition("sum", (0.0, 0.0)), 0, True, 64, 20)


@pytest.fixture(autouse=True)
def _few_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "TRAINED", 4)
    monkeypatch.setattr(fitting, "COMPARED", 2)
    monkeypatch.setattr(error_map_fit, "CROPS", 4)


def gap(of: Judge, known: Any) -> float:
    """Mean squared difference of decoded means and the mean of 32 samples, raw intensity."""
    pairs = [
        [predict_frame(of.model, x, of.sampling(s), tile=64, halo=20).mean for s in (0, 32)]
        for x in known.inputs
    ]
    return float(np.mean([(a - b) ** 2 for a, b in pairs]))


def test_decoded_means_of_new_frames_come_nearer_to_means_of_samples() -> None:
    of, new = judge(network(2.0)), frames(9, 2)
    random = torch.get_rng_state()
    before = gap(of, new)
    correction = fit_mean_correction(of, Parts(frames(1), frames(2), new), steps=STEPS)
    assert correction is not None
    correct_means(of.model, correction)
    assert gap(of, new) < 0.7 * before
    assert torch.equal(torch.get_rng_state(), random)


def test_validation_frames_are_fitted_to_where_training_frames_cannot_be_superposed() -> None:
    of = judge(network(2.0))
    correction = fit_mean_correction(of, Parts(None, frames(2), frames(3)), steps=20)
    again = fit_mean_correction(of, Parts(None, frames(2), frames(3)), steps=20)
    assert correction is not None and again is not None
    state = again.state_dict()
    assert all(torch.equal(v, state[name]) for name, v in correction.state_dict().items())


def test_means_that_samples_agree_with_are_left_as_they_are() -> None:
    of = judge(network(-60.0))
    known = frames(2)
    assert gap(of, known) < 1e-6
    assert fit_mean_correction(of, Parts(known, known, known), steps=2) is None
