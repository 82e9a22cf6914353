"""``denoisplit predict``: split superposed images, with error bars and samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from denoisplit.config.everyday import PREDICT
from denoisplit.config.options import documented
from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written
from denoisplit.files.json_file import write_json
from denoisplit.files.outputs import check_file, check_new, check_space
from denoisplit.images import Files, ImageFile, list_files
from denoisplit.images.write import Compression
from denoisplit.jobs.alarm import Alarm, judge_image, warn_of_alarm
from denoisplit.jobs.alarm_file import read_alarm
from denoisplit.jobs.identity import origin
from denoisplit.jobs.inputs import plan_image, warn_of_same
from denoisplit.jobs.job import Plan, StartedJob, disk_space, start_jobs
from denoisplit.jobs.options import sampling_of, warn_of_few_samples
from denoisplit.jobs.pieces import split_pieces
from denoisplit.jobs.results import (
    Format,
    check_output,
    result_kinds,
    result_paths,
    stored_precision,
)
from denoisplit.jobs.tiling import memory_allowed, memory_for_tiles, tile_and_halo
from denoisplit.machine.dask_cluster import local_workers, workers
from denoisplit.machine.memory import peak_memory
from denoisplit.prediction.autotune import Compilation, Precision, fastest
from denoisplit.prediction.frame import Array, predict_frame
from denoisplit.prediction.sampling import NoiseAddress
from denoisplit.prediction.tiles import tile_side
from denoisplit.progress import bar, logger
from denoisplit.run import Run, load

PathLike = str | Path


class Written(list[Path]):
    """Files that were written, and ``records``, one per image.

    A record has the path of the image (``file``), the names of the release, the run and the image
    and, if the run can tell, whether it is like the training data
    (`denoisplit.jobs.alarm.Alarm.summary`).
    """

    records: list[dict[str, Any]]


@documented(PREDICT)
def predict(
    run: Run | PathLike,
    files: Files,
    output: PathLike,
    *,
    channel: int | str | None = None,
    samples: int = 50,
    seed: int = 0,
    keep_samples: int = 0,
    noise_address: NoiseAddress = "position",
    tile: int | None = None,
    halo: int | None = None,
    memory: str | None = None,
    tolerance: float = 0.0,
    interval: float | None = None,
    add: bool = False,
    resume: bool = False,
    dask: str | None = None,
    precision: Precision = "32",
    compile: Compilation = "auto",
    format: Format = "auto",
    compression: Compression = "none",
    json: PathLike | None = None,
    progress: bool = True,
) -> Written:
    """Split image files.

    For each image, these are written as ``.ome.tif`` or ``.ome.zarr``, see ``format``:

    STEM is the name of the file, and those of a chosen series and channel: ``stack.tif:ER`` gives
    ``stack_ER_split.ome.tif``.

    - ``STEM_split``: posterior mean; for no samples the decoded means of the latents.
    - ``STEM_std``: standard deviation of the error, by the error map of the run. A run without one
      has the calibrated spread of the samples here, for two samples or more.
    - ``STEM_spread``: calibrated spread of two samples or more, beside an error map.
    - ``STEM_low`` and ``STEM_high``: with ``interval``, an interval around the decoded means.
    - ``STEM_samples``: kept samples.

    An image that is unlike the training data is named in a warning, if the run can tell.

    Until an image is finished, its pieces are in a folder ``STEM_split.unfinished``
    (`denoisplit.jobs.pieces`).

    Parameters
    ----------
    {options}

    Returns
    -------
    Written
        The list of files, and in its attribute ``records`` one record per image.

    Raises
    ------
    InputError
        If the run, an image, an option or the output folder cannot be used. No result is left
        half-written.
    """
    run = run if isinstance(run, Run) else load(run)
    sampling = sampling_of(run, samples, seed, keep_samples, noise_address, tolerance)
    _, halo_px = tile_and_halo(run, tile, halo)
    allowed = memory_allowed(run, memory, tile, dask)
    has_error_map = run.mapping(interval) is not None
    kinds = result_kinds(sampling, has_error_map=has_error_map, interval=interval)
    paths, output = [file.with_channel(channel) for file in list_files(files)], Path(output)
    results = result_paths(output, paths, kinds, format)
    written = Written(path for group in results for path in group.values())
    check_output(output, written, add=add, resume=resume)
    alarm = _alarm(run, json, resume=resume)
    written.records = [{"file": str(path), **origin(run, path)} for path in paths]
    # all images are checked before the first is split
    images = [plan_image(run, path, group) for path, group in zip(paths, results, strict=True)]
    # an interrupted call that was free to choose a precision keeps the one that it chose
    stored = {stored_precision(group) for group in results if resume} - {None}
    only = stored.pop() if precision == "bf16" and len(stored) == 1 else None
    work = sum(image.pixels for image in images if not image.is_done) * max(1, samples)
    form = fastest(run.model, precision, compile, work, only=only)
    run = run.in_form(form)
    for_tiles = None if allowed is None else memory_for_tiles(run, halo_px, allowed, images)
    plan = Plan(
        run=run,
        sampling=sampling,
        interval=interval,
        tile=tile or (None if allowed else run.config.settings.prediction.tile),
        memory=for_tiles,
        halo=halo_px,
        form=form,
        resume=resume,
        processes=local_workers() if dask == "local" else 1,
        written_as=format,
        compression=compression,
    )
    check_space(output, disk_space(plan, images))
    warn_of_same(paths)
    with workers(dask) as cluster:
        try:
            output.mkdir(parents=True, exist_ok=True)
            jobs = start_jobs(plan, images)
            warn_of_few_samples(run, samples)
            logger.info("network in %s", form)
            with bar("predicting", 100 * len(paths)) as moved:
                for number, (path, job) in enumerate(zip(paths, jobs, strict=True)):
                    if job is None:
                        logger.info("%s: already complete", path)
                        moved.to(100 * (number + 1))
                    else:
                        _split(job, _mover(moved.to, number), cluster)
                    if alarm is not None:
                        written.records[number] |= _judged(
                            alarm, plan, path, results[number]["split"]
                        )
            if json is not None:
                write_json(json, written.records)
            if allowed is not None and (peak := peak_memory()):
                logger.info("took at most %.2f GB of memory", peak / 1e9)
        except OSError as error:
            raise not_written(error.filename or output, error) from error
    return written


def _split(job: StartedJob, on_progress: Callable[[float], None], cluster: Any) -> None:
    """Split one image; an error says that finished pieces are kept."""
    try:
        split_pieces(job, on_progress, cluster)
    except (InputError, OSError) as error:
        if isinstance(error, OSError):
            error = not_written(error.filename or job.job.work, error)
        kept = "finished pieces are kept, and the same call with `resume` continues"
        raise error.replace(remedy=f"{error.remedy}; {kept}") from error


def _alarm(run: Run, json: PathLike | None, *, resume: bool) -> Alarm | None:
    """Read the alarm of the run, and check that a record of it can be written where asked for."""
    alarm = read_alarm(run.path, len(run.names))
    if json is not None and alarm is None:
        raise InputError(
            "this run cannot tell whether an image is like its training data, as `json` reports",
            where=run.path,
            remedy=f"add this with `denoisplit calibrate {run.path}`",
        )
    if json is not None:
        (check_file if resume else check_new)(Path(json))
    return alarm


def _judged(alarm: Alarm, plan: Plan, path: ImageFile, split: Path) -> dict[str, Any]:
    """Compare a split image with the training data; a warning says what is unlike them."""
    tile = plan.tile or plan.run.tile
    if plan.memory is not None:
        tile = tile_side(plan.run.model, plan.halo, memory=plan.memory)

    def decode(x: Array) -> Array:
        decoded = predict_frame(plan.run.model, x, plan.sampling.preview, tile=tile, halo=plan.halo)
        return decoded.mean

    record = judge_image(alarm, path, split, decode if plan.sampling.samples else None)
    warn_of_alarm(record, path)
    return record


def _mover(to: Callable[[float], None], files: int) -> Callable[[float], None]:
    return lambda fraction: to(100 * (files + fraction))
