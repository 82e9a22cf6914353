"""Images in memory: the same as files of the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import denoisplit
from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.run import Run

from .conftest import KINDS, MAPPED, OPTIONS, made

Call = Callable[..., Any]
SAMPLING = denoisplit.Sampling(4, keep=2)


@pytest.mark.parametrize("has_error_map", [False, True])
def test_an_image_in_memory_is_split_as_a_file(
    has_error_map: bool, works: Call, run_folder: Path, mapped_folder: Path, tmp_path: Path
) -> None:
    """Pixels, channels and pixel sizes of every kind of result; what a file lacks is None."""
    image = made(tmp_path / "mixed.ome.tif")
    folder, kinds, interval = run_folder, KINDS, None
    if has_error_map:
        folder, kinds, interval = mapped_folder, MAPPED, 0.9
    options = (*OPTIONS, *(("--interval", interval) if interval else ()))
    works("predict", folder, image, "-o", "out", *options)
    run = denoisplit.load(folder)
    here = denoisplit.predict_image(
        run, read_image(image), SAMPLING, interval=interval, tile=32, halo=16
    )
    for kind in MAPPED:
        array = getattr(here, kind)
        assert (array is not None) == (kind in kinds)
        if array is not None:
            there = read_image(f"out/mixed_{kind}.ome.tif")
            assert (array.dims, list(array["c"].values)) == (there.dims, list(there["c"].values))
            assert array.attrs["pixel_size_um"] == there.attrs["pixel_size_um"]
            np.testing.assert_array_equal(array, there)


def test_intervals_of_a_run_without_them_are_refused(trained: Run, tmp_path: Path) -> None:
    image = read_image(made(tmp_path / "mixed.ome.tif"))
    with pytest.raises(InputError, match="this run has no error map") as caught:
        denoisplit.predict_image(trained, image, SAMPLING, interval=0.9)
    assert f"`denoisplit calibrate {trained.path}`" in str(caught.value)
