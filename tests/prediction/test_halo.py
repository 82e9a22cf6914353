"""The halo of a trained network is what tiles need to agree with one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from denoisplit.network.vse import VSE
from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.halo import (
    PACKAGE_TOLERANCE,
    PREDICTION_TOLERANCE,
    halo_errors,
    sufficient_halo,
)
from denoisplit.prediction.sampling import Sampling

from .test_frame import frame_of, network


def far_sighted(factor: float) -> VSE:
    """A network whose weights reach further the larger they are."""
    model = network()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.mul_(factor)
    return model


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_tiles_with_the_measured_halo_equal_the_whole(factor: float) -> None:
    """On other pixels than those that it was measured on, by about the same share of the range."""
    model = far_sighted(factor)
    errors = halo_errors(model, [frame_of(300, 260)], seed=1)
    halo = sufficient_halo(errors, PREDICTION_TOLERANCE)
    assert errors[halo] < PREDICTION_TOLERANCE
    assert halo < 240
    frame = frame_of(45, 700)
    sampling = Sampling(samples=2, seed=2, keep=2)
    whole = predict_frame(model, frame, sampling, tile=1000, halo=halo)
    tiled = predict_frame(model, frame, sampling, tile=64, halo=halo)
    assert np.abs(tiled.samples - whole.samples).max() < 10 * PREDICTION_TOLERANCE * np.ptp(frame)
    assert np.abs(tiled.samples - whole.samples).max() > 0


def test_images_of_one_value_have_a_halo_too() -> None:
    """They have no range: the difference is a share of the std of the inputs."""
    model = far_sighted(1.5)
    model.input_mean.zero_()
    dark = [np.zeros((300, 260), np.float32), np.full((64, 64), 150, np.float32)]
    found = {}
    for unit in (1, 10):  # the network is shown the same
        model.input_std.fill_(100 * unit)
        found[unit] = halo_errors(model, [unit * image for image in dark], seed=1)
        assert (
            found[unit][sufficient_halo(found[unit], PREDICTION_TOLERANCE)] < PREDICTION_TOLERANCE
        )
    for halo in set(found[1]) & set(found[10]):
        assert found[10][halo] == pytest.approx(
            found[1][halo] / 10, rel=0.01, abs=PREDICTION_TOLERANCE / 10
        )


def test_a_network_that_sees_further_needs_a_larger_halo() -> None:
    near, far = (halo_errors(far_sighted(f), [frame_of(300, 300)], seed=1) for f in (1, 1.5))
    assert sufficient_halo(far, PREDICTION_TOLERANCE) > sufficient_halo(near, PREDICTION_TOLERANCE)
    shared = sorted(set(near) & set(far))
    assert all(far[halo] > near[halo] for halo in shared)
    assert min(shared) == 48


def test_the_exact_halo_is_the_last_that_is_tried() -> None:
    """Weights that magnify: whatever reaches the core at all is seen, and at 240 px nothing is."""
    errors = halo_errors(far_sighted(2), [frame_of(64, 64), frame_of(20, 90)], seed=1)
    assert list(errors) == list(range(48, 241, 16))[: len(errors)]
    assert min(errors.values()) == errors[max(errors)] < PREDICTION_TOLERANCE


@pytest.mark.parametrize(
    ("sizes", "exact"),
    [
        ({"levels": 4}, 240),
        ({"levels": 3, "blocks_per_level": 5, "final_blocks": 5}, 288),
        ({"levels": 6, "blocks_per_level": 5, "final_blocks": 5}, 2496),
        ({"levels": 6, "blocks_per_level": 5, "final_blocks": 5, "first_kernel": 5}, 2496),
    ],
)
def test_the_halo_that_the_guide_calls_exact(sizes: dict[str, int], exact: int) -> None:
    """What a core depends on at all: NaN in the last column of its halo is seen, or one further."""
    stride = 2 ** sizes["levels"]
    model = VSE(1, filters=1, latents=1, patch=stride, **sizes).eval()
    image = torch.zeros(1, 1, stride, 2 * exact + stride)
    eps = [torch.zeros(1, *shape) for shape in model.latent_shapes(*image.shape[-2:])]
    seen = []
    # the nearest pixel that is never seen, and the nearest ones beyond the next smaller halo
    for distance in (exact + 1, *range(exact - stride + 1, exact + 1, max(1, stride // 8))):
        probe = image.clone()
        start = exact + stride  # of the core, which all to the right belongs to
        probe[..., start - distance] = float("nan")
        with torch.no_grad():
            out = model.decode(model.encode(probe), eps)
        seen.append(bool(torch.isnan(out[..., start:]).any()))
    assert not seen[0] and any(seen[1:])


def test_the_smallest_halo_that_is_good_enough() -> None:
    errors = {48: 1e-2, 64: 1e-3, 80: 1e-5}
    assert sufficient_halo(errors, PACKAGE_TOLERANCE) == 64
    assert sufficient_halo(errors, PREDICTION_TOLERANCE) == 80
    assert sufficient_halo({48: 1.0, 64: 0.5}, PREDICTION_TOLERANCE) == 64  # none is: the largest
