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
import yaml

import denoisplit
from denoisplit.evaluation.metrics import range_invariant_psnr
from denoisplit.run import Run

Call = Callable[..., Any]

METRICS = {
    "psnr", "psnr_naive", "psnr_blur", "psnr_clean_mixture", "psnr_single_sample", "ms_ssim",
    "noise_correlation", "calibration_error",
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
    assert set(found) == {
        "frames", "samples", "superposition", "reference", "structures", "mean", "verdicts",
        "error_bars", "denoisplit", "run", "input",
    }  # fmt: skip
    assert [verdict["structure"] for verdict in found["verdicts"]] == ["ER", "MT"]
    assert list(found["error_bars"]) == ["ER", "MT"]
    assert (found["frames"], found["samples"], found["superposition"]) == (4, 4, "sum")
    assert found["reference"] == "noise-free"
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
    scores = json.loads(answer.out)
    # the images are as recorded: no truth, and the noise models are those of the added noise
    assert scores["reference"] == "the recorded, noisy images" and scores["verdicts"] == []
    assert all(score == {"mean": None, "sem": None} for score in scores["mean"].values())
    assert "errors can be neither known nor estimated" in answer.err
    assert "provide --truth" in answer.err


def test_one_sample_has_no_spread(works: Call, run_folder: Path, bench: Any) -> None:
    answer = works("evaluate", run_folder, *bench.structures("ER", "MT"), "--samples", "1",
                   "--json")  # fmt: skip
    mean = json.loads(answer.out)["mean"]
    assert mean["calibration_error"] == {"mean": None, "sem": None}
    assert mean["psnr"]["mean"] == pytest.approx(mean["psnr_single_sample"]["mean"], abs=1e-3)


def test_images_of_the_training_are_warned_of(works: Call, run_folder: Path, bench: Any) -> None:
    answer = works("evaluate", "-q", run_folder, *bench.structures("ER", "MT"), "--samples", "1")
    assert "ER.tif was used to train this run" in answer.err
    assert "PSNR (dB)" in answer.out


# ---------------------------------------------------------------- a truth of its own


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, bench: Any) -> Path:
    """Noisy images of two structures, long exposures in other units, and a run without truth."""
    folder = tmp_path_factory.mktemp("recorded")
    rng = np.random.default_rng(0)
    for name, clean in frames(bench).items():
        low = clean + rng.normal(0, 15, clean.shape)
        for kind, pixels in (("low", low), ("high", clean), ("long", 6 * clean + 32768)):
            tifffile.imwrite(folder / f"{name}_{kind}.tif", np.float32(pixels),
                             photometric="minisblack")  # fmt: skip
    denoisplit.train(
        {name: [folder / f"{name}_low.tif"] for name in ("ER", "MT")}, folder / "run",
        system="altered_musplit", network={"filters": 8, "latents": 4, "patch": 32},
        training={"max_steps": 4, "batch": 2},
        prediction={"calibration_samples": 4, "error_map": False},  # so it needs no noise models
    )  # fmt: skip
    return folder


def given(option: str, kind: str, folder: Path, *names: str) -> list[object]:
    """``--structure NAME FILE`` or ``--truth NAME FILE`` for each name."""
    return [w for n in names or ("ER", "MT") for w in (option, n, folder / f"{n}_{kind}.tif")]


def splits(works: Call, run: Path, *options: object) -> dict[str, Any]:
    answer = works("evaluate", run, *options, "--samples", "2", "--json")
    found: dict[str, Any] = json.loads(answer.out)
    return found


def test_recorded_images_are_compared_with_long_exposures(works: Call, recorded: Path) -> None:
    """The images as they are: no noise is added, and none is taken for the truth."""
    answer = works("evaluate", recorded / "run", *given("--structure", "low", recorded),
                   *given("--truth", "long", recorded), "--samples", "2", "--json")  # fmt: skip
    found = json.loads(answer.out)
    assert "no noise added: the images are taken as recorded\n" in answer.err
    assert re.search(r"truth of ER: gain 0.1[67]\d*, correlation .* 0\.\d\d", answer.err)
    assert found["reference"] == "separate images, fitted by gain and offset to the structures"
    low = [tifffile.imread(recorded / f"{name}_low.tif") for name in ("ER", "MT")]
    for name, scores in found["structures"].items():
        truth = tifffile.imread(recorded / f"{name}_long.tif")
        psnr = [range_invariant_psnr(t, x) for t, x in zip(truth, sum(low), strict=True)]
        assert scores["psnr_naive"]["mean"] == pytest.approx(np.mean(psnr), abs=1e-3)
        assert scores["psnr_naive"]["mean"] < scores["psnr_clean_mixture"]["mean"]
        assert set(scores) - OF_OUR_OWN == METRICS
        assert -1 <= scores["noise_correlation"]["mean"] <= 1


def test_the_units_of_the_truth_change_no_number(works: Call, recorded: Path) -> None:
    low = given("--structure", "low", recorded)
    a, b = (
        splits(works, recorded / "run", *low, *given("--truth", kind, recorded))
        for kind in ("high", "long")
    )
    for name in METRICS - {"ms_ssim"}:
        assert b["mean"][name]["mean"] == pytest.approx(a["mean"][name]["mean"], abs=1e-3), name


def test_mixed_images_are_judged_as_their_structures_are(works: Call, recorded: Path) -> None:
    low, truth = given("--structure", "low", recorded), given("--truth", "long", recorded)
    works("superpose", *low, "-o", "mixed.tif", "--run", recorded / "run")
    apart = splits(works, recorded / "run", *low, *truth)
    together = splits(works, recorded / "run", "--mixed", "mixed.tif", *truth)
    assert together["reference"].endswith("to the mixed images, together")
    for name, scores in apart["structures"].items():
        other = together["structures"][name]
        for metric in ("psnr", "psnr_single_sample", "psnr_naive", "psnr_blur"):
            assert other[metric]["mean"] == pytest.approx(scores[metric]["mean"], abs=1e-3)
        # gains are fitted together here and apart there
        assert other["psnr_clean_mixture"]["mean"] == pytest.approx(
            scores["psnr_clean_mixture"]["mean"], abs=0.2
        )
        assert other["noise_correlation"]["mean"] == pytest.approx(
            scores["noise_correlation"]["mean"], abs=0.02
        )


def test_a_run_of_synthetic_noise_splits_recorded_images_as_they_are(
    works: Call, run_folder: Path, recorded: Path
) -> None:
    answer = works("evaluate", run_folder, *given("--structure", "low", recorded),
                   *given("--truth", "high", recorded), "--samples", "1")  # fmt: skip
    assert "no noise added" in answer.err
    assert (
        "the run was trained with synthetic noise, Poisson factor 2 and Gaussian sigma"
        in answer.err
    )
    assert "noise added: Poisson" not in answer.err
    assert answer.out.endswith(
        "compared with: separate images, fitted by gain and offset to the structures\n"
    )
    assert "correlation with noise" in answer.out


def test_a_truth_of_other_fields_is_warned_of(works: Call, recorded: Path, tmp_path: Path) -> None:
    for name in ("ER", "MT"):
        pixels = tifffile.imread(recorded / f"{name}_low.tif")
        other = np.random.default_rng(3).normal(9, 1, pixels.shape) + 1e-3 * pixels
        tifffile.imwrite(tmp_path / f"{name}_other.tif", np.float32(other),
                         photometric="minisblack")  # fmt: skip
    answer = works("evaluate", "-q", recorded / "run", *given("--structure", "low", recorded),
                   *given("--truth", "other", tmp_path), "--samples", "1")  # fmt: skip
    assert "the truth of ER hardly agrees" in answer.err and "the same fields?" in answer.err


def test_truths_that_do_not_fit(refused: Call, recorded: Path, bench: Any, tmp_path: Path) -> None:
    start = ["evaluate", recorded / "run"]
    low, truth = given("--structure", "low", recorded), given("--truth", "high", recorded)
    mixed = ["--mixed", bench.image("mixed")]
    for images, where in ((low, "structure MT"), (mixed, "--mixed")):
        refused(*start, *images, *given("--truth", "high", recorded, "ER"),
                says=("--truth", "the structures ER,", "those of the run: ER, MT"))  # fmt: skip
        pixels = tifffile.imread(recorded / "MT_high.tif")
        for changed, says in (
            (pixels[:3], ("--truth MT", "3 frames", f"4 as in {where}")),
            (pixels[:, :50], ("--truth MT, frame 0", "50 x 64 px", f"64 x 64 px as in {where}")),
            (-pixels, ("--truth MT", "dark where", "the same fields")),
        ):
            tifffile.imwrite(tmp_path / "MT_bad.tif", changed, photometric="minisblack")
            refused(*start, *images, *truth[:3], *given("--truth", "bad", tmp_path, "MT"),
                    says=says)  # fmt: skip
    same = [*truth[:3], "--truth", "MT", truth[2]]
    refused(*start, *mixed, *same,
            says=("--truth MT", "also the truth of ER", "each structure alone"))  # fmt: skip
    refused(*start, *low, *truth, *truth, says=("--truth ER", "twice"))


def test_options_that_exclude_or_need_each_other(refused: Call, recorded: Path, bench: Any) -> None:
    start = ["evaluate", recorded / "run"]
    low, truth = given("--structure", "low", recorded), given("--truth", "high", recorded)
    mixed = ["--mixed", bench.image("mixed")]
    refused(*start, *low, *mixed, *truth, says=("--structure and --mixed cannot both be given",))
    refused(*start, *mixed, says=("--mixed needs images", "provide --truth", "denoisplit predict"))
    refused(*start, *truth, says=("--structure NAME FILES (or --mixed FILES)",))
    for noise in (("--synthetic-poisson", "1"), ("--synthetic-gaussian", "0")):
        refused(*start, *low, *truth, *noise, says=("--truth", "synthetic noise", noise[0]))
    with pytest.raises(denoisplit.InputError, match="`structures` or `mixed`"):
        denoisplit.evaluate(recorded / "run")


def test_options_of_a_truth_in_yaml(works: Call, recorded: Path, tmp_path: Path) -> None:
    low, truth = given("--structure", "low", recorded), given("--truth", "high", recorded)
    works("superpose", *low, "-o", "mixed.tif", "--run", recorded / "run")
    files = {name: str(recorded / f"{name}_high.tif") for name in ("ER", "MT")}
    options = tmp_path / "o.yaml"
    options.write_text(yaml.safe_dump({"mixed": "mixed.tif", "truth": files}))
    by_file = splits(works, recorded / "run", "--config", options)
    assert by_file == splits(works, recorded / "run", "--mixed", "mixed.tif", *truth)


# ---------------------------------------------------------------- superpose


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
