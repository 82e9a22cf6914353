"""A prediction that is not finite ends at once, in one line that names the image."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from safetensors.numpy import load_file, save_file

from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.jobs.array import predict_image
from denoisplit.run import load


@pytest.fixture
def overflowing(run_folder: Path, tmp_path: Path) -> Path:
    """A run whose weights are finite, but not what they make of an image."""
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    weights = load_file(run / "model.safetensors")
    large = {k: np.float32(1e30) * v if k.endswith(".weight") else v for k, v in weights.items()}
    save_file(large, run / "model.safetensors")
    return run


def test_predictions(overflowing: Path, tmp_path: Path, call: Any) -> None:
    image = tmp_path / "mixed.tif"
    pixels = np.random.default_rng(0).integers(100, 900, (40, 40)).astype(np.uint16)
    tifffile.imwrite(image, pixels, photometric="minisblack")
    for again in ([], ["--resume"]):
        answer = call("predict", overflowing, image, "-o", "out", "--samples", 2, *again)
        assert answer.code == 2
        last = answer.err.splitlines()[-1]
        assert "mixed.tif: the result of the tile at y 0, x 0 has NaN or infinite values; " in last
    with pytest.raises(InputError, match="the tile at y 0, x 0 has NaN or infinite values"):
        predict_image(load(overflowing), read_image(image), samples=2)
    for bad, says in ((np.nan, "NaN or infinite"), (1e18, "at most 1e+12")):
        broken = read_image(image).astype(np.float64)
        broken[3, 4] = bad
        with pytest.raises(InputError) as error:
            predict_image(load(overflowing), broken, samples=2)
        assert says in str(error.value)


@pytest.mark.parametrize(("factor", "says"), [(1e18, "at most 1e+12"), (1e-30, "1e-12 or more")])
def test_extreme_images(
    factor: float, says: str, run_folder: Path, tmp_path: Path, refused: Any
) -> None:
    image = tmp_path / "mixed.tif"
    pixels = factor * np.random.default_rng(0).integers(100, 900, (40, 40))
    tifffile.imwrite(image, pixels, photometric="minisblack")
    both = ("--structure", "ER", image, "--structure", "MT", image)
    for line in (
        ("predict", run_folder, image, "-o", "out"),
        ("evaluate", run_folder, *both),
        ("superpose", *both, "-o", "sum.tif"),
        ("train", *both, "-o", "run"),
        ("noise-model", "fit", "--noisy", image, "-o", "a.npz"),
    ):
        refused(*line, says=("mixed.tif", says))
