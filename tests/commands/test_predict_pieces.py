"""Images piece by piece, as if they were whole: interrupted, continued, killed, by many."""

from __future__ import annotations

import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from denoisplit.errors import InputError
from denoisplit.files.atomic import draft_of
from denoisplit.images import LazyImage, read_image, write_ome_tiff
from denoisplit.images.zarr import about_zarr, create_ome_zarr, to_fill
from denoisplit.jobs import job
from denoisplit.jobs import pieces as large
from denoisplit.jobs.identity import check_same, weights_of
from denoisplit.jobs.job import Job, Piece
from denoisplit.machine import dask_cluster as cluster
from denoisplit.prediction import autotune as tuning
from denoisplit.prediction.autotune import Form

Call = Callable[..., Any]
OPTIONS = ("--samples", "4", "--keep-samples", "2", "--tile", "32", "--halo", "16")
KINDS = ("split", "std", "samples")


@pytest.fixture(params=["zarr", "tif"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Two planes of 75 x 90 px."""
    return made(tmp_path / f"mixed.ome.{request.param}")


def made(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).uniform(20, 100, (2, 75, 90)).astype(np.float32)
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".tif":
        sizes = {"pixel_size_um": {"y": 0.1, "x": 0.1}}
        write_ome_tiff(path, xr.DataArray(pixels, dims=("t", "y", "x"), attrs=sizes))
        return path
    create_ome_zarr(
        path, {"t": 2, "c": 1, "y": 75, "x": 90}, channels=("mixed",), chunk=(64, 64),
        pixel_size_um={"y": 0.1, "x": 0.1},
    )  # fmt: skip
    to_fill(path)[:] = pixels[:, None]
    return path


def results(folder: str) -> dict[str, np.ndarray]:
    """Of the one image, which tells its kind."""
    found = {kind: list(Path(folder).glob(f"mixed_{kind}.ome.*")) for kind in KINDS}
    assert all(len(paths) == 1 for paths in found.values()), found
    return {kind: read_image(path).values for kind, (path,) in found.items()}


def named(image: Path, *kinds: str) -> list[str]:
    return sorted(f"mixed_{kind}.ome{image.suffix}" for kind in kinds)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    for kind in KINDS:
        np.testing.assert_array_equal(a[kind], b[kind])


def test_a_zarr_image_is_split_as_a_tiff(works: Call, run_folder: Path, tmp_path: Path) -> None:
    for kind in ("zarr", "tif"):
        image = made(tmp_path / f"mixed.ome.{kind}")
        answer = works("predict", run_folder, image, "-o", kind, *OPTIONS)
        assert answer.out.split() == [f"{kind}/mixed_{k}.ome.{kind}" for k in KINDS]
        assert sorted(os.listdir(kind)) == named(image, *KINDS)
    same(results("zarr"), results("tif"))
    for kind in ("zarr", "tif"):
        split, samples = (read_image(f"{kind}/mixed_{k}.ome.{kind}") for k in ("split", "samples"))
        assert split.dims == ("t", "c", "y", "x") and split.attrs["pixel_size_um"]["x"] == 0.1
        names = list(split["c"].values)
        assert list(samples["c"].values) == [f"{name}_{k}" for k in (1, 2) for name in names]


def test_no_more_than_a_piece_is_read_at_a_time(
    works: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pixels of a stack, and of results; the first look takes a plane."""
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
    assert len(sizes) > 20 and max(sizes) == 75 * 90


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
    done: list[Piece] = []
    split_piece = large.split_piece

    def counted(job: Job, piece: Piece, *rest: Any) -> None:
        if len(done) == 5:
            raise KeyboardInterrupt
        split_piece(job, piece, *rest)
        done.append(piece)

    monkeypatch.setattr(large, "split_piece", counted)
    assert call("predict", run_folder, image, "-o", "out", *OPTIONS).code == 130
    assert os.listdir("out") == ["mixed_split.unfinished"]
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, says=("out", "--resume"))
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, "--seed", "1", "--resume",
            says=("unfinished job with another seed (0, not 1)",))  # fmt: skip
    first = list(done)
    done.clear()
    monkeypatch.setattr(
        large,
        "split_piece",
        lambda job, piece, *rest: done.append(piece) or split_piece(job, piece, *rest),
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
    monkeypatch.setattr(job, "tile_side", lambda *_, **__: 32)
    works("predict", run_folder, image, "-o", "whole", *options)
    split_piece, done = large.split_piece, 0

    def halted(*arguments: Any) -> None:
        nonlocal done
        if done == 2:
            raise KeyboardInterrupt
        split_piece(*arguments)
        done += 1

    with monkeypatch.context() as patch:
        patch.setattr(large, "split_piece", halted)
        assert call("predict", run_folder, image, "-o", "out", *options).code == 130
    monkeypatch.setattr(job, "tile_side", lambda *_, **__: 512)
    refused("predict", run_folder, image, "-o", "out", *options, "--tile", "48", "--resume",
            says=("unfinished job with another tile",))  # fmt: skip
    works("predict", run_folder, image, "-o", "out", *options, "--resume")
    same(results("out"), results("whole"))


def test_a_call_that_was_interrupted_between_its_last_steps_ends(
    works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One result has its name, others have not; then all have, and the folder is still there."""
    works("predict", run_folder, image, "-o", "whole", *OPTIONS)
    name = job._name

    def halted(made: Path, result: Path) -> None:
        if made.name == "std.ome.zarr":
            raise KeyboardInterrupt
        name(made, result)

    with monkeypatch.context() as patch:
        patch.setattr(job, "_name", halted)
        with suppress(AssertionError):
            works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert sorted(os.listdir("out")) == sorted([*named(image, "samples"), "mixed_split.unfinished"])
    with monkeypatch.context() as patch:
        patch.setattr(job.shutil, "rmtree", lambda *_, **__: None)
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


def test_a_killed_process_goes_on(works: Call, run_folder: Path, tmp_path: Path) -> None:
    """``kill -9`` in the middle; the undisturbed result, and nothing else is left."""
    image = made(tmp_path / "mixed.ome.zarr")
    many = (*OPTIONS, "--samples", "60")
    command = [sys.executable, "-m", "denoisplit", "predict", run_folder, image, "-o", "out",
               *many]  # fmt: skip
    part = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    split = Path("out/mixed_split.unfinished/split.ome.zarr/0")
    while len(chunks := list(split.glob("*/*/*/*"))) < 2:
        assert part.poll() is None
        time.sleep(0.02)
    part.kill()
    assert part.wait() == -signal.SIGKILL and 2 <= len(chunks) < 12
    (split / "0" / "0.1234.partial").write_bytes(b"half a chunk")
    works("predict", run_folder, image, "-o", "out", *many, "--resume")
    works("predict", run_folder, image, "-o", "undisturbed", *many)
    same(results("out"), results("undisturbed"))
    assert not list(Path("out").rglob("*.partial"))


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
    other = made(tmp_path / "elsewhere" / image.name, seed=1)
    refused("predict", run_folder, other, "-o", "out", *OPTIONS, "--resume",
            says=("unfinished job with another image",))  # fmt: skip
    few = ("--samples", "2", "--tile", "32", "--halo", "16")
    works("predict", run_folder, image, "-o", "few", *few)
    refused("predict", run_folder, image, "-o", "few", *OPTIONS, "--resume",
            says=(*named(image, "split"), "all results, or none"))  # fmt: skip
    for change, key in (
        (("--seed", "1"), "seed (0, not 1)"),
        (("--halo", "32"), "halo (16, not 32)"),
    ):
        refused("predict", run_folder, image, "-o", "few", *few, *change, "--resume",
                says=(*named(image, "split"), f"a result with another {key}"))  # fmt: skip
    works("predict", run_folder, image, "-o", "few", *few, "--resume")


def test_a_refused_image_leaves_no_job_of_another(
    works: Call, refused: Call, run_folder: Path, tmp_path: Path
) -> None:
    a, b = (made(tmp_path / f"{name}.ome.zarr", seed) for seed, name in enumerate("ab"))
    works("predict", run_folder, b, "-o", "out", *OPTIONS)
    shutil.rmtree("out/b_std.ome.zarr")
    refused("predict", run_folder, a, b, "-o", "out", *OPTIONS, "--resume", says=("b_s", "none"))


def test_the_precision_is_that_of_the_job(
    call: Call, works: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is the faster one when it goes on."""
    image = made(tmp_path / "mixed.ome.zarr")
    options = (*OPTIONS, "--precision", "bf16", "--compile", "off")
    seconds = {Form("32"): 2.0, Form("bf16"): 1.0}
    monkeypatch.setattr(tuning, "_measured", lambda _, form: seconds[form])

    def halted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(large, "split_piece", halted)
        assert call("predict", run_folder, image, "-o", "out", *options).code == 130
    seconds[Form("32")] = 0.5
    works("predict", run_folder, image, "-o", "out", *options, "--resume")
    split = Path("out/mixed_split.ome.zarr")
    assert about_zarr(split)["precision"] == "bf16"
    works("predict", run_folder, image, "-o", "other", *options)
    assert not np.array_equal(read_image(split), read_image("other/mixed_split.ome.zarr"))


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
            assert window["start"] == pytest.approx(float(own.min()))
            assert window["end"] == pytest.approx(float(own.max()))


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


def test_the_weights_of_a_job_are_those_of_splitter_and_denoiser(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(path=tmp_path)
    denoiser = tmp_path / "denoisers" / "mixed"
    denoiser.mkdir(parents=True)
    (tmp_path / "model.safetensors").write_bytes(b"splitter")
    marks = [weights_of(run)]
    for content in (b"one", b"two"):
        (denoiser / "model.safetensors").write_bytes(content)
        marks.append(weights_of(run))
    assert len(set(marks)) == 3


def test_errors_of_workers_come_back_whole() -> None:
    error = InputError(where="a.zarr", found="a chunk", expected="another", remedy="copy it")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, InputError) and str(again) == str(error)
    assert again.remedy == "copy it"


def test_a_preview_has_one_result(works: Call, run_folder: Path, image: Path) -> None:
    works("predict", run_folder, image, "-o", "out", "--samples", "0")
    assert os.listdir("out") == named(image, "split")


def test_a_cluster_gives_the_same_and_survives_its_workers(
    works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers, one of which is killed after its first piece; of a cluster that is there, or of
    one of their own beside it.
    """
    works("predict", run_folder, image, "-o", "alone", *OPTIONS)
    on_cluster = large.on_cluster

    def disturbed(client: Any, *work: Any) -> Any:
        victims = list(client.run(os.getpid).values())
        # a Ctrl-C at the terminal goes to all of them, and is for the main process
        for mask in client.run(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [])).values():
            assert signal.SIGINT in mask
        for number, value in enumerate(on_cluster(client, *work)):
            if number == 0:
                os.kill(victims[0], signal.SIGKILL)
            yield value

    monkeypatch.setattr(large, "on_cluster", disturbed)
    monkeypatch.setattr(cluster, "local_workers", lambda: 2)
    own = image.suffix == ".tif"
    with cluster.local_cluster(0 if own else 2) as there:
        address = "local" if own else there.scheduler_address
        works("predict", run_folder, image, "-o", "many", *OPTIONS, "--dask", address)
    same(results("many"), results("alone"))


def test_a_lost_scheduler_leaves_the_job_to_go_on(
    call: Call, works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask hands out the futures that are lost by it as if they were done."""
    works("predict", run_folder, image, "-o", "alone", *OPTIONS)
    on_cluster = large.on_cluster
    with cluster.local_cluster(1) as there:

        def lost(client: Any, *work: Any) -> Any:
            for value in on_cluster(client, *work):
                there.close()
                yield value

        with monkeypatch.context() as patch:
            patch.setattr(large, "on_cluster", lost)
            answer = call("predict", run_folder, image, "-o", "out", *OPTIONS, "--dask",
                          there.scheduler_address)  # fmt: skip
    assert answer.code == 2 and "Traceback" not in answer.err
    assert "scheduler that was lost" in answer.err and "--resume goes on" in answer.err
    assert os.listdir("out") == ["mixed_split.unfinished"]
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    same(results("out"), results("alone"))


def test_pieces_that_nobody_wrote_are_missed(
    call: Call, works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(large, "split_piece", lambda *_: None)
        answer = call("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert answer.code == 2 and re.search(r"(\d+) of \1 pieces that", answer.err)
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")


def test_a_job_is_of_one_process(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Another one is refused while it is at it, also when it has only just begun."""
    split_piece, create = large.split_piece, job._create
    told: list[str] = []

    def beside(*arguments: Any, of: Callable[..., None], more: str) -> None:
        if len(told) < 2:
            told.append("")
            told.append(call("predict", run_folder, image, "-o", "out", *OPTIONS, more).err)
        of(*arguments)

    monkeypatch.setattr(job, "_create", partial(beside, of=create, more="--add"))
    works("predict", run_folder, image, "-o", "out", *OPTIONS)
    monkeypatch.setattr(job, "_create", create)
    assert "another process is at" in told.pop() and os.listdir("out")
    shutil.rmtree("out")
    told.clear()
    monkeypatch.setattr(large, "split_piece", partial(beside, of=split_piece, more="--resume"))
    works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert "another process is at" in told.pop()
    assert sorted(os.listdir("out")) == named(image, *KINDS)


def test_a_job_that_another_process_has_finished_is_done(
    call: Call, works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its beginning and the first piece; nothing is computed twice or overwritten."""
    split_pieces, split_piece = large.split_pieces, large.split_piece
    done: list[Piece] = []

    def counted(job: Job, piece: Piece, *rest: Any) -> None:
        done.append(piece)
        split_piece(job, piece, *rest)

    def late(*arguments: Any) -> None:
        monkeypatch.setattr("denoisplit.commands.predict.split_pieces", split_pieces)
        assert call("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume").code == 0
        split_pieces(*arguments)

    monkeypatch.setattr(large, "split_piece", counted)
    monkeypatch.setattr("denoisplit.commands.predict.split_pieces", late)
    works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert len(done) == len(set(done)) > 0
    assert sorted(os.listdir("out")) == named(image, *KINDS)


def test_many_images_take_few_open_files(works: Call, run_folder: Path, tmp_path: Path) -> None:
    for number in range(40):
        made(tmp_path / "in" / f"{number}.tif", seed=number)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 30
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        works("predict", run_folder, tmp_path / "in", "-o", tmp_path / "out", "--samples", "0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(os.listdir(tmp_path / "out")) == 40


def test_results_of_another_release_are_told(tmp_path: Path) -> None:
    told = {"tile": 32, "sampling": {"seed": 0}}
    with pytest.raises(InputError, match="a result of another release"):
        check_same(tmp_path, {"tile": 32}, told, "a result")
    with pytest.raises(InputError, match=r"a result with another spice \(1, not None\)"):
        check_same(tmp_path, {"tile": 32, "sampling": {"seed": 0, "spice": 1}}, told, "a result")


def test_an_image_that_differs_anywhere_is_another(
    works: Call, refused: Call, run_folder: Path, tmp_path: Path
) -> None:
    """Of a TIFF any pixel, of a Zarr the corners of all planes among others."""
    for kind in ("tif", "zarr"):
        image = made(tmp_path / f"mixed.ome.{kind}")
        works("predict", run_folder, image, "-o", kind, *OPTIONS)
        if kind == "tif":
            pixels = read_image(image)
            pixels[1, 3, 70] += 1
            write_ome_tiff(image, pixels, overwrite=True)
        else:
            array = to_fill(image)
            array[1, 0, 3, 70] = array[1, 0, 3, 70] + 1
        refused("predict", run_folder, image, "-o", kind, *OPTIONS, "--resume",
                says=("a result with another image",))  # fmt: skip


def test_refusals(
    refused: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made(tmp_path / "mixed.ome.zarr")
    monkeypatch.setattr(cluster, "WAIT", 1)
    zarr.save_array(str(tmp_path / "flat.zarr"), np.full((40, 40), 7, dtype=np.uint8))
    start = ("predict", run_folder)
    refused(*start, tmp_path / "flat.zarr", "-o", "out", says=("flat.zarr", "constant image"))
    pixels = np.linspace(20, 100, 1600, dtype=np.float32).reshape(40, 40)
    pixels[20, 21] = np.nan
    zarr.save_array(str(tmp_path / "holes.zarr"), pixels)
    refused(*start, tmp_path / "holes.zarr", "-o", "out", says=("NaN or infinite", "its middle"))
    refused(*start, image, "-o", "out", "--dask", "tcp://127.0.0.1:1", says=("--dask", "no sched"))
    create_ome_zarr(tmp_path / "two.ome.zarr", {"c": 2, "y": 40, "x": 40}, channels="AB",
                    chunk=(64, 64), pixel_size_um={})  # fmt: skip
    refused(*start, tmp_path / "two.ome.zarr", "-o", "out", says=("two.ome.zarr", "2 channels"))
