"""The PSNR that epochs of muSplit are chosen by."""

from __future__ import annotations

import math

import pytest
import torch

from denoisplit.training.target_psnr import TargetPsnr


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
