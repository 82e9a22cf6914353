"""Images of any size, split piece by piece, here or by the workers of a cluster.

Each piece is computed independently, so memory does not grow with the image. Noise is addressed by
position: the result does not depend on which machine computes which piece.
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
from denoisplit.images.zarr import writable_array
from denoisplit.jobs.identity import weights_digest
from denoisplit.jobs.job import (
    Job,
    Piece,
    StartedJob,
    finish,
    is_unfinished,
    job_lock,
    missing_pieces,
    result_dims,
)
from denoisplit.machine.dask_cluster import run_on_cluster
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import Prediction, predict_frame, predict_tile
from denoisplit.prediction.tiles import Tiling
from denoisplit.run import Run, load

PAUSES = (1, 2, 4, 8, 16, 32)  # s, while a network drive shows the files of others late

OnProgress = Callable[[float], None]  # called with the fraction done


def split_pieces(started: StartedJob, on_progress: OnProgress, cluster: Any = None) -> None:
    """Compute the missing pieces of a job; with all written, the results get their final names.

    Parameters
    ----------
    started : StartedJob
    on_progress : callable
        Called with the fraction of the work done.
    cluster : dask.distributed.Client, optional
        Whose workers compute; this process by default.

    Raises
    ------
    InputError
        If something cannot be read or written, or the job is in use by another process.
    """
    with job_lock(Path(started.job.work)):
        if is_unfinished(started):
            _split_all(started, on_progress, cluster)


def _split_all(started: StartedJob, on_progress: OnProgress, cluster: Any) -> None:
    job, pieces = started.job, started.pieces
    missing = missing_pieces(job, _source(job), pieces)
    before = len(pieces) - len(missing)
    on_progress(before / len(pieces))
    if cluster:
        done = run_on_cluster(cluster, split_piece, [(job, piece) for piece in missing])
    else:
        done = _split_here(
            started.run, job, missing, lambda count: on_progress((before + count) / len(pieces))
        )
    for number, _ in enumerate(done, start=before + 1):
        on_progress(number / len(pieces))
    missing = missing_pieces(job, _source(job), pieces)
    for pause in PAUSES if cluster else ():
        if missing:
            time.sleep(pause)
            missing = missing_pieces(job, _source(job), pieces)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(pieces)} pieces were not written",
            where=job.work,
            remedy="check whether another program writes there",
        )
    finish(started)


def _split_here(
    run: Run, job: Job, pieces: Sequence[Piece], on_progress: OnProgress
) -> Iterator[None]:
    """Compute pieces in this process; ``on_progress`` is called with the number done."""
    for done, piece in enumerate(pieces):

        def on_piece(fraction: float, done: int = done) -> None:
            on_progress(done + fraction)

        split_piece(job, piece, run, on_piece)
        yield


@lru_cache(maxsize=1)
def _run(path: str, weights: str, form: Form) -> Run:
    """Load the run of a worker once, and again if its weights have changed."""
    keep_freed_memory()
    run = load(path)
    if weights_digest(run) != weights:
        raise InputError(
            "the weights of this run have changed since the job was started",
            where=path,
            remedy="start over in another output folder",
        )
    return replace(run, model=form.apply(run.model))


def _source(job: Job) -> LazyImage:
    return _image(job.source, Path(job.source).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _image(source: str, _modified: int) -> LazyImage:
    """Open an image once, and again if it was modified."""
    return open_image(source)


def split_piece(
    job: Job, piece: Piece, run: Run | None = None, on_progress: OnProgress | None = None
) -> None:
    """Compute one piece and write it; without a run, as in a worker, it is loaded."""
    run = run or _run(job.run, job.weights, job.form)
    image, outer = _source(job), dict(piece.index)
    prediction = _predict(run, job, image.plane(outer), piece.core, on_progress)
    samples = prediction.samples.reshape(-1, *prediction.mean.shape[1:])
    values = {"split": prediction.mean, "samples": samples}
    if prediction.std is not None:
        values["std"] = prediction.std * run.factors
    y, x, height, width = piece.core
    spans = {"c": slice(None), "y": slice(y, y + height), "x": slice(x, x + width)}
    key = tuple(outer.get(dim, spans.get(dim)) for dim in result_dims(image))
    for kind in job.kinds:
        # a chunk holds all channels of one plane: (c) y x, whatever lies between
        writable_array(job.path(kind))[key] = values[kind]


def _predict(
    run: Run, job: Job, plane: Plane, core: Tile, on_progress: OnProgress | None
) -> Prediction:
    if not run.model.supports_tiling:  # context, and a denoiser, take the whole plane

        def on_tile(done: int, tiles: int) -> None:
            if on_progress is not None:
                on_progress(done / tiles)

        return predict_frame(run.model, plane[:, :], job.sampling, on_tile=on_tile)
    tiling = Tiling(run.model, plane, tile=job.tile, halo=job.halo)
    return predict_tile(run.model, tiling.patch(core), job.sampling)
