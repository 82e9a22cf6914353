"""Arrays in place of files: commands read the same pixels, and nothing is left of a refusal."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import denoisplit
from denoisplit.commands.arrays import takes_arrays
from denoisplit.errors import InputError
from denoisplit.images import read_frames, read_image

FRAMES = np.random.default_rng(0).integers(5, 900, (3, 12, 10)).astype(np.uint16)
STACK = xr.DataArray(
    FRAMES.transpose(1, 2, 0), dims=("y", "x", "z"), attrs={"pixel_size_um": {"x": 0.1}}
)


def read(structures: Any, output: str = "run", *, truth: Any = None, resume: bool = False) -> Any:
    """A stand-in for a command."""
    return {name: read_frames(files) for name, files in (structures | (truth or {})).items()}


def made(structures: Any, output: str = "run", *, truth: Any = None, resume: bool = False) -> Any:
    """The same, which makes its output."""
    Path(output).mkdir(exist_ok=True)
    return read(structures, output, truth=truth)


@pytest.mark.parametrize(
    "image", [FRAMES, STACK, da.from_array(FRAMES, chunks=5), list(FRAMES), FRAMES.astype(np.int64)]
)
def test_frames_are_those_of_the_array(image: Any) -> None:
    for kept in (False, True):
        frames = takes_arrays("structures", "truth", kept=kept)(read)({"ER": image})["ER"]
        np.testing.assert_array_equal(np.stack(frames.images), FRAMES)
        assert frames.pixel_size_um == ({"x": 0.1} if image is STACK else {})
        assert not Path("run.images").exists() and not frames.files[0].path.exists()


def test_the_images_of_a_run_stay_beside_it() -> None:
    command = takes_arrays("structures", "truth", kept=True)(made)
    given: Any = {"structures": {"ER": FRAMES / 7, "MT": FRAMES}, "truth": {"B": FRAMES[0] + 1}}
    command(**given, output="er")
    stored = read_image("er.images/ER.ome.tif")
    assert stored.dtype == np.float64
    np.testing.assert_array_equal(stored, FRAMES / 7)
    assert Path("er.images/truth/B.ome.tif").is_file()
    command(**given, output="er", resume=True)
    with pytest.raises(InputError, match=r"er\.images/MT\.ome\.tif: another image was written"):
        command({"ER": FRAMES / 7, "MT": FRAMES + 1}, "er", resume=True)
    with pytest.raises(InputError, match="`resume`"):
        command({"ER": FRAMES}, "er")
    np.testing.assert_array_equal(read_image("er.images/MT.ome.tif"), FRAMES)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (FRAMES[None], "ER: an array of shape (1, 3, 12, 10) is not a stack of frames"),
        (FRAMES * 1j, "ER: this array has complex128 pixels"),
        (xr.DataArray(FRAMES, dims=("c", "y", "x")), "3 channels"),
        (xr.DataArray(FRAMES), "found '(dim_0)(dim_1)(dim_2)'"),
        (np.ones((2, 9, 9)), "ER.ome.tif[0]: all pixels of this frame have the value 1"),
    ],
)
def test_a_refusal_leaves_nothing(image: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        denoisplit.train({"MT": FRAMES, "ER": image}, "run", max_steps=1)
    assert says in str(error.value)
    assert not list(Path().iterdir())


def test_signatures_are_those_of_the_commands() -> None:
    for name in ("train", "evaluate", "superpose", "fit_noise_model", "calibrate"):
        parameters = inspect.signature(getattr(denoisplit, name)).parameters
        assert "progress" in parameters or name == "superpose"
        assert "arguments" not in parameters
