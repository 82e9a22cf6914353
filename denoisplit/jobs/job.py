"""A job: one image that is split piece by piece, and its results while they are made.

Each piece is one tile of a plane and one chunk of a Zarr, which is written once, so an interrupted
job resumes where it stopped. Results get their final names when all pieces are written; those that
become a TIFF are then assembled plane by plane. A record of the options is stored with them, by
which a job is recognised when it is resumed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from denoisplit.errors import InputError
from denoisplit.files.folder_lock import folder_lock
from denoisplit.files.json_file import write_json
from denoisplit.files.outputs import bytes_of
from denoisplit.images import ImageFile, LazyImage, open_image
from denoisplit.images.display import light
from denoisplit.images.formats.zarr_write import check_created, chunk_file, create_ome_zarr
from denoisplit.images.tiling import Tile
from denoisplit.images.write import Compression
from denoisplit.jobs.identity import (
    check_same_record,
    error_map_digest,
    origin,
    weights_digest,
)
from denoisplit.jobs.results import (
    JOB,
    ZARR,
    Format,
    Results,
    publish,
    result_channels,
    result_kinds,
    stored_record,
    work_folder,
)
from denoisplit.prediction.autotune import Form
from denoisplit.prediction.sampling import Sampling
from denoisplit.prediction.tiles import Tiling, tile_side
from denoisplit.run import Run


@dataclass(frozen=True)
class Plan:
    """How all images of one call are split."""

    run: Run  # its network is in the form below
    sampling: Sampling
    interval: float | None  # coverage; None for no interval
    tile: int | None  # px; None: that of the interrupted job, or as memory allows
    halo: int  # px, see `denoisplit.prediction.tiles.Tiling`
    form: Form  # in which workers, which load the network again, run it
    resume: bool  # whether to continue jobs that exist
    processes: int = 1  # that share the memory of this machine
    memory: float | None = None  # bytes for the feature maps; None: as suits the machine
    written_as: Format = "auto"
    compression: Compression = "none"  # of TIFF files


@dataclass(frozen=True)
class PlannedImage:
    """An image of one channel that was checked, and the files that it is split into."""

    path: ImageFile
    digest: str  # of its pixels
    results: Results
    pixels: int  # number of them
    plane_bytes: int  # of one plane, float32

    @property
    def is_done(self) -> bool:
        """Whether all results exist."""
        return all(path.exists() for path in self.results.values())


@dataclass(frozen=True)
class Job:
    """One image to split: everything that a worker needs, and small enough to be sent."""

    run: str  # run folder, image and folder of the unfinished results, as every worker sees them
    source: ImageFile
    work: str
    weights: str  # SHA-256 of those with which the job was started
    error_map: str | None  # SHA-256, if the run has one
    sampling: Sampling
    interval: float | None  # coverage; None for no interval
    tile: int  # px, see `denoisplit.prediction.tiles.Tiling`
    halo: int
    form: Form  # of the network

    @property
    def kinds(self) -> tuple[str, ...]:
        """Results in writing order: a piece is done when the last, the split, is written."""
        has_error_map = self.error_map is not None
        kinds = result_kinds(self.sampling, has_error_map=has_error_map, interval=self.interval)
        return kinds[::-1]

    def path(self, kind: str) -> Path:
        """Return the Zarr in which a result is made."""
        return Path(self.work) / f"{kind}{ZARR}"


@dataclass(frozen=True)
class Piece:
    """One chunk of the results: a tile of a plane, or all of it for a network with context."""

    index: tuple[tuple[str, int], ...]  # t and z of the plane
    core: Tile

    def place(self, dims: Sequence[str]) -> tuple[int | slice, ...]:
        """Return the index of its pixels in an array of these dimensions, with all channels."""
        y, x, height, width = self.core
        place: dict[str, int | slice] = dict(self.index)
        place |= {"c": slice(None), "y": slice(y, y + height), "x": slice(x, x + width)}
        return tuple(place[dim] for dim in dims)


@dataclass(frozen=True)
class StartedJob:
    """A job whose results are being made, and its pieces; ``new`` if it was not resumed."""

    run: Run
    job: Job
    results: Results
    pieces: list[Piece]
    new: bool
    written_as: Format
    compression: Compression


def start_jobs(plan: Plan, images: Sequence[PlannedImage]) -> list[StartedJob | None]:
    """Start or resume the job of each image; if one is refused, none of the new ones is left."""
    started: list[StartedJob | None] = []
    try:
        for image in images:
            started.append(start_job(plan, image))
    except BaseException:
        for begun in started:
            if begun is not None and begun.new:
                _discard(begun)
        raise
    return started


def disk_space(plan: Plan, images: Sequence[PlannedImage]) -> int:
    """Return the bytes that images still take: their results, float32, and one beside them.

    A result is written from a Zarr of the same size, which is then removed; a pyramid takes a third
    more.
    """
    total, beside = 0, 0
    for image in images:
        if image.is_done:
            continue
        for kind, path in image.results.items():
            channels = len(result_channels(kind, plan.run.names, plan.sampling))
            size = 4 * image.pixels * channels
            total += size + (size // 3 if path.name.endswith(ZARR) else 0)
            beside = max(beside, size)
        existing = [path for path in image.results.values() if path.exists()]
        total -= sum(map(bytes_of, [work_folder(image.results), *existing]))
    return max(0, total + beside)


def start_job(plan: Plan, image: PlannedImage) -> StartedJob | None:
    """Create the empty results of an image, or reopen those of an interrupted job.

    Returns
    -------
    StartedJob or None
        None if the results are complete, made with the same options.

    Raises
    ------
    InputError
        If the image cannot be read, only some results exist, an unfinished job must not be resumed
        or is in use by another process, or what exists was made with other options.
    """
    run, results, source = plan.run, image.results, open_image(image.path)
    work = work_folder(results)
    with folder_lock(work, keep=JOB):
        existing, done = [path for path in results.values() if path.exists()], image.is_done
        if existing and not done and not (work / JOB).is_file():
            problem = "this result exists, but others of the same image are missing"
            raise InputError(problem, where=existing[0], remedy="move it, or choose another output")
        stored = stored_record(results)
        if stored is not None and not plan.resume:
            problem = "an unfinished job lies here"
            raise InputError(problem, where=work, remedy="continue it with `resume`, or remove it")
        tile = plan.tile
        if tile is None and stored is not None and isinstance(stored.get("tile"), int):
            tile = stored["tile"]
        job = Job(
            run=str(run.path.resolve()),
            source=image.path.resolve(),
            work=str(work.resolve()),
            weights=weights_digest(run),
            error_map=error_map_digest(run),
            sampling=plan.sampling,
            interval=plan.interval,
            tile=tile
            or tile_side(run.model, plan.halo, processes=plan.processes, memory=plan.memory),
            halo=plan.halo,
            form=plan.form,
        )
        record = {
            "weights": job.weights,
            "calibration": run.factors.ravel().tolist(),
            "image": image.digest,
            "shape": list(source.array.shape),
            "sampling": asdict(job.sampling),
            "tile": job.tile,
            "halo": job.halo,
            "precision": job.form.precision,
        }
        optional = {
            "error_map": job.error_map,
            "interval": job.interval,
            "format": None if plan.written_as == "auto" else plan.written_as,
            "compression": None if plan.compression == "none" else plan.compression,
        }
        record |= {key: value for key, value in optional.items() if value is not None}
        if stored is not None:
            kind = "result" if done else "unfinished job"
            check_same_record(existing[0] if done else work, stored, record, kind)
        if done:  # the folder may be left if the last step was interrupted
            (work / JOB).unlink(missing_ok=True)
            return None
        pieces = _pieces(run, source, job)
        if stored is None:
            try:
                _create(job, run, source, pieces[0].core, origin(run, image.path) | record)
            except BaseException:
                _remove(work)
                raise
        for kind, options in _empty_results(job, run, source, pieces[0].core).items():
            if job.path(kind).exists():  # not yet published by a call that was interrupted
                check_created(job.path(kind), **options)
        for part in work.rglob("*.partial"):  # chunks of a killed process
            part.unlink(missing_ok=True)
        new = stored is None
        return StartedJob(run, job, results, pieces, new, plan.written_as, plan.compression)


def is_unfinished(started: StartedJob) -> bool:
    """Return whether a job still has to be done; another process may have done it meanwhile.

    Raises
    ------
    InputError
        If neither its folder nor its results exist.
    """
    work = Path(started.job.work)
    if (work / JOB).is_file():
        return True
    if not all(path.exists() for path in started.results.values()):
        raise InputError("this job has been removed", where=work, remedy="start over")
    return False


def finish(started: StartedJob) -> None:
    """Give the complete results their final names, and remove the folder of the job."""
    for kind in started.job.kinds:
        made = started.job.path(kind)
        if made.exists():  # not yet published by a call that was interrupted here
            publish(made, started.results[kind], started.written_as, started.compression)
    (Path(started.job.work) / JOB).unlink()  # the folder follows when its lock is released


def missing_pieces(job: Job, image: LazyImage, pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces whose split is not written yet."""
    dims, height, width = result_dims(image), pieces[0].core.height, pieces[0].core.width

    def is_missing(piece: Piece) -> bool:
        y, x = piece.core.y // height, piece.core.x // width
        chunk = {**dict(piece.index), "c": 0, "y": y, "x": x}
        return not chunk_file(job.path("split"), [chunk[dim] for dim in dims]).is_file()

    return [piece for piece in pieces if is_missing(piece)]


def result_dims(image: LazyImage) -> tuple[str, ...]:
    """Return the dimensions of the results of an image, in order."""
    return tuple(dim for dim in ("t", "c", "z", "y", "x") if dim == "c" or dim in image.dims)


def _pieces(run: Run, image: LazyImage, job: Job) -> list[Piece]:
    sizes = image.sizes
    outer = [dim for dim in ("t", "z") if dim in sizes]
    plane = image.plane({})
    cores = [Tile(0, 0, *plane.shape)]
    if run.model.supports_tiling:
        cores = Tiling(run.model, plane, tile=job.tile, halo=job.halo).cores
    return [
        Piece(tuple(zip(outer, places, strict=True)), core)
        for places in product(*(range(sizes[dim]) for dim in outer))
        for core in cores
    ]


def _empty_results(job: Job, run: Run, image: LazyImage, first: Tile) -> dict[str, dict[str, Any]]:
    """Return how the result of each kind is created, with chunks of the size of the first tile."""
    colours = [light(k, len(run.names)) for k in range(len(run.names))]
    created = {}
    for kind in job.kinds:
        names = result_channels(kind, run.names, job.sampling)
        created[kind] = {
            "sizes": {d: image.sizes.get(d, 1) for d in result_dims(image)} | {"c": len(names)},
            "channels": names,
            "chunk": (first.height, first.width),
            "pixel_size_um": image.pixel_size_um,
            "time_increment_s": image.time_increment_s,
            "colours": colours * (len(names) // len(colours)),  # of each sample
        }
    return created


def _create(job: Job, run: Run, image: LazyImage, first: Tile, record: dict[str, Any]) -> None:
    work = Path(job.work)
    for path in work.glob(f"*{ZARR}"):  # of a start that was interrupted
        shutil.rmtree(path)
    for kind, options in _empty_results(job, run, image, first).items():
        create_ome_zarr(job.path(kind), **options, about=record)
    write_json(work / JOB, record)


def _discard(started: StartedJob) -> None:
    """Remove an empty job, unless another process is using it."""
    work = Path(started.job.work)
    with suppress(InputError), folder_lock(work, keep=JOB):
        _remove(work)


def _remove(work: Path) -> None:
    """Remove a folder into which a thread of zarr may still write after a failed write."""
    for _ in range(2):
        shutil.rmtree(work, ignore_errors=True)
        time.sleep(0.1)
