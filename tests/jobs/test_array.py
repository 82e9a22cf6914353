"""Images in memory: the same as files of the same pixels."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

import denoisplit
from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.jobs.array import predict_image
from denoisplit.run import Run

from .conftest import KINDS, MAPPED, OPTIONS, made

Call = Callable[..., Any]
QUICK: dict[str, Any] = {"samples": 3, "keep_samples": 2, "tile": 32, "halo": 16}
PIXELS = np.random.default_rng(0).uniform(20, 100, (3, 40, 50)).astype(np.float32)


@pytest.mark.parametrize("has_error_map", [False, True])
def test_an_image_in_memory_is_split_as_a_file(
    has_error_map: bool, works: Call, run_folder: Path, mapped_folder: Path, tmp_path: Path
) -> None:
    """Pixels, channels and pixel sizes of every kind of result; what a file has not is None."""
    image = made(tmp_path / "mixed.ome.tif")
    folder, kinds, options = run_folder, KINDS, OPTIONS
    if has_error_map:
        folder, kinds, options = mapped_folder, MAPPED, (*OPTIONS, "--interval", "0.9")
    works("predict", folder, image, "-o", "out", *options)
    run = denoisplit.load(folder)
    for given in (image, read_image(image)):
        here = run.predict(given, **QUICK)
        for kind in MAPPED:
            array = getattr(here, "mean" if kind == "split" else kind)
            assert (array is not None) == (kind in kinds)
            if array is None:
                continue
            there = read_image(f"out/mixed_{kind}.ome.tif")
            assert array.attrs["pixel_size_um"] == there.attrs["pixel_size_um"]
            assert list(array["c"].values) == ["ER", "MT"]
            if kind == "samples":
                assert array.dims == ("sample", "t", "c", "y", "x")
                assert list(there["c"].values) == ["ER_1", "MT_1", "ER_2", "MT_2"]
                array = array.transpose("t", "sample", "c", "y", "x")
                np.testing.assert_array_equal(array.values.reshape(there.shape), there)
            else:
                assert array.dims == there.dims
                np.testing.assert_array_equal(array, there)
    assert here.mean.attrs["input"] == image.name and here.mean.attrs["run"] == folder.name


def test_arrays_of_one_image_give_one_result(trained: Run) -> None:
    """Of NumPy, Dask and xarray, in any order of the axes, of any kind, and one of its channels."""
    options: dict[str, Any] = {"samples": np.int64(2), "seed": np.uint8(3)}
    split = predict_image(trained, PIXELS, "ZYX", **options)
    assert split.mean.dims == ("c", "z", "y", "x") and split.mean.shape == (2, 3, 40, 50)
    assert split.samples.sizes["sample"] == 2
    np.testing.assert_allclose(split.samples.mean("sample"), split.mean, rtol=1e-3)
    z = np.array([0.0, 0.5, 1.0])
    attrs = {"time_increment_s": 2.5, "pixel_size_um": None}
    timed = xr.DataArray(PIXELS, dims=("time", "y", "x"), attrs=attrs)
    mean = predict_image(trained, timed, samples=0).mean
    assert mean.dims == ("t", "c", "y", "x") and mean.attrs["pixel_size_um"] == {}
    assert mean.attrs["time_increment_s"] == 2.5
    both = np.stack([PIXELS, PIXELS + 1])
    for image, axes, channel in (
        (da.from_array(np.moveaxis(PIXELS, 0, 2), chunks=20), "yxz", None),
        (xr.DataArray(PIXELS, dims=("Z", "Y", "X"), coords={"Z": z}), None, None),
        (PIXELS.astype(">f8"), "ZYX", np.int64(0)),
        (both, "CZYX", 0),
        (xr.DataArray(both[::-1], dims=("c", "z", "y", "x"), coords={"c": ["A", "B"]}), None, "B"),
    ):
        again = predict_image(trained, image, axes, channel=channel, **options)
        np.testing.assert_array_equal(again.mean, split.mean)
        np.testing.assert_array_equal(again.samples, split.samples)
        if isinstance(image, xr.DataArray) and "Z" in image.dims:
            np.testing.assert_array_equal(again.mean["z"], z)


@pytest.mark.parametrize(
    ("image", "options", "says"),
    [
        (PIXELS, {}, "axes of an array of shape (3, 40, 50) are not known"),
        (PIXELS, {"axes": "ZZX"}, "axes: found 'ZZX'"),
        (PIXELS, {"axes": "YX"}, "axes: found 'YX'"),
        (PIXELS, {"axes": "ZYQ"}, "axes: found 'ZYQ'"),
        (xr.DataArray(PIXELS), {}, "axes: found '(dim_0)(dim_1)(dim_2)'"),
        (PIXELS, {"axes": "CYX"}, "3 channels"),
        (xr.DataArray(PIXELS, {"c": list("ABC")}, ("c", "y", "x")), {}, "3 channels (A, B, C)"),
        (PIXELS, {"axes": "CYX", "channel": 3}, "found channel 3, expected a number from 0 to 2"),
        (PIXELS[0], {"channel": "ER"}, "found channel 'ER', expected 0, the only one"),
        (PIXELS[0] * 1j, {}, "complex64 pixels"),
        (PIXELS[0].astype(str), {}, "pixels, expected one real number"),
        (PIXELS[:0], {"axes": "ZYX"}, "no pixels"),
        (np.where(PIXELS[0] > 99, np.nan, PIXELS[0]), {}, "NaN or infinite"),
        ("mixed.tif", {"axes": "YX"}, "the axes of a file"),
        ("none.tif", {}, "none.tif"),
        (PIXELS[0], {"samples": 2, "keep_samples": 3}, "keep_samples: found 3"),
    ],
)
def test_what_is_no_image_is_refused(
    image: Any, options: dict[str, Any], says: str, trained: Run
) -> None:
    with pytest.raises(InputError) as error:
        predict_image(trained, image, **options)
    assert says in str(error.value)


def test_a_run_is_easy_to_read_and_leaves_the_random_state(mapped_folder: Path) -> None:
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    run = denoisplit.load(mapped_folder)
    assert repr(run).startswith("<Run '") and "denoiSplit of the sum of ER, MT" in repr(run)
    assert "options" not in inspect.signature(denoisplit.train).parameters
    assert list(inspect.signature(run.predict).parameters)[:2] == ["image", "axes"]
    moves: list[float] = []
    split = run.predict(PIXELS[0], samples=2, keep_samples=0, on_progress=moves.append)
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert repr(split) == (
        "<SplitImage of ER, MT; y 40, x 50; mean, std, low, high, spread, 0 samples>"
    )
    assert moves and moves[-1] == 1.0
    low, high = split.low, split.high
    assert low is not None and high is not None and (low < high).all()


def test_an_image_unlike_the_training_is_warned_of(
    trained: Run, caplog: pytest.LogCaptureFixture
) -> None:
    bright = 50 * np.random.default_rng(1).uniform(20, 100, (128, 128))
    split = predict_image(trained, bright, samples=0)
    assert split.alarm is None or split.alarm["alarm"]
    assert "image: its mean intensity is" in caplog.text


def test_narrow_planes_are_refused_and_other_pixel_sizes_warned_of(
    trained: Run, caplog: pytest.LogCaptureFixture
) -> None:
    side = trained.model.stride
    with pytest.raises(InputError, match=f"planes of {side - 1} x 50 px.*the stride"):
        predict_image(trained, PIXELS[0, : side - 1], samples=0)
    facts = trained.config.facts.model_copy(update={"pixel_size_um": {"x": 0.1, "y": 0.1}})
    run = replace(trained, config=trained.config.model_copy(update={"facts": facts}))
    image = xr.DataArray(PIXELS[0], dims=("y", "x"), attrs={"pixel_size_um": {"x": 0.2, "y": 0.2}})
    predict_image(run, image, samples=0)
    assert "image: its pixels are 0.2 um wide along x" in caplog.text


def test_intervals_of_a_run_without_them_are_refused(run_folder: Path) -> None:
    with pytest.raises(InputError, match="this run has no error map") as caught:
        denoisplit.load(run_folder).predict(PIXELS[0], interval=0.9)
    assert f"`denoisplit calibrate {run_folder}`" in str(caught.value)
