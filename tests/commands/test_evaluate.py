"""``denoisplit evaluate`` and ``denoisplit superpose``: one superposition, one noise."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import denoisplit
from denoisplit.metrics import range_invariant_psnr
from denoisplit.run import Run

Call = Callable[..., Any]

METRICS = {
    "psnr", "psnr_naive", "psnr_blur", "psnr_clean_mixture", "psnr_single_sample", "ms_ssim",
    "calibration_error",
}  # fmt: skip
OF_OUR_OWN = {"ms_ssim_aligned", "calibration_error_unscaled"}


@pytest.fixture(scope="module")
def found(run_folder: Path, bench: Any) -> dict[str, Any]:
    """What the Python call gives."""
    files = {name: [bench.image(name)] for name in ("ER", "MT")}
    return denoisplit.evaluate(run_folder, files, samples=4)


def frames(bench: Any) -> dict[str, np.ndarray]:
    return {name: tifffile.imread(bench.image(name)) for name in ("ER", "MT")}


def test_json_and_nothing_else(
    works: Call, run_folder: Path, bench: Any, found: dict[str, Any]
) -> None:
    answer = works("evaluate", run_folder, *bench.structures("ER", "MT"), "--samples", "4",
                   "--json")  # fmt: skip
    told = json.loads(answer.out)  # the whole of it
    assert answer.out.count("\n") == 1
    assert "NaN" not in answer.out and "Infinity" not in answer.out
    assert told == found


def test_the_keys_are_those_that_others_read(found: dict[str, Any]) -> None:
    assert set(found) == {"frames", "samples", "superposition", "structures", "mean"}
    assert (found["frames"], found["samples"], found["superposition"]) == (4, 4, "sum")
    assert list(found["structures"]) == ["ER", "MT"]
    for scores in (*found["structures"].values(), found["mean"]):
        assert set(scores) - OF_OUR_OWN == METRICS
        for score in scores.values():
            assert set(score) == {"mean", "sem"}


def test_values_are_numbers_where_there_can_be_some(found: dict[str, Any]) -> None:
    """Frames of 64 px are too small for five scales of MS-SSIM; everything else has a value."""
    for scores in found["structures"].values():
        for name, score in scores.items():
            if name.startswith("ms_ssim"):
                assert score == {"mean": None, "sem": None}
            else:
                assert math.isfinite(score["mean"]) and score["sem"] > 0


def test_the_mean_is_that_of_the_structures(found: dict[str, Any]) -> None:
    for name in METRICS - {"ms_ssim"}:
        each = [scores[name]["mean"] for scores in found["structures"].values()]
        assert found["mean"][name]["mean"] == pytest.approx(np.mean(each))


def test_the_order_of_the_structures_does_not_matter(
    works: Call, run_folder: Path, bench: Any, found: dict[str, Any]
) -> None:
    answer = works("evaluate", run_folder, *bench.structures("MT", "ER"), "--samples", "4",
                   "--json")  # fmt: skip
    assert json.loads(answer.out) == found


def test_the_noise_is_that_of_the_run_not_of_the_images(
    works: Call, run_folder: Path, bench: Any, tmp_path: Path, trained: Run
) -> None:
    """Images of ten times the brightness get the same absolute Gaussian noise."""
    for name, pixels in frames(bench).items():
        tifffile.imwrite(tmp_path / f"{name}.tif", 10 * pixels, photometric="minisblack")
    bright = [w for n in ("ER", "MT") for w in ("--structure", n, str(tmp_path / f"{n}.tif"))]
    for structures in (bench.structures("ER", "MT"), bright):
        answer = works("evaluate", run_folder, *structures, "--samples", "1",
                       "--synthetic-poisson", "0", "--synthetic-gaussian", "1.5")  # fmt: skip
        told = re.search(r"Poisson factor (\S+), Gaussian sigma (\S+) \(level 1.5\)", answer.err)
        assert told
        assert float(told[1]) == 0
        assert float(told[2]) == pytest.approx(1.5 * trained.config.facts.pooled_std, rel=1e-4)


def test_no_noise_is_no_noise(works: Call, run_folder: Path, bench: Any) -> None:
    answer = works("evaluate", run_folder, *bench.structures("ER", "MT"), "--samples", "1",
                   "--synthetic-poisson", "0", "--synthetic-gaussian", "0", "--json")  # fmt: skip
    mean = json.loads(answer.out)["mean"]
    assert mean["psnr_naive"] == mean["psnr_clean_mixture"]
    # one sample has no spread
    assert mean["calibration_error"] == {"mean": None, "sem": None}
    assert mean["psnr"]["mean"] == pytest.approx(mean["psnr_single_sample"]["mean"], abs=1e-3)


def test_images_of_the_training_are_warned_of(works: Call, run_folder: Path, bench: Any) -> None:
    answer = works("evaluate", "-q", run_folder, *bench.structures("ER", "MT"), "--samples", "1")
    assert "ER.tif was given to the training" in answer.err
    assert "PSNR (dB)" in answer.out


def test_superpose_makes_what_evaluate_judges(
    works: Call, run_folder: Path, bench: Any, found: dict[str, Any]
) -> None:
    """PSNR of the files that superpose writes is the naive PSNR that evaluate tells."""
    works("superpose", *bench.structures("MT", "ER"), "-o", "mixed.tif", "--run", run_folder,
          "--synthetic-poisson", "2", "--synthetic-gaussian", "1")  # fmt: skip
    mixed = tifffile.imread("mixed.tif")
    for name, truth in frames(bench).items():
        psnr = np.mean([range_invariant_psnr(t, m) for t, m in zip(truth, mixed, strict=True)])
        assert psnr == pytest.approx(found["structures"][name]["psnr_naive"]["mean"], abs=1e-9)


def test_superpose_cuts_bright_noise_as_the_run_does(
    works: Call, bench: Any, tmp_path: Path
) -> None:
    """The upper clip of a run holds for its trials too."""
    works("train", "-q", "--config", bench.yaml(tmp_path, synthetic_poisson=2.0,
          data={"clip_quantile": 0.5}), "-o", "run", *bench.structures("MT"))  # fmt: skip
    clip = denoisplit.load("run").config.facts.clip
    assert clip is not None
    works("superpose", *bench.structures("MT"), "-o", "mixed.tif", "--run", "run",
          "--synthetic-poisson", "2")  # fmt: skip
    assert tifffile.imread("mixed.tif").max() == pytest.approx(clip)


@pytest.mark.parametrize(("kind", "scale"), [("sum", 1.0), ("mean", 0.5)])
def test_sum_and_mean(kind: str, scale: float, works: Call, bench: Any) -> None:
    works("superpose", *bench.structures("ER", "MT"), "-o", "mixed.tif", "--superposition", kind)
    np.testing.assert_allclose(
        tifffile.imread("mixed.tif"), scale * sum(frames(bench).values()), rtol=1e-6
    )


def test_an_offset_is_counted_once(works: Call, bench: Any) -> None:
    works("superpose", *bench.structures("ER", "MT"), "-o", "mixed.tif",
          "--offset", "ER", "10", "--offset", "MT", "6")  # fmt: skip
    np.testing.assert_allclose(
        tifffile.imread("mixed.tif"), sum(frames(bench).values()) - 8, rtol=1e-6
    )


def test_one_file_or_one_per_frame(works: Call, bench: Any) -> None:
    noise = ("--synthetic-poisson", "3", "--synthetic-gaussian", "0.5", "--seed", "4")
    structures = bench.structures("ER", "MT")
    names = [f"frames/{number}.tif" for number in range(4)]
    works("superpose", *structures, "-o", "stack.tif", *noise)
    answer = works("superpose", *structures, "-o", *names, *noise)
    assert answer.out.split() == names
    stack = denoisplit.images.read_image("stack.tif")
    assert stack.dims == ("t", "y", "x") and stack.dtype == np.float32
    assert stack.attrs["pixel_size_um"] == {"x": 0.0625, "y": 0.125}
    np.testing.assert_array_equal(stack, [tifffile.imread(name) for name in names])


def test_noise_has_the_variance_that_was_asked_for(works: Call, bench: Any) -> None:
    """Per pixel f times the signal, and twice the variance of the Gaussian noise of one."""
    clean = sum(frames(bench).values())
    works("superpose", *bench.structures("ER", "MT"), "-o", "mixed.tif",
          "--synthetic-poisson", "3", "--synthetic-gaussian", "0.5")  # fmt: skip
    sigma = 0.5 * np.std(list(frames(bench).values()))
    residual = tifffile.imread("mixed.tif") - clean
    assert residual.mean() == pytest.approx(0, abs=0.5)
    assert residual.var() == pytest.approx(3 * clean.mean() + 2 * sigma**2, rel=0.05)


def test_a_seed_is_one_noise(works: Call, bench: Any) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        works("superpose", *bench.structures("ER", "MT"), "-o", f"{name}.tif",
              "--synthetic-gaussian", "1", "--seed", seed)  # fmt: skip
    a, b, c = (tifffile.imread(f"{name}.tif") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
