"""Zarr images: chunk by chunk, as if they were whole; interrupted, continued, by many."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from distributed import LocalCluster

from denoisplit import cluster, large
from denoisplit.errors import InputError
from denoisplit.images import read_image
from denoisplit.images.zarr import create_ome_zarr, to_fill
from denoisplit.run import Run

Call = Callable[..., Any]
OPTIONS = ("--samples", "4", "--keep-samples", "2", "--tile", "32", "--halo", "16")
KINDS = ("split", "std", "samples")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Two planes of 75 x 90 px."""
    path = tmp_path / "mixed.ome.zarr"
    create_ome_zarr(
        path, {"t": 2, "c": 1, "y": 75, "x": 90}, channels=("mixed",), chunk=(64, 64),
        pixel_size_um={"y": 0.1, "x": 0.1},
    )  # fmt: skip
    to_fill(path)[:] = np.random.default_rng(0).uniform(20, 100, (2, 1, 75, 90))
    return path


def results(folder: str, ending: str = ".ome.zarr") -> dict[str, np.ndarray]:
    return {kind: read_image(f"{folder}/mixed_{kind}{ending}").values for kind in KINDS}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    for kind in KINDS:
        np.testing.assert_array_equal(a[kind], b[kind])


def test_a_zarr_image_is_split_as_a_tiff(
    works: Call, run_folder: Path, image: Path, tmp_path: Path
) -> None:
    pixels = read_image(image).values
    tifffile.imwrite(
        tmp_path / "mixed.tif", pixels, photometric="minisblack", metadata={"axes": "TYX"}
    )
    works("predict", run_folder, tmp_path / "mixed.tif", "-o", "tiff", *OPTIONS)
    answer = works("predict", run_folder, image, "-o", "zarr", *OPTIONS)
    assert answer.out.split() == [f"zarr/mixed_{kind}.ome.zarr" for kind in KINDS]
    assert sorted(os.listdir("zarr")) == sorted(f"mixed_{kind}.ome.zarr" for kind in KINDS)
    same(results("zarr"), results("tiff", ".ome.tif"))
    split, samples = (read_image(f"zarr/mixed_{kind}.ome.zarr") for kind in ("split", "samples"))
    assert split.dims == ("t", "c", "y", "x") and split.attrs["pixel_size_um"]["x"] == 0.1
    names = list(split["c"].values)
    assert list(samples["c"].values) == [f"{name}_{k}" for k in (1, 2) for name in names]


def test_an_interrupted_job_goes_on(
    call: Call,
    works: Call,
    refused: Call,
    run_folder: Path,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The undisturbed result; nothing is computed twice."""
    works("predict", run_folder, image, "-o", "whole", *OPTIONS)
    done: list[large.Piece] = []
    split_piece = large.split_piece

    def counted(job: large.Job, piece: large.Piece, run: Run) -> None:
        if len(done) == 5:
            raise KeyboardInterrupt
        split_piece(job, piece, run)
        done.append(piece)

    monkeypatch.setattr(large, "split_piece", counted)
    assert call("predict", run_folder, image, "-o", "out", *OPTIONS).code == 130
    assert os.listdir("out") == ["mixed_split.unfinished"]
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, says=("out", "--resume"))
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, "--seed", "1", "--resume",
            says=("unfinished job with another sampling",))  # fmt: skip
    first = list(done)
    done.clear()
    monkeypatch.setattr(
        large,
        "split_piece",
        lambda job, piece, run: done.append(piece) or split_piece(job, piece, run),
    )
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    assert not set(first) & set(done) and len(first) + len(done) == 2 * 2 * 3
    same(results("out"), results("whole"))
    done.clear()
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    assert not done


def test_a_job_goes_on_with_its_tiles_on_another_machine(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One that would take larger ones; those that are asked for must be the job's."""
    place = OPTIONS.index("--tile")
    options = OPTIONS[:place] + OPTIONS[place + 2 :]
    monkeypatch.setattr(large, "tile_side", lambda *_: 32)
    works("predict", run_folder, image, "-o", "whole", *options)
    split_piece, done = large.split_piece, 0

    def halted(job: large.Job, piece: large.Piece, run: Run) -> None:
        nonlocal done
        if done == 2:
            raise KeyboardInterrupt
        split_piece(job, piece, run)
        done += 1

    with monkeypatch.context() as patch:
        patch.setattr(large, "split_piece", halted)
        assert call("predict", run_folder, image, "-o", "out", *options).code == 130
    monkeypatch.setattr(large, "tile_side", lambda *_: 512)
    refused("predict", run_folder, image, "-o", "out", *options, "--tile", "48", "--resume",
            says=("unfinished job with another tile",))  # fmt: skip
    works("predict", run_folder, image, "-o", "out", *options, "--resume")
    same(results("out"), results("whole"))


def test_a_call_that_was_interrupted_between_its_last_steps_ends(
    works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One result has its name, others have not; then all have, and the folder is still there."""
    works("predict", run_folder, image, "-o", "whole", *OPTIONS)
    rename = Path.rename

    def halted(path: Path, target: Path) -> Path:
        if path.name == "std.ome.zarr":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", halted)
        with suppress(AssertionError):
            works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert sorted(os.listdir("out")) == ["mixed_samples.ome.zarr", "mixed_split.unfinished"]
    with monkeypatch.context() as patch:
        patch.setattr(large.shutil, "rmtree", lambda *_, **__: None)
        works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    assert len(os.listdir("out")) == 4
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    same(results("out"), results("whole"))
    assert sorted(os.listdir("out")) == sorted(f"mixed_{kind}.ome.zarr" for kind in KINDS)


def test_what_is_resumed_is_the_same_image_and_all_of_its_results(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def halted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(large, "split_piece", halted)
        assert call("predict", run_folder, image, "-o", "out", *OPTIONS).code == 130
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, "--add",
            says=("unfinished job", "--resume"))  # fmt: skip
    other = Path(shutil.copytree(image, tmp_path / "elsewhere" / image.name))
    to_fill(other)[:] = np.random.default_rng(1).uniform(20, 100, (2, 1, 75, 90))
    refused("predict", run_folder, other, "-o", "out", *OPTIONS, "--resume",
            says=("unfinished job with another image",))  # fmt: skip
    few = ("--samples", "2", "--tile", "32", "--halo", "16")
    works("predict", run_folder, image, "-o", "few", *few)
    refused("predict", run_folder, image, "-o", "few", *OPTIONS, "--resume",
            says=("mixed_split.ome.zarr", "all results, or none"))  # fmt: skip


def test_an_image_in_a_group_of_several_is_named_by_both(
    works: Call, run_folder: Path, image: Path, tmp_path: Path
) -> None:
    group = tmp_path / "plate.zarr"
    group.mkdir()
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    shutil.copytree(image, group / "0")
    works("predict", run_folder, group / "0", "-o", "out", "--samples", "0")
    assert os.listdir("out") == ["plate_0_split.ome.zarr"]


def test_errors_of_workers_come_back_whole() -> None:
    error = InputError("a.zarr", "a chunk", "another", "copy it")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, InputError) and str(again) == str(error)
    assert again.remedy == "copy it"


def test_a_preview_has_one_result(works: Call, run_folder: Path, image: Path) -> None:
    works("predict", run_folder, image, "-o", "out", "--samples", "0")
    assert os.listdir("out") == ["mixed_split.ome.zarr"]


def test_a_cluster_gives_the_same_and_survives_its_workers(
    works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers, one of which is killed after its first piece."""
    works("predict", run_folder, image, "-o", "alone", *OPTIONS)
    on_cluster = large.on_cluster
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:

        def disturbed(client: Any, *work: Any) -> Any:
            victims = list(client.run(os.getpid).values())
            for number, value in enumerate(on_cluster(client, *work)):
                if number == 0:
                    os.kill(victims[0], signal.SIGKILL)
                yield value

        monkeypatch.setattr(large, "on_cluster", disturbed)
        works("predict", run_folder, image, "-o", "many", *OPTIONS, "--dask",
              local.scheduler_address)  # fmt: skip
    same(results("many"), results("alone"))


def test_refusals(
    refused: Call, bench: Any, run_folder: Path, image: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(cluster, "WAIT", 1)
    zarr.save_array(str(tmp_path / "flat.zarr"), np.full((40, 40), 7, dtype=np.uint8))
    start = ("predict", run_folder)
    refused(*start, tmp_path / "flat.zarr", "-o", "out", says=("flat.zarr", "constant image"))
    refused(
        *start, bench.image("mixed"), "-o", "out", "--dask", "local", says=("--dask", "no Zarr")
    )
    refused(*start, image, "-o", "out", "--dask", "tcp://127.0.0.1:1", says=("--dask", "no sched"))
    create_ome_zarr(tmp_path / "two.ome.zarr", {"c": 2, "y": 40, "x": 40}, channels="AB",
                    chunk=(64, 64), pixel_size_um={})  # fmt: skip
    refused(*start, tmp_path / "two.ome.zarr", "-o", "out", says=("two.ome.zarr", "2 channels"))
