"""Result files: their names, and what is left if a call is interrupted while they get them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from denoisplit.files.atomic import draft_of
from denoisplit.images import read_image, write_ome_tiff
from denoisplit.images.display import display_limits, light
from denoisplit.jobs import job
from denoisplit.jobs.results import result_channels, result_kinds, result_values
from denoisplit.prediction.frame import ErrorBars, Prediction
from denoisplit.prediction.sampling import Sampling

from .conftest import KINDS, OPTIONS, made, named, results, same

Call = Callable[..., Any]


def test_a_preview_has_one_result(works: Call, run_folder: Path, image: Path) -> None:
    works("predict", run_folder, image, "-o", "out", "--samples", "0")
    assert os.listdir("out") == named(image, "split")


def test_an_image_in_a_group_of_several_is_named_by_both(
    works: Call, run_folder: Path, tmp_path: Path
) -> None:
    image = made(tmp_path / "mixed.ome.zarr")
    group = tmp_path / "plate.zarr"
    group.mkdir()
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    shutil.copytree(image, group / "0")
    works("predict", run_folder, group / "0", "-o", "out", "--samples", "0")
    assert os.listdir("out") == ["plate_0_split.ome.zarr"]


@pytest.mark.parametrize(
    "options",
    [("--compression", "zlib"), ("--format", "ome-zarr-0.4"), ("--format", "ome-zarr-0.5")],
)
def test_all_formats_hold_the_same(
    options: tuple[str, str], works: Call, refused: Call, run_folder: Path, tmp_path: Path
) -> None:
    """Pixels, scale, times, names and colours; an option for the format is one of the job."""
    image = read_image(made(tmp_path / "mixed.ome.tif")).assign_attrs(time_increment_s=0.5)
    path = tmp_path / "mixed.ome.tif"
    write_ome_tiff(path, image, overwrite=True)
    few = ("--samples", "0")
    works("predict", run_folder, path, "-o", "plain", *few)
    works("predict", run_folder, path, "-o", "out", *few, *options)
    images = [read_image(next(Path(name).iterdir())) for name in ("plain", "out")]
    xr.testing.assert_equal(*images)
    for one in images:
        one.attrs.pop("source")
    assert (
        images[0].attrs
        == images[1].attrs
        == {
            "pixel_size_um": {"y": 0.125, "x": 0.0625},
            "time_increment_s": 0.5,
            "colours": (light(0, 2), light(1, 2)),
        }
    )
    if "zarr" not in options[1]:
        refused("predict", run_folder, path, "-o", "out", *few, "--resume", says=("compression",))
    works("predict", run_folder, path, "-o", "out", *few, *options, "--resume")


def test_viewers_begin_with_the_range_of_the_result(
    works: Call, run_folder: Path, tmp_path: Path
) -> None:
    works("predict", run_folder, made(tmp_path / "mixed.ome.zarr"), "-o", "out", *OPTIONS)
    for kind in KINDS:
        path = f"out/mixed_{kind}.ome.zarr"
        shown = zarr.open_group(path, mode="r").attrs["omero"]["channels"]
        values = read_image(path).isel(t=1)  # the middle of two
        for channel, own in zip(shown, values, strict=True):
            window = channel["window"]
            assert (window["start"], window["end"]) == pytest.approx(display_limits(own.values))


def test_a_call_interrupted_between_its_last_steps_is_completed(
    works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First some results have their names, then all, while the folder still exists."""
    works("predict", run_folder, image, "-o", "whole", *OPTIONS)
    name = job.publish

    def halted(made: Path, *how: Any) -> None:
        if made.name == "std.ome.zarr":
            raise KeyboardInterrupt
        name(made, *how)

    with monkeypatch.context() as patch:
        patch.setattr(job, "publish", halted)
        with suppress(AssertionError):
            works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert sorted(os.listdir("out")) == sorted([*named(image, "samples"), "mixed_split.unfinished"])
    with monkeypatch.context() as patch:
        patch.setattr(job.shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(Path, "rmdir", lambda _: None)
        works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    assert len(os.listdir("out")) == 4
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    same(results("out"), results("whole"))
    assert sorted(os.listdir("out")) == named(image, *KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiff_that_was_just_put_together_is_kept(
    kind: str, works: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before it has its name, and before and after its pieces are set aside."""
    image, rename = made(tmp_path / "mixed.ome.tif"), Path.rename
    works("predict", run_folder, image, "-o", "whole", *OPTIONS)
    for out in ("unnamed", "named", "set aside"):

        def halted(path: Path, target: Path, out: str = out) -> Path:
            if path.name == f"{kind}.ome.zarr":
                if out == "set aside":
                    rename(path, target)
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch, suppress(AssertionError):
            patch.setattr(Path, "rename", halted)
            works("predict", run_folder, image, "-o", out, *OPTIONS)
        assert f"mixed_{kind}.ome.tif" in os.listdir(out)
        assert "mixed_split.unfinished" in os.listdir(out)
        if out == "unnamed":  # as a kill a step earlier leaves it
            result = Path(out, f"mixed_{kind}.ome.tif")
            result.rename(draft_of(result))
        works("predict", run_folder, image, "-o", out, *OPTIONS, "--resume")
        same(results(out), results("whole"))
        assert sorted(os.listdir(out)) == named(image, *KINDS)


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("has_error_map", [False, True])
@pytest.mark.parametrize("coverage", [None, 0.9])
def test_the_kinds_of_result_are_those_that_have_values(
    samples: int, keep: int, has_error_map: bool, coverage: float | None
) -> None:
    if keep > samples or (coverage is not None and not has_error_map):
        return
    sampling = Sampling(samples, keep=keep)
    kinds = result_kinds(sampling, has_error_map=has_error_map, interval=coverage)
    plane, kept = np.ones((2, 3, 4), np.float32), np.ones((keep, 2, 3, 4), np.float32)
    bars = ErrorBars(plane, 5 * plane, None if coverage is None else 4 * plane)
    prediction = Prediction(
        2 * plane, 3 * plane if samples > 1 else None, kept, bars if has_error_map else None
    )
    values = result_values(prediction, np.float32([[[1]], [[2]]]))
    assert kinds[0] == "split" and set(kinds) == set(values)
    for kind, planes in values.items():
        channels = result_channels(kind, ("A", "B"), sampling)
        assert planes.shape == (len(channels), 3, 4)
    spread = values.get("spread" if has_error_map else "std")
    assert (spread is None) == (samples < 2)
    if spread is not None:
        assert (spread[0] == 3).all() and (spread[1] == 6).all()
    if has_error_map:
        assert (values["std"] == 5).all()
    if coverage is not None:
        assert (values["low"] == -3).all() and (values["high"] == 5).all()
