"""Jobs: interrupted, resumed, killed, and used by one process at a time."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoisplit.images import read_image
from denoisplit.images.formats.zarr_write import about_zarr
from denoisplit.jobs import job, pieces
from denoisplit.jobs.job import Job, Piece
from denoisplit.prediction import autotune as tuning
from denoisplit.prediction.autotune import Form

from ..forked import Process
from .conftest import KINDS, OPTIONS, PIECES, made, named, results, same

Call = Callable[..., Any]


def interrupt(monkeypatch: pytest.MonkeyPatch, call: Call, run_folder: Path, image: Path) -> None:
    """Start a prediction into ``out``, and interrupt it before its first piece."""

    def halted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "split_piece", halted)
        assert call("predict", run_folder, image, "-o", "out", *OPTIONS).code == 130


def test_an_interrupted_job_is_resumed(
    call: Call,
    works: Call,
    refused: Call,
    run_folder: Path,
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the undisturbed result; nothing is computed twice."""
    works("predict", run_folder, image, "-o", "whole", *OPTIONS)
    done: list[Piece] = []
    split_piece = pieces.split_piece

    def counted(job: Job, piece: Piece, *rest: Any) -> None:
        if len(done) == 5:
            raise KeyboardInterrupt
        split_piece(job, piece, *rest)
        done.append(piece)

    monkeypatch.setattr(pieces, "split_piece", counted)
    assert call("predict", run_folder, image, "-o", "out", *OPTIONS).code == 130
    assert os.listdir("out") == ["mixed_split.unfinished"]
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, says=("out", "--resume"))
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, "--seed", "1", "--resume",
            says=("unfinished job used another seed (0, not 1)",))  # fmt: skip
    first = list(done)
    done.clear()
    monkeypatch.setattr(
        pieces,
        "split_piece",
        lambda job, piece, *rest: done.append(piece) or split_piece(job, piece, *rest),
    )
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    assert not set(first) & set(done) and len(first) + len(done) == PIECES
    same(results("out"), results("whole"))
    done.clear()
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")
    assert not done


def test_a_job_keeps_its_tiles_on_another_machine(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Even if that would take larger ones; tiles that are given must be those of the job."""
    place = OPTIONS.index("--tile")
    options = OPTIONS[:place] + OPTIONS[place + 2 :]
    monkeypatch.setattr(job, "tile_side", lambda *_, **__: 32)
    works("predict", run_folder, image, "-o", "whole", *options)
    split_piece, done = pieces.split_piece, 0

    def halted(*arguments: Any) -> None:
        nonlocal done
        if done == 2:
            raise KeyboardInterrupt
        split_piece(*arguments)
        done += 1

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "split_piece", halted)
        assert call("predict", run_folder, image, "-o", "out", *options).code == 130
    monkeypatch.setattr(job, "tile_side", lambda *_, **__: 512)
    refused("predict", run_folder, image, "-o", "out", *options, "--tile", "48", "--resume",
            says=("unfinished job used another tile",))  # fmt: skip
    works("predict", run_folder, image, "-o", "out", *options, "--resume")
    same(results("out"), results("whole"))


def test_the_job_of_a_killed_process_is_resumed(
    works: Call, run_folder: Path, programs: Path, tmp_path: Path
) -> None:
    """After ``kill -9``: the undisturbed result, and nothing else is left."""
    image = made(tmp_path / "mixed.ome.zarr")
    many = (*OPTIONS, "--samples", "30")
    part = Process(programs, "predict", run_folder, image, "-o", "out", *many)
    split = Path("out/mixed_split.unfinished/split.ome.zarr/0")
    part.wait_for(lambda: len(list(split.glob("*/*/*/*"))) >= 2)
    part.send(signal.SIGKILL)
    assert part.end().code == -signal.SIGKILL and len(list(split.glob("*/*/*/*"))) < PIECES
    (split / "0" / "0.1234.partial").write_bytes(b"half a chunk")
    works("predict", run_folder, image, "-o", "out", *many, "--resume")
    works("predict", run_folder, image, "-o", "undisturbed", *many)
    same(results("out"), results("undisturbed"))
    assert not list(Path("out").rglob("*.partial"))


def test_a_resumed_job_has_the_same_image_and_all_of_its_results(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    interrupt(monkeypatch, call, run_folder, image)
    refused("predict", run_folder, image, "-o", "out", *OPTIONS, "--add",
            says=("unfinished job", "--resume"))  # fmt: skip
    other = made(tmp_path / "elsewhere" / image.name, seed=1)
    refused("predict", run_folder, other, "-o", "out", *OPTIONS, "--resume",
            says=("unfinished job used another image",))  # fmt: skip
    few = ("--samples", "2", "--tile", "32", "--halo", "16")
    works("predict", run_folder, image, "-o", "few", *few)
    refused("predict", run_folder, image, "-o", "few", *OPTIONS, "--resume",
            says=(*named(image, "split"), "others of the same image are missing"))  # fmt: skip
    for change, key in (
        (("--seed", "1"), "seed (0, not 1)"),
        (("--halo", "32"), "halo (16, not 32)"),
    ):
        refused("predict", run_folder, image, "-o", "few", *few, *change, "--resume",
                says=(*named(image, "split"), f"this result used another {key}"))  # fmt: skip
    works("predict", run_folder, image, "-o", "few", *few, "--resume")


def test_changed_metadata_of_unfinished_results_are_refused(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Axes, scale, names and shape are those of the job; restored, it is done."""
    interrupt(monkeypatch, call, run_folder, image)
    folder = Path("out/mixed_split.unfinished/std.ome.zarr")
    for name, old, new in (
        (".zattrs", '"name": "c"', '"name": {"": 0}'),
        (".zattrs", '"name": "c"', '"name": "z"'),
        (".zattrs", '"name": "std"', '"name": ["std"]'),
        (".zattrs", '"scale": [', '"scale": [2,'),
        (".zattrs", '"label": "', '"label": "not '),
        (".zattrs", '"omero"', '"other"'),
        ("0/.zarray", '"shape": [', '"shape": [1,'),
    ):
        stored = (folder / name).read_text()
        assert old in stored
        (folder / name).write_text(stored.replace(old, new))
        refused("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume",
                says=(folder.name, "remove"))  # fmt: skip
        (folder / name).write_text(stored)
    works("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume")


def test_a_refused_image_leaves_no_job_of_another(
    works: Call, refused: Call, run_folder: Path, tmp_path: Path
) -> None:
    a, b = (made(tmp_path / f"{name}.ome.zarr", seed) for seed, name in enumerate("ab"))
    works("predict", run_folder, b, "-o", "out", *OPTIONS)
    shutil.rmtree("out/b_std.ome.zarr")
    refused(
        "predict",
        run_folder,
        a,
        b,
        "-o",
        "out",
        *OPTIONS,
        "--resume",
        says=("b_s", "others of the same image are missing"),
    )


def test_the_precision_is_that_of_the_job(
    call: Call, works: Call, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is faster when it is resumed."""
    image = made(tmp_path / "mixed.ome.zarr")
    options = (*OPTIONS, "--precision", "bf16", "--compile", "off")
    seconds = {Form("32"): 2.0, Form("bf16"): 1.0}
    monkeypatch.setattr(tuning, "seconds_per_pixel", lambda _, form, *__: seconds[form])

    def halted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "split_piece", halted)
        assert call("predict", run_folder, image, "-o", "out", *options).code == 130
    seconds[Form("32")] = 0.5
    works("predict", run_folder, image, "-o", "out", *options, "--resume")
    split = Path("out/mixed_split.ome.zarr")
    assert about_zarr(split)["precision"] == "bf16"
    works("predict", run_folder, image, "-o", "other", *options)
    assert not np.array_equal(read_image(split), read_image("other/mixed_split.ome.zarr"))


def test_a_job_is_used_by_one_process(
    call: Call, works: Call, refused: Call, run_folder: Path, image: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A second call is refused while the first is running, even if that has only just started."""
    split_piece, create = pieces.split_piece, job._create
    errors: list[str] = []

    def beside(*arguments: Any, of: Callable[..., None], more: str) -> None:
        if len(errors) < 2:
            errors.append("")
            errors.append(call("predict", run_folder, image, "-o", "out", *OPTIONS, more).err)
        of(*arguments)

    monkeypatch.setattr(job, "_create", partial(beside, of=create, more="--add"))
    works("predict", run_folder, image, "-o", "out", *OPTIONS)
    monkeypatch.setattr(job, "_create", create)
    assert f"in use by process {os.getpid()} on" in errors.pop() and os.listdir("out")
    shutil.rmtree("out")
    errors.clear()
    monkeypatch.setattr(pieces, "split_piece", partial(beside, of=split_piece, more="--resume"))
    works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert f"in use by process {os.getpid()} on" in errors.pop()
    assert sorted(os.listdir("out")) == named(image, *KINDS)


def test_a_job_that_another_process_has_finished_is_done(
    call: Call, works: Call, run_folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its start and its first piece; nothing is computed twice or overwritten."""
    split_pieces, split_piece = pieces.split_pieces, pieces.split_piece
    done: list[Piece] = []

    def counted(job: Job, piece: Piece, *rest: Any) -> None:
        done.append(piece)
        split_piece(job, piece, *rest)

    def late(*arguments: Any) -> None:
        monkeypatch.setattr("denoisplit.commands.predict.split_pieces", split_pieces)
        assert call("predict", run_folder, image, "-o", "out", *OPTIONS, "--resume").code == 0
        split_pieces(*arguments)

    monkeypatch.setattr(pieces, "split_piece", counted)
    monkeypatch.setattr("denoisplit.commands.predict.split_pieces", late)
    works("predict", run_folder, image, "-o", "out", *OPTIONS)
    assert len(done) == len(set(done)) > 0
    assert sorted(os.listdir("out")) == named(image, *KINDS)
