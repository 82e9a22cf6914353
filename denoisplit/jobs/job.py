"""A job: one image to split, piece by piece, and its results while they are made.

Every piece is one tile of a plane, a chunk of a Zarr that is written once, so a job that was
interrupted goes on where it stopped. Its results get their names when all pieces are there; what
becomes a TIFF is put together then, plane by plane. They tell how they were made, by which a job is
known again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.files.atomic import drop_drafts
from denoisplit.files.folder_lock import held
from denoisplit.files.json_file import read_json, write_json
from denoisplit.images import LazyImage, open_image, write_ome_tiff
from denoisplit.images.tiff import description_of
from denoisplit.images.tiling import Tile
from denoisplit.images.zarr import about_zarr, chunk_file, create_ome_zarr, open_zarr, show_all
from denoisplit.jobs.identity import check_same, weights_of
from denoisplit.network import ContextVSE
from denoisplit.prediction.autotune import Form, Precision
from denoisplit.prediction.frame import Sampling, sample_names
from denoisplit.prediction.tiles import Tiling, tile_side
from denoisplit.run import Run

JOB = "job.json"
SUFFIX, TIFF, UNFINISHED = ".ome.zarr", ".ome.tif", ".unfinished"


@dataclass(frozen=True)
class Job:
    """One image to split; everything that a worker has to know, and small enough to be sent.

    Attributes
    ----------
    run, source, work : str
        Run folder, image, and the folder that the result is made in; for every worker the same.
    weights : str
        SHA-256 of the weights: those that the job was begun with.
    sampling : Sampling
    tile, halo : int
        px, see `denoisplit.prediction.tiles.Tiling`.
    form : Form
        How the network is run.
    """

    run: str
    source: str
    work: str
    weights: str
    sampling: Sampling
    tile: int
    halo: int
    form: Form

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is written, in this order: a tile is done when the last, the split, is there."""
        return self.sampling.results[::-1]

    def path(self, kind: str) -> Path:
        """Where a result is made."""
        return Path(self.work) / f"{kind}{SUFFIX}"


@dataclass(frozen=True)
class Piece:
    """One chunk of the result: a tile of a plane, all of it for a network with context."""

    index: tuple[tuple[str, int], ...]  # outer dimension and place
    core: Tile


@dataclass(frozen=True)
class Begun:
    """A job whose results are being made, and its pieces; ``new`` if nothing was there before."""

    run: Run
    job: Job
    results: dict[str, Path]
    pieces: list[Piece]
    new: bool


def begin(
    run: Run,
    source: Path,
    results: dict[str, Path],
    sampling: Sampling,
    *,
    mark: str,
    tile: int | None,
    halo: int,
    resume: bool,
    form: Form,
    processes: int = 1,
) -> Begun | None:
    """Make the empty results of an image, or find those of the same job, interrupted or done.

    Parameters
    ----------
    run : Run
        Its network in the form that it is run in.
    source : Path
        An image of one channel.
    results : dict
        "split", "std" and "samples" to the paths of the results, OME-TIFF or OME-Zarr.
    sampling : Sampling
    mark : str
        Of the pixels of the image; see `denoisplit.jobs.identity.Mark`.
    tile : int, optional
        As the interrupted job has it, perhaps of another machine, or else as memory allows.
    halo : int
    resume : bool
        Whether to go on with a job that is there.
    form : Form
        What workers on other machines make of the network.
    processes : int
        How many share the memory of this machine.

    Returns
    -------
    Begun or None
        None if all is done: the results are those of this job.

    Raises
    ------
    InputError
        If the image cannot be read, some results are there already, a job was left unfinished
        that is not to be resumed, another process is at it, or what is there is of another job.
    """
    work, image = _work(results), open_image(source)
    with at_it(work):
        there = [path for path in results.values() if path.exists()]
        done = len(there) == len(results)
        if there and not done and not (work / JOB).is_file():
            raise InputError(
                where=there[0],
                found="an existing result, and others that lack",
                expected="all results, or none",
                remedy="move it, or choose another output",
            )
        stored = _stored(results)
        if stored is not None and not resume:
            raise InputError(
                where=work,
                found="an unfinished job",
                expected="a new output",
                remedy="say --resume to go on, or remove it",
            )
        if tile is None and stored is not None and isinstance(stored.get("tile"), int):
            tile = stored["tile"]
        tile = tile or tile_side(run.model, halo, processes=processes)
        job = Job(
            str(run.path.resolve()),
            str(source.resolve()),
            str(work.resolve()),
            weights_of(run),
            sampling,
            tile,
            halo,
            form,
        )
        told = {
            "weights": job.weights,
            "calibration": run.factors.ravel().tolist(),
            "image": mark,
            "shape": list(image.array.shape),
            "sampling": asdict(sampling),
            "tile": tile,
            "halo": halo,
            "precision": form.precision,
        }
        if stored is not None:
            check_same(
                there[0] if done else work,
                stored,
                told,
                "a result" if done else "an unfinished job",
            )
        if done:  # what an interruption after the last step has left is removed
            (work / JOB).unlink(missing_ok=True)
            return None
        pieces = _pieces(run, image, job)
        if stored is None:
            try:
                _create(job, run, image, pieces[0].core, told)
            except BaseException:
                _remove(work)
                raise
        for part in work.rglob("*.partial"):  # of chunks, by a process that was killed
            part.unlink(missing_ok=True)
        return Begun(run, job, results, pieces, new=stored is None)


def at_it(work: Path) -> AbstractContextManager[None]:
    """The folder of a job for this process alone; it goes afterwards if there is no job in it.

    Raises
    ------
    InputError
        If another process is at the job.
    """
    return held(work, keep=JOB)


def is_begun(begun: Begun) -> bool:
    """Whether a job is still to be done: another process may have, since it was begun.

    Raises
    ------
    InputError
        If its folder is gone, and its results are not there.
    """
    work = Path(begun.job.work)
    if (work / JOB).is_file():
        return True
    if not all(path.exists() for path in begun.results.values()):
        raise InputError(
            where=work,
            found="a job that was removed",
            expected="one that stays",
            remedy="begin anew",
        )
    return False


def stored_precision(results: dict[str, Path]) -> Precision | None:
    """That of the job that was begun, or done, with these results."""
    return (_stored(results) or {}).get("precision")


def _stored(results: dict[str, Path]) -> dict[str, Any] | None:
    """What the unfinished job, or the last of the results, tells of how it is made."""
    work, split = _work(results), results["split"]
    if (work / JOB).is_file():
        return read_json(work / JOB)
    if not split.exists():
        return None
    if split.is_dir():
        return about_zarr(split)
    try:
        found = json.loads(description_of(split))
    except ValueError:
        return {}
    return dict(found) if isinstance(found, dict) else {}


def finish(begun: Begun) -> None:
    """Give the results, which are complete, their names; the folder of the job is removed."""
    for kind in begun.job.kinds:
        made, result = begun.job.path(kind), begun.results[kind]
        if made.exists():  # not moved by a call that was interrupted here
            _name(made, result)
    (Path(begun.job.work) / JOB).unlink()  # by which the folder goes with the hold on it


def _name(made: Path, result: Path) -> None:
    if result.name.endswith(SUFFIX):
        show_all(made)
        made.rename(result)
        return
    drop_drafts(result)
    about = json.dumps(about_zarr(made))
    write_ome_tiff(result, open_zarr(made), overwrite=True, about=about)
    # set aside in one step: one that is removed by half could not be read again
    shutil.rmtree(made.rename(made.with_suffix(UNFINISHED)))


def discard(begun: Begun) -> None:
    """Remove an empty job, unless another process is at it."""
    work = Path(begun.job.work)
    with suppress(InputError), at_it(work):
        _remove(work)


def _remove(work: Path) -> None:
    """Remove a folder to which zarr, when one of its writes failed, may still write in a thread."""
    for _ in range(2):
        shutil.rmtree(work, ignore_errors=True)
        time.sleep(0.1)


def _work(results: dict[str, Path]) -> Path:
    """The folder that results are made in."""
    split = results["split"]
    return split.with_name(split.name.removesuffix(SUFFIX).removesuffix(TIFF) + UNFINISHED)


def dims_of(image: LazyImage) -> tuple[str, ...]:
    """Of the result, in its order."""
    return tuple(dim for dim in ("t", "c", "z", "y", "x") if dim == "c" or dim in image.dims)


def _pieces(run: Run, image: LazyImage, job: Job) -> list[Piece]:
    sizes = image.sizes
    outer = [dim for dim in ("t", "z") if dim in sizes]
    plane = image.plane({})
    cores = [Tile(0, 0, *plane.shape)]
    if not isinstance(run.model, ContextVSE):
        cores = Tiling(run.model, plane, tile=job.tile, halo=job.halo).cores
    return [
        Piece(tuple(zip(outer, places, strict=True)), core)
        for places in product(*(range(sizes[dim]) for dim in outer))
        for core in cores
    ]


def _create(job: Job, run: Run, image: LazyImage, first: Tile, told: dict[str, Any]) -> None:
    """The empty results."""
    work = Path(job.work)
    for left in work.glob(f"*{SUFFIX}"):  # not even begun
        shutil.rmtree(left)
    names = list(run.names)
    channels = {"split": names, "std": names, "samples": sample_names(names, job.sampling.keep)}
    for kind in job.kinds:
        sizes = {dim: image.sizes.get(dim, 0) for dim in dims_of(image)}
        create_ome_zarr(
            job.path(kind),
            sizes | {"c": len(channels[kind])},
            channels=channels[kind],
            chunk=(first.height, first.width),
            pixel_size_um=image.pixel_size_um,
            about=told,
        )
    write_json(work / JOB, told)


def not_done(job: Job, image: LazyImage, pieces: Sequence[Piece]) -> list[Piece]:
    """Those whose last result is not there."""
    dims, height, width = dims_of(image), pieces[0].core.height, pieces[0].core.width
    missing = []
    for piece in pieces:
        places = {
            **dict(piece.index),
            "c": 0,
            "y": piece.core.y // height,
            "x": piece.core.x // width,
        }
        if not chunk_file(job.path("split"), [places[dim] for dim in dims]).is_file():
            missing.append(piece)
    return missing
