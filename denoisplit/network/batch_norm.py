"""Normalise by the moments of each batch, as in training, without training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def batch_moments(model: nn.Module, *, measure: bool) -> Iterator[None]:
    """Let BatchNorm use the moments of each batch within the context.

    Everything else stays in its mode: without dropout, the moments are those of a prediction.

    Parameters
    ----------
    measure : bool
        Replace the running moments by the mean of those of the batches; otherwise they are kept.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm.training, norm.momentum, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.train()
        norm.track_running_stats = measure
        norm.momentum = None  # the mean over all batches
        if measure:
            norm.reset_running_stats()
    try:
        yield
    finally:
        for norm, (training, momentum, track) in zip(norms, before, strict=True):
            norm.train(training)
            norm.momentum, norm.track_running_stats = momentum, track
