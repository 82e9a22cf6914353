"""Intensities that float32 cannot stand are refused, and usual ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from denoisplit.errors import InputError
from denoisplit.images.frames import read_frames
from denoisplit.images.scale import LARGEST, LEAST_RANGE, check_largest, check_scale

IMAGE = np.random.default_rng(0).integers(100, 4000, (8, 8)).astype(np.float64)


@pytest.mark.parametrize("factor", [1e-8, 1e-3, 1.0, 1e3, 1e8])
def test_usual_scales(factor: float) -> None:
    for dtype in (np.float32, np.float64):
        check_scale((factor * IMAGE).astype(dtype), "it")
        check_scale((-factor * IMAGE).astype(dtype), "it")
    check_scale(IMAGE.astype(np.uint16), "it")
    check_scale(60_000 + np.arange(4.0), "it")
    assert check_largest(np.zeros(3, bool), "it") == (0.0, 0.0)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (IMAGE * 1e18, "at most 1e+12"),
        (-IMAGE * 1e18, "at most 1e+12"),
        (IMAGE * 1e300, "at most 1e+12"),
        (np.array([0, 2**63], np.uint64), "at most 1e+12"),
        (np.array([0, LARGEST * 1.01]), "at most 1e+12"),
        (IMAGE * 1e-30, "expected 1e-12 or more"),
        (np.array([0, LEAST_RANGE / 2]), "expected 1e-12 or more"),
        (1e8 + np.arange(9.0), "too little"),
        (np.array([1.0, np.nan, -np.inf]), "2 of 3 pixels are NaN or infinite"),
    ],
)
def test_extreme_scales_are_one_line(tmp_path: Path, pixels: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=r"^it: .+; ") as error:
        check_scale(pixels, "it")
    assert says in str(error.value)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.atleast_2d(pixels), photometric="minisblack")
    with pytest.raises(InputError, match=r"a\.tif: .+; ") as error:
        read_frames(path)
    assert says in str(error.value)
