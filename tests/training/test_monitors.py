"""The values that epochs are chosen by."""

from __future__ import annotations

import math

import pytest
import torch

from denoisplit.noise_models import GaussianMixture
from denoisplit.training.monitors import TargetPsnr, estimated_risk


def test_it_is_that_of_the_whole_epoch() -> None:
    """Per structure over all batches, of different sizes; the peak is the targets' range."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(5, 2, 8, 8, generator=generator) * torch.tensor([1.0, 3.0])[:, None, None]
    means = targets + 0.1 * torch.randn(5, 2, 8, 8, generator=generator)
    measured = TargetPsnr()
    for first, last in ((0, 3), (3, 5)):
        measured.add(targets[first:last], means[first:last])
    expected = [
        20 * math.log10(
            float(targets[:, k].max() - targets[:, k].min())
            / float((targets[:, k] - means[:, k]).square().mean().sqrt())
        )
        for k in range(2)
    ]  # fmt: skip
    assert measured.of_epoch().item() == pytest.approx(sum(expected) / 2, rel=1e-5)
    # the next epoch knows nothing of it
    measured.add(targets[:1], targets[:1] + 1)
    spans = [float(targets[0, k].max() - targets[0, k].min()) for k in range(2)]
    assert measured.of_epoch().item() == pytest.approx(
        sum(20 * math.log10(span) for span in spans) / 2, rel=1e-5
    )


def noise_model(gain: float, variance: float) -> GaussianMixture:
    """One Gaussian whose variance is ``gain * signal + variance``, near enough, over [0, 400]."""
    weight = [[0.0, 0.0], [math.log(variance), math.log(400 * gain)], [0.0, 0.0]]
    return GaussianMixture(weight, 0.0, 400.0, 1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("structures", [1, 2, 3])
def test_the_estimated_risk_is_the_squared_error_of_a_linear_split(
    structures: int, scale: float
) -> None:
    """Although the image that is split contains the noise of the targets, as recordings do."""
    torch.manual_seed(0)
    models = [noise_model(0.5 + k, 30.0) for k in range(structures)]
    clean = 100 + 10 * torch.randn(64, structures, 32, 32)
    generator = torch.Generator().manual_seed(1)
    targets = torch.stack(
        [model.sample(clean[:, k], generator) for k, model in enumerate(models)], dim=1
    )
    raw = scale * targets.sum(dim=1, keepdim=True)
    share = torch.linspace(0.8, 0.3, structures)[:, None, None]

    def split(raw: torch.Tensor) -> torch.Tensor:
        return 100 + share * (raw / scale - 100 * structures)

    truth = (split(raw) - clean).square().mean(dim=(0, 2, 3))
    found = estimated_risk(split, raw, targets, models, scale)
    torch.testing.assert_close(found, truth, rtol=0.05, atol=0)
    naive = (split(raw) - targets).square().mean(dim=(0, 2, 3))
    assert abs(found[0] - truth[0]) < 0.3 * abs(naive[0] - truth[0])
