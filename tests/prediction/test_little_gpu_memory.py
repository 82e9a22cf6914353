"""Tiles that a GPU has too little memory for: the same split, in smaller parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from denoisplit.prediction.frame import predict_frame
from denoisplit.prediction.sampling import Sampling

from .test_frame import Stub, frame_of, with_context


class Small(Stub):
    """A network on a GPU that can decode some pixels at once."""

    def __init__(self, pixels: int) -> None:
        super().__init__(noise=0.5)
        self.pixels = pixels
        self.decoded: list[int] = []

    def decode(self, features: list[Tensor], eps: list[Tensor]) -> Tensor:
        count = features[0].numel()
        if count > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.decoded.append(count)
        return super().decode(features, eps)


@pytest.mark.parametrize("samples", [0, 8])
def test_a_tile_is_split_in_parts_that_fit(samples: int) -> None:
    frame, sampling = frame_of(101, 67), Sampling(samples, keep=samples)
    whole = predict_frame(Stub(noise=0.5), frame, sampling, tile=200, halo=4)
    fractions: list[float] = []
    model: Any = Small(3000)
    parts = predict_frame(model, frame, sampling, tile=200, halo=4, on_progress=fractions.append)
    for a, b in zip(parts[:3], whole[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert max(model.decoded) > 1000, "parts are no smaller than needed"
    assert fractions == sorted(fractions) and fractions[-1] == 1


def test_a_patch_of_fixed_side_decodes_fewer_samples_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, frame, sampling = with_context(), frame_of(40, 45), Sampling(8)
    whole = predict_frame(model, frame, sampling)
    decode = model.decode

    def small(features: list[Tensor], eps: list[Tensor]) -> Tensor:
        if len(eps[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(features, eps)

    monkeypatch.setattr(model, "decode", small)
    # of values up to 4, some of which are next to 0
    few = predict_frame(model, frame, sampling).mean
    np.testing.assert_allclose(few, whole.mean, rtol=0, atol=1e-5)


def test_a_gpu_without_memory_is_told() -> None:
    model: Any = Small(0)
    with pytest.raises(torch.OutOfMemoryError):
        predict_frame(model, frame_of(64, 64), Sampling(2), tile=64, halo=4)
