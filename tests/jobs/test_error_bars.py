"""Results of a run with an error map: std without samples, their spread, intervals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.jobs import pieces
from denoisplit.jobs.identity import error_map_digest, weights_digest
from denoisplit.machine import dask_cluster as cluster
from denoisplit.prediction.autotune import Form
from denoisplit.run import Run, load, save_error_map

from .conftest import MAPPED, OPTIONS, made, named, results, same, with_error_map

Call = Callable[..., Any]
ALL = (*OPTIONS, "--interval", "0.9")


def test_every_kind_of_result(
    works: Call, run_folder: Path, mapped_folder: Path, image: Path
) -> None:
    """Split, spread and samples do not depend on the map; its interval is around decoded means."""
    answer = works("predict", mapped_folder, image, "-o", "out", *ALL)
    assert answer.out.split() == [f"out/{named(image, kind)[0]}" for kind in MAPPED]
    works("predict", run_folder, image, "-o", "plain", *OPTIONS)
    works("predict", mapped_folder, image, "-o", "preview", "--samples", "0", *OPTIONS[4:])
    found, plain = results("out", MAPPED), results("plain")
    preview = results("preview", ("split", "std"))
    for kind, other in (("split", "split"), ("spread", "std"), ("samples", "samples")):
        np.testing.assert_array_equal(found[kind], plain[other])
    np.testing.assert_array_equal(found["std"], preview["std"])
    assert (found["std"] > 0).all() and (found["low"] < found["high"]).all()
    # rounding of intensities up to 100
    middle = (found["low"] + found["high"]) / 2
    np.testing.assert_allclose(middle, preview["split"], rtol=0, atol=1e-4)
    for kind in MAPPED[:-1]:
        there = read_image(f"out/{named(image, kind)[0]}")
        assert there.dims == ("t", "c", "y", "x") and list(there["c"].values) == ["ER", "MT"]
        assert there.attrs["pixel_size_um"] == {"y": 0.125, "x": 0.0625}


@pytest.mark.parametrize(("samples", "kinds"), [(0, MAPPED[:2]), (1, MAPPED[:2]), (2, MAPPED[:3])])
def test_without_samples_there_is_a_std_all_the_same(
    samples: int, kinds: tuple[str, ...], works: Call, mapped_folder: Path, tmp_path: Path
) -> None:
    image = made(tmp_path / "mixed.ome.zarr")
    works("predict", mapped_folder, image, "-o", "out", "--samples", samples)
    assert sorted(path.name for path in Path("out").iterdir()) == named(image, *kinds)


def test_a_wider_interval_contains_a_narrower_one(
    works: Call, mapped_folder: Path, tmp_path: Path
) -> None:
    """And its lower end may be negative."""
    image = made(tmp_path / "mixed.ome.tif", dark=1000)
    ends = {}
    for coverage in ("0.5", "0.9"):
        works("predict", mapped_folder, image, "-o", coverage, "--samples", "0",
              "--interval", coverage)  # fmt: skip
        ends[coverage] = results(coverage, ("low", "high"))
    assert (ends["0.9"]["low"] < ends["0.5"]["low"]).all()
    assert (ends["0.9"]["high"] > ends["0.5"]["high"]).all()
    assert ends["0.9"]["low"].min() < 0


def test_tiles_do_not_show(works: Call, mapped_folder: Path, tmp_path: Path) -> None:
    """With an exact halo: 59 px of the network of two levels and 8 px of the map."""
    image = made(tmp_path / "mixed.ome.tif")
    options = ("--samples", "2", "--interval", "0.5", "--halo", "68", "--tile")
    for tile in ("32", "512"):
        works("predict", mapped_folder, image, "-o", tile, *options, tile)
    for kind in MAPPED[:-1]:
        tiled, whole = (results(tile, (kind,))[kind] for tile in ("32", "512"))
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4 * np.ptp(whole))


@pytest.mark.slow
def test_a_cluster_computes_the_same(
    works: Call, mapped_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made(tmp_path / "mixed.ome.zarr")
    monkeypatch.setattr(cluster, "local_workers", lambda: 2)
    works("predict", mapped_folder, image, "-o", "alone", *ALL)
    works("predict", mapped_folder, image, "-o", "many", *ALL, "--dask", "local")
    same(results("many", MAPPED), results("alone", MAPPED))


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (0, ""),
        (1, "one posterior sample, whose error is larger than the std"),
        (2, "the spread is unreliable; the std, by the error map, is not affected"),
        (8, ""),
    ],
)
def test_what_few_samples_do_not_give(
    samples: int, words: str, works: Call, mapped_folder: Path, tmp_path: Path
) -> None:
    image = made(tmp_path / "mixed.ome.tif")
    answer = works("predict", "-q", mapped_folder, image, "-o", "out", "--samples", samples,
                   *OPTIONS[4:])  # fmt: skip
    others = ("mean intensity", "unlike the training data")
    lines = [line for line in answer.err.splitlines() if not any(o in line for o in others)]
    assert len(lines) == bool(words) and words in "".join(lines)


def test_other_coverages_are_refused(refused: Call, mapped_folder: Path, tmp_path: Path) -> None:
    image = made(tmp_path / "mixed.ome.tif")
    refused("predict", mapped_folder, image, "-o", "out", "--interval", "0.8",
            says=("--interval: found 0.8, expected one of 0.5, 0.9",))  # fmt: skip


def interrupted(after: int) -> Callable[..., None]:
    split_piece, done = pieces.split_piece, 0

    def halted(*arguments: Any) -> None:
        nonlocal done
        if done == after:
            raise KeyboardInterrupt
        split_piece(*arguments)
        done += 1

    return halted


def test_a_job_is_resumed_with_its_map_and_its_interval_alone(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = with_error_map(run_folder, tmp_path / "run")
    works("predict", run, image, "-o", "whole", *ALL)
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "split_piece", interrupted(5))
        assert call("predict", run, image, "-o", "out", *ALL).code == 130
    record = json.loads(Path("out/mixed_split.unfinished/job.json").read_text())
    assert record["interval"] == 0.9 and record["error_map"] == error_map_digest(load(run))
    again = ("predict", run, image, "-o", "out", *OPTIONS, "--resume")
    for options, problem in (
        ((*again, "--interval", "0.5"), "another interval (0.9, not 0.5)"),
        (again, "another interval (0.9, not None)"),
    ):
        refused(*options, says=(f"this unfinished job used {problem}",))
    stored = (run / "error_map.safetensors").read_bytes()
    error_map = load(run).error_map
    assert error_map is not None
    error_map.correction.mul_(2)
    save_error_map(error_map, run)
    resumed = (*again, "--interval", "0.9")
    refused(*resumed, says=("this unfinished job used another error map",))
    (run / "error_map.safetensors").unlink()
    refused(*resumed, says=("this run has no error map", f"`denoisplit calibrate {run}`"))
    (run / "error_map.safetensors").write_bytes(stored)
    works(*resumed)
    same(results("out", MAPPED), results("whole", MAPPED))
    works(*resumed)
    save_error_map(error_map, run)
    refused(*resumed, says=("this result used another error map",))


def test_results_of_a_run_before_its_map_are_of_another_map(
    works: Call, refused: Call, run_folder: Path, tmp_path: Path
) -> None:
    image, run = made(tmp_path / "mixed.ome.tif"), shutil.copytree(run_folder, tmp_path / "run")
    options = ("-o", "out", "--samples", "1", "--keep-samples", "1", "--halo", "16")
    works("predict", run, image, *options)
    with_error_map(run_folder, tmp_path / "mapped")
    shutil.copy(tmp_path / "mapped/error_map.safetensors", run)
    refused(
        "predict", run, image, *options, "--resume", says=("others of the same image are missing",)
    )
    shutil.copy("out/mixed_split.ome.tif", "out/mixed_std.ome.tif")
    refused(
        "predict", run, image, *options, "--resume", says=("this result used another error map",)
    )


def test_a_worker_takes_no_other_map_than_that_of_the_job(run_folder: Path, tmp_path: Path) -> None:
    run: Run = load(with_error_map(run_folder, tmp_path / "run"))
    for digest, is_same in ((error_map_digest(run), True), ("0" * 64, False), (None, False)):
        start = (str(run.path), weights_digest(run), digest, Form("32"))
        if is_same:
            assert pieces._run(*start).error_map is not None
        else:
            with pytest.raises(InputError, match="weights or error map of this run have changed"):
                pieces._run(*start)
