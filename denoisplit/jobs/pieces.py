"""Images of any size, split piece by piece, here or by the workers of a cluster.

Each piece is computed independently, so memory does not grow with the image. Noise is addressed by
position: the result does not depend on which machine computes which piece.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.files.folder_lock import folder_lock
from denoisplit.images import ImageFile, LazyImage, open_image
from denoisplit.images.formats.zarr_write import writable_array
from denoisplit.jobs.identity import error_map_digest, weights_digest
from denoisplit.jobs.job import (
    Job,
    Piece,
    StartedJob,
    finish,
    is_unfinished,
    missing_pieces,
    result_dims,
)
from denoisplit.jobs.results import JOB, result_values
from denoisplit.machine.dask_cluster import run_on_cluster
from denoisplit.machine.memory import keep_freed_memory, release_freed_memory
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.frame import OnProgress, predict_core, predict_frame
from denoisplit.prediction.tiles import Tiling
from denoisplit.run import Run, load

PAUSES = (1, 2, 4, 8, 16, 32)  # s, while a network drive shows the files of others late


def split_pieces(started: StartedJob, on_progress: OnProgress, cluster: Any = None) -> None:
    """Compute the missing pieces of a job; with all written, the results get their final names.

    The workers of ``cluster``, a client of Dask, compute them, or else this process.

    Raises
    ------
    InputError
        If something cannot be read or written, or the job is in use by another process.
    """
    with folder_lock(Path(started.job.work), keep=JOB):
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
        problem = f"{len(missing)} of {len(pieces)} pieces were not written"
        remedy = "check whether another program writes there"
        raise InputError(problem, where=job.work, remedy=remedy)
    release_freed_memory()
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
def _run(path: str, weights: str, error_map: str | None, form: Form) -> Run:
    """Load the run of a worker once, and again if its weights or error map have changed."""
    keep_freed_memory()
    run = load(path)
    if (weights_digest(run), error_map_digest(run)) != (weights, error_map):
        problem = "weights or error map of this run have changed since the job was started"
        raise InputError(problem, where=path, remedy="start over in another output folder")
    return run.in_form(form)


def _source(job: Job) -> LazyImage:
    return _image(job.source, job.source.path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _image(source: ImageFile, _modified: int) -> LazyImage:
    """Open an image once, and again if it was modified."""
    return open_image(source)


def split_piece(
    job: Job, piece: Piece, run: Run | None = None, on_progress: OnProgress | None = None
) -> None:
    """Compute one piece and write it; without a run, as in a worker, it is loaded."""
    run = run or _run(job.run, job.weights, job.error_map, job.form)
    image, mapping = _source(job), run.mapping(job.interval)
    plane = image.plane(dict(piece.index))
    try:
        if run.model.supports_tiling:
            tiling = Tiling(run.model, plane, tile=job.tile, halo=job.halo)
            prediction = predict_core(tiling, piece.core, job.sampling, mapping)
        else:  # context, and a denoiser, take the whole plane
            prediction = predict_frame(
                run.model, plane[:, :], job.sampling, mapping=mapping, on_progress=on_progress
            )
    except InputError as error:  # a tile does not know its image
        raise error.replace(where=error.where or job.source) from None
    values, place = result_values(prediction, run.factors), piece.place(result_dims(image))
    for kind in job.kinds:
        # a chunk holds all channels of one plane: (c) y x, whatever lies between
        writable_array(job.path(kind))[place] = values[kind]
