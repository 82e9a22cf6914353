"""Images split piece by piece, by one or many: of any size, interrupted and continued.

Every piece is computed alone, so memory does not grow with the image, and pieces may come from
other machines. Noise is addressed by position: the result does not depend on who computes what.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.images import LazyImage, open_image
from denoisplit.images.lazy import Plane
from denoisplit.images.tiling import Tile
from denoisplit.images.zarr import to_fill
from denoisplit.jobs.identity import weights_of
from denoisplit.jobs.job import Begun, Job, Piece, at_it, dims_of, finish, is_begun, not_done
from denoisplit.machine.dask_cluster import on_cluster
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.network import ContextVSE
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import Prediction, predict_frame, predict_tile
from denoisplit.prediction.tiles import Tiling
from denoisplit.run import Run, load

PAUSES = (1, 2, 4, 8, 16, 32)  # s


def split_pieces(begun: Begun, on_share: Callable[[float], None], cluster: Any = None) -> None:
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
    with at_it(Path(begun.job.work)):
        if is_begun(begun):
            _split_all(begun, on_share, cluster)


def _split_all(begun: Begun, on_share: Callable[[float], None], cluster: Any) -> None:
    job, pieces = begun.job, begun.pieces
    todo = not_done(job, _source(job), pieces)
    before = len(pieces) - len(todo)
    on_share(before / len(pieces))
    done = (
        on_cluster(cluster, split_piece, [(job, piece) for piece in todo])
        if cluster
        else _here(begun.run, job, todo, lambda share: on_share((before + share) / len(pieces)))
    )
    for number, _ in enumerate(done, start=before + 1):
        on_share(number / len(pieces))
    left = not_done(job, _source(job), pieces)
    for pause in PAUSES if cluster else ():  # a network drive shows files of others late
        if left:
            time.sleep(pause)
            left = not_done(job, _source(job), pieces)
    if left:
        raise InputError(
            where=job.work,
            found=f"{len(left)} of {len(pieces)} pieces that were not written",
            expected="all of them",
            remedy="look whether something else writes there",
        )
    finish(begun)


@lru_cache(maxsize=1)
def _run(path: str, weights: str, form: Form) -> Run:
    """The run of a worker, loaded once; a run that was trained anew is another one."""
    keep_freed_memory()
    run = load(path)
    if weights_of(run) != weights:
        raise InputError(
            where=path,
            found="other weights than those that the job was begun with",
            expected="the same run",
            remedy="begin anew in another output folder",
        )
    return replace(run, model=form.of(run.model))


def _here(
    run: Run, job: Job, pieces: Sequence[Piece], on_share: Callable[[float], None]
) -> Iterator[None]:
    done = 0

    def of_piece(share: float) -> None:
        on_share(done + share)

    for piece in pieces:
        split_piece(job, piece, run, of_piece)
        done += 1
        yield


def _source(job: Job) -> LazyImage:
    return _image(job.source, Path(job.source).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _image(source: str, _stamp: int) -> LazyImage:
    """An image, opened once; one that was written anew is another one."""
    return open_image(source)


def split_piece(
    job: Job, piece: Piece, run: Run | None = None, on_share: Callable[[float], None] | None = None
) -> None:
    """Compute one chunk and write it; a worker, which is given no run, loads its own."""
    run = run or _run(job.run, job.weights, job.form)
    image = _source(job)
    found = _predict(run, job, image.plane(dict(piece.index)), piece.core, on_share)
    values = {"split": found.mean, "samples": found.samples.reshape(-1, *found.mean.shape[1:])}
    if found.std is not None:
        values["std"] = found.std * run.factors
    y, x, height, width = piece.core
    outer = dict(piece.index)
    for kind in job.kinds:
        array = to_fill(job.path(kind))
        places = {"c": slice(None), "y": slice(y, y + height), "x": slice(x, x + width)}
        key = tuple(outer.get(dim, places.get(dim)) for dim in dims_of(image))
        # chunks hold all channels of one plane: (c) y x, whatever lies between
        array[key] = values[kind]


def _predict(
    run: Run, job: Job, plane: Plane, core: Tile, on_share: Callable[[float], None] | None
) -> Prediction:
    if isinstance(run.model, ContextVSE):  # context, and a denoiser, take the whole plane

        def on_tile(done: int, tiles: int) -> None:
            if on_share is not None:
                on_share(done / tiles)

        return predict_frame(run.model, plane[:, :], job.sampling, on_tile=on_tile)
    tiling = Tiling(run.model, plane, tile=job.tile, halo=job.halo)
    return predict_tile(run.model, tiling.patch(core), job.sampling)
