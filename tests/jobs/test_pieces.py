"""Images split piece by piece, as if they were whole, here or by a cluster."""

from __future__ import annotations

import os
import pickle
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from distributed import LocalCluster

from denoisplit.errors import InputError
from denoisplit.images import LazyImage, read_image
from denoisplit.jobs import pieces
from denoisplit.machine import dask_cluster as cluster

from .conftest import KINDS, OPTIONS, SHAPE, made, named, results, same

Call = Callable[..., Any]


def test_a_zarr_image_is_split_as_a_tiff(works: Call, run_folder: Path, tmp_path: Path) -> None:
    for kind in ("zarr", "tif"):
        image = made(tmp_path / f"mixed.ome.{kind}")
        answer = works("predict", run_folder, image, "-o", kind, *OPTIONS)
        assert answer.out.split() == [f"{kind}/mixed_{k}.ome.{kind}" for k in KINDS]
        assert sorted(os.listdir(kind)) == named(image, *KINDS)
    same(results("zarr"), results("tif"))
    for kind in ("zarr", "tif"):
        split, samples = (read_image(f"{kind}/mixed_{k}.ome.{kind}") for k in ("split", "samples"))
        assert split.dims == ("t", "c", "y", "x") and split.attrs["pixel_size_um"]["x"] == 0.0625
        names = list(split["c"].values)
        assert list(samples["c"].values) == [f"{name}_{k}" for k in (1, 2) for name in names]


def test_no_more_than_a_piece_is_read_at_a_time(
    works: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pixels of a stack, and of results; the check before takes a plane."""
    image = made(tmp_path / "mixed.ome.tif")
    sizes: list[int] = []
    pixels = LazyImage.pixels

    def counted(self: LazyImage, key: Any) -> Any:
        part = pixels(self, key)
        sizes.append(part.size)
        return part

    monkeypatch.setattr(LazyImage, "pixels", counted)
    monkeypatch.setattr("denoisplit.images.files.read_image", None)
    works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert len(sizes) > 20 and max(sizes) == SHAPE[1] * SHAPE[2]


def test_pieces_that_were_not_written_are_reported(
    call: Call, works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "split_piece", lambda *_: None)
        answer = call("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert answer.code == 2 and re.search(r"(\d+) of \1 pieces were not written", answer.err)
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")


def test_errors_of_workers_come_back_whole() -> None:
    error = InputError(where="a.zarr", found="a chunk", expected="another", remedy="copy it")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, InputError) and str(again) == str(error)
    assert again.remedy == "copy it"


def test_a_cluster_gives_the_same_and_survives_its_workers(
    works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers of a given cluster or a local one; one is killed after its first piece."""
    works("predict", run_folder, image, "-o", "alone", *OPTIONS)
    run_on_cluster = pieces.run_on_cluster

    def disturbed(client: Any, *work: Any) -> Any:
        victims = list(client.run(os.getpid).values())
        # a Ctrl-C at the terminal goes to all of them, and is for the main process
        for mask in client.run(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [])).values():
            assert signal.SIGINT in mask
        for number, value in enumerate(run_on_cluster(client, *work)):
            if number == 0:
                os.kill(victims[0], signal.SIGKILL)
            yield value

    monkeypatch.setattr(pieces, "run_on_cluster", disturbed)
    monkeypatch.setattr(cluster, "local_workers", lambda: 2)
    own = image.suffix == ".tif"
    with cluster.local_cluster(0 if own else 2) as there:
        address = "local" if own else there.scheduler_address
        works("predict", run_folder, image, "-o", "many", *OPTIONS, "--dask", address)
    same(results("many"), results("alone"))


def test_a_job_is_resumed_after_its_scheduler_was_lost(
    call: Call, works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask returns the futures of a lost scheduler as if they were done.

    Its worker is a thread of this process, which imports nothing again.
    """
    works("predict", run_folder, image, "-o", "alone", *OPTIONS)
    run_on_cluster = pieces.run_on_cluster
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", memory_limit=0,
        dashboard_address=None, silence_logs=50,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    ) as there:  # fmt: skip

        def lost(client: Any, *work: Any) -> Any:
            for value in run_on_cluster(client, *work):
                there.close()
                yield value

        with monkeypatch.context() as patch:
            patch.setattr(pieces, "run_on_cluster", lost)
            answer = call("predict", run_folder, image, "-o", "out", *OPTIONS, "--dask",
                          there.scheduler_address)  # fmt: skip
    assert answer.code == 2 and "Traceback" not in answer.err
    assert "the scheduler was lost" in answer.err and "--resume continues" in answer.err
    assert os.listdir("out") == ["mixed_split.unfinished"]
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    same(results("out"), results("alone"))


def test_many_images_take_few_open_files(works: Call, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).uniform(20, 100, (40, 16, 16))):
        tifffile.imwrite(tmp_path / "in" / f"{number}.tif", np.float32(pixels))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 30
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        works("predict", run_folder, tmp_path / "in", "-o", tmp_path / "out", "--samples", "0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(os.listdir(tmp_path / "out")) == 40
