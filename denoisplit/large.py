"""Images that do not fit into memory: from Zarr to OME-Zarr, chunk by chunk, by one or many.

Every chunk of the result is one tile, computed alone and written once, so memory does not grow with
the image, an interrupted job goes on where it stopped, and chunks may come from other machines.
Noise is addressed by position: the result does not depend on who computes what.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from denoisplit.atomic import write_json
from denoisplit.cluster import on_cluster
from denoisplit.errors import InputError
from denoisplit.images.zarr import (
    LazyImage,
    chunk_file,
    create_ome_zarr,
    open_zarr,
    to_fill,
)
from denoisplit.memory import keep_freed_memory
from denoisplit.prediction import Sampling, predict_tile, sample_names
from denoisplit.run import WEIGHTS, Run, load, read_json
from denoisplit.tiles import Tile, Tiling, tile_side
from denoisplit.tuning import Form

JOB = "job.json"
MARK = 128  # px on either side of the middle of an image
SUFFIX = ".ome.zarr"


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
        px, see `denoisplit.tiles.Tiling`.
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
    """One chunk of the result: a tile of a plane."""

    index: tuple[tuple[str, int], ...]  # outer dimension and place
    core: Tile


@lru_cache(maxsize=1)
def _run(path: str, weights: str, form: Form) -> Run:
    """The run of a worker, loaded once; a run that was trained anew is another one."""
    keep_freed_memory()
    run = load(path)
    if _weights(run) != weights:
        raise InputError(
            path, "other weights than those that the job was begun with", "the same run",
            "begin anew in another output folder",
        )  # fmt: skip
    return replace(run, model=form.of(run.model))


def _weights(run: Run) -> str:
    return hashlib.sha256((run.path / WEIGHTS).read_bytes()).hexdigest()


@dataclass(frozen=True)
class Begun:
    """A job whose results are being made, and its pieces."""

    run: Run
    job: Job
    results: dict[str, Path]
    pieces: list[Piece]


def begin(
    run: Run, source: Path, results: dict[str, Path], sampling: Sampling, *, tile: int | None,
    halo: int, resume: bool, form: Form = Form(),  # noqa: B008  # frozen
) -> Begun:  # fmt: skip
    """Make the empty results of a Zarr image, or find those of the same job, interrupted.

    Parameters
    ----------
    run : Run
        Its network in the form that it is run in.
    source : Path
        A Zarr array or OME-Zarr image, one channel.
    results : dict
        "split", "std" and "samples" to the paths of the results.
    sampling : Sampling
    tile : int, optional
        As the interrupted job has it, perhaps of another machine, or else as memory allows.
    halo : int
    resume : bool
        Whether to go on with a job that is there.
    form : Form
        What workers on other machines make of the network.

    Raises
    ------
    InputError
        If the image cannot be read, some results are there already, or a job was left unfinished
        that is not to be resumed, or another one.
    """
    work = _work(results)
    there = [path for path in results.values() if path.exists()]
    if there and not (work / JOB).is_file():
        raise InputError(
            there[0], "an existing result, and others that lack", "all results, or none",
            "move it, or choose another output",
        )  # fmt: skip
    stored = read_json(work / JOB) if (work / JOB).is_file() else None
    if stored is not None and not resume:
        raise InputError(
            work, "an unfinished job", "a new output", "say --resume to go on, or remove it"
        )
    if tile is None and stored is not None and isinstance(stored.get("tile"), int):
        tile = stored["tile"]
    tile = tile or tile_side(run.model, halo)
    job = Job(
        str(run.path.resolve()), str(source.resolve()), str(work.resolve()), _weights(run),
        sampling, tile, halo, form,
    )  # fmt: skip
    image = open_zarr(source)
    pieces = _pieces(run, image, job)
    _begin(job, run, image, pieces[0].core, stored)
    return Begun(run, job, results, pieces)


def split_zarr(begun: Begun, on_share: Callable[[float], None], cluster: Any = None) -> None:
    """Compute the pieces that are not there; the results get their names when all are.

    Parameters
    ----------
    begun : Begun
    on_share : callable
        Called with the share of the work done.
    cluster : dask.distributed.Client, optional
        Who computes; this process by default.

    Raises
    ------
    InputError
        If something cannot be read or written.
    """
    job, pieces = begun.job, begun.pieces
    todo = _not_done(job, open_zarr(job.source), pieces)
    on_share(1 - len(todo) / len(pieces))
    done = (
        on_cluster(cluster, split_piece, [(job, piece) for piece in todo])
        if cluster
        else _here(begun.run, job, todo)
    )
    for number, _ in enumerate(done, start=len(pieces) - len(todo) + 1):
        on_share(number / len(pieces))
    for kind in job.kinds:
        if job.path(kind).exists():  # not moved by a call that was interrupted here
            job.path(kind).rename(begun.results[kind])
    shutil.rmtree(job.work)


def clear(results: dict[str, Path]) -> None:
    """Remove what an interruption after the last step left behind."""
    shutil.rmtree(_work(results), ignore_errors=True)


def _work(results: dict[str, Path]) -> Path:
    """The folder that results are made in."""
    split = results["split"]
    return split.with_name(f"{split.name.removesuffix(SUFFIX)}.unfinished")


def _here(run: Run, job: Job, pieces: Sequence[Piece]) -> Iterator[None]:
    for piece in pieces:
        split_piece(job, piece, run)
        yield


def split_piece(job: Job, piece: Piece, run: Run | None = None) -> None:
    """Compute one chunk and write it; a worker, which is given no run, loads its own."""
    run, image = run or _run(job.run, job.weights, job.form), open_zarr(job.source)
    tiling = Tiling(run.model, image.plane(dict(piece.index)), tile=job.tile, halo=job.halo)
    found = predict_tile(run.model, tiling.patch(piece.core), job.sampling)
    values = {"split": found.mean, "samples": found.samples.reshape(-1, *found.mean.shape[1:])}
    if found.std is not None:
        values["std"] = found.std * run.factors
    y, x, height, width = piece.core
    outer = dict(piece.index)
    for kind in job.kinds:
        array = to_fill(job.path(kind))
        places = {"c": slice(None), "y": slice(y, y + height), "x": slice(x, x + width)}
        key = tuple(outer.get(dim, places.get(dim)) for dim in _dims(image))
        # chunks hold all channels of one plane: (c) y x, whatever lies between
        array[key] = values[kind]


def _dims(image: LazyImage) -> tuple[str, ...]:
    """Of the result, in its order."""
    return tuple(dim for dim in ("t", "c", "z", "y", "x") if dim == "c" or dim in image.dims)


def _pieces(run: Run, image: LazyImage, job: Job) -> list[Piece]:
    sizes = image.sizes
    outer = [dim for dim in ("t", "z") if dim in sizes]
    cores = Tiling(run.model, image.plane({}), tile=job.tile, halo=job.halo).cores
    return [
        Piece(tuple(zip(outer, places, strict=True)), core)
        for places in product(*(range(sizes[dim]) for dim in outer))
        for core in cores
    ]


def _begin(
    job: Job, run: Run, image: LazyImage, first: Tile, stored: dict[str, Any] | None
) -> None:
    """The empty results, or those of the same job that was interrupted."""
    work = Path(job.work)
    told = {
        "weights": job.weights, "image": _mark(image), "shape": list(image.array.shape),
        "sampling": asdict(job.sampling), "tile": job.tile, "halo": job.halo,
        "precision": job.form.precision,
    }  # fmt: skip
    if stored is not None:
        for key, value in told.items():
            if stored.get(key) != value:
                raise InputError(
                    work, f"an unfinished job with another {key}", "the same job, to go on with it",
                    "give the same options, or remove this folder to begin anew",
                )  # fmt: skip
        return
    shutil.rmtree(work, ignore_errors=True)  # not even begun
    work.mkdir(parents=True)
    names = list(run.names)
    channels = {
        "split": names, "std": names,
        "samples": sample_names(names, job.sampling.keep),
    }  # fmt: skip
    for kind in job.kinds:
        sizes = {dim: image.sizes.get(dim, 0) for dim in _dims(image)}
        create_ome_zarr(
            job.path(kind), sizes | {"c": len(channels[kind])}, channels=channels[kind],
            chunk=(first.height, first.width), pixel_size_um=image.pixel_size_um,
        )  # fmt: skip
    write_json(work / JOB, told)


def _mark(image: LazyImage) -> str:
    """What tells one image from another without reading all of it: its middle, and its type."""
    sizes = image.sizes
    height, width = sizes["y"], sizes["x"]
    plane = image.plane({dim: sizes[dim] // 2 for dim in ("t", "z") if dim in sizes})
    part = plane[
        max(0, height // 2 - MARK) : height // 2 + MARK,
        max(0, width // 2 - MARK) : width // 2 + MARK,
    ]
    return hashlib.sha256(
        str(part.dtype).encode() + np.ascontiguousarray(part).tobytes()
    ).hexdigest()


def _not_done(job: Job, image: LazyImage, pieces: Sequence[Piece]) -> list[Piece]:
    """Those whose last result is not there."""
    dims, height, width = _dims(image), pieces[0].core.height, pieces[0].core.width
    missing = []
    for piece in pieces:
        places = {
            **dict(piece.index), "c": 0, "y": piece.core.y // height, "x": piece.core.x // width,
        }  # fmt: skip
        if not chunk_file(job.path("split"), [places[dim] for dim in dims]).is_file():
            missing.append(piece)
    return missing
