"""``denoisplit predict``: superposed images -> split, calibrated std and samples as OME-TIFF."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from denoisplit.commands.predict_inputs import check_image, check_output, stems_of
from denoisplit.config.seeds import check_seed
from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written
from denoisplit.images import Files, list_files, open_image
from denoisplit.images.zarr import is_zarr
from denoisplit.jobs.array import check_tiling
from denoisplit.jobs.job import SUFFIX, TIFF, Begun, begin, discard, stored_precision
from denoisplit.jobs.pieces import split_pieces
from denoisplit.machine.dask_cluster import local_workers, workers
from denoisplit.network import ContextVSE
from denoisplit.prediction.autotune import Compilation, Form, Precision, fastest
from denoisplit.prediction.frame import NoiseAddress, Sampling
from denoisplit.progress import bar, logger
from denoisplit.run import Run, load

PathLike = str | Path


def predict(
    run: Run | PathLike,
    files: Files,
    output: PathLike,
    *,
    samples: int = 50,
    seed: int = 0,
    keep_samples: int = 0,
    noise_address: NoiseAddress = "position",
    tile: int | None = None,
    halo: int | None = None,
    tolerance: float = 0.0,
    add: bool = False,
    resume: bool = False,
    dask: str | None = None,
    precision: Precision = "32",
    compile: Compilation = "auto",
) -> list[Path]:
    """Split image files.

    Parameters
    ----------
    run : Run or path
    files : sequence of path
        Images, stacks or folders; one channel, raw superposed intensities.
    output : path
        Folder of the results: per input ``STEM_split.ome.tif``, ``STEM_std.ome.tif`` (none for
        fewer than two samples) and ``STEM_samples.ome.tif`` (if kept), of a Zarr image
        ``.ome.zarr``. They are made piece by piece (`denoisplit.jobs.pieces`), in a folder
        ``STEM_split.unfinished``.
    samples, seed, keep_samples
        Number of posterior samples, their seed, how many of them to write. No samples: a preview,
        the decoded means of the latents, in one pass.
    noise_address : {"position", "content"}
        What the samples' noise is addressed by; "content" is what exported packages do.
    tile, halo : int, optional
        Core side of a tile and what is seen around it, px.
    tolerance : float
        Draw fewer samples where the mean is known well enough: each tile stops when the standard
        error of its mean is at most this, in intensity units. 0 draws all.
    add : bool
        Write into a folder that holds files already (never over one of the same name).
    resume : bool
        Go on with an interrupted call of the same arguments: what is there is kept.
    dask : str, optional
        Address of a Dask scheduler whose workers split the images, or "local" for one process
        per CPU here. All of them need to see the same files.
    precision : {"32", "bf16"}
        "bf16" takes bfloat16 where a short measurement finds it faster; samples then differ by some
        thousandths of the data range, their mean by less.
    compile : {"auto", "on", "off"}
        Whether the network is compiled: on, off, or where a measurement finds it faster and the
        work takes minutes. Changes results by rounding only.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        For images, runs or folders that do not fit; nothing is left half-written.
    """
    run = run if isinstance(run, Run) else load(run)
    sampling = _sampling(run, samples, seed, keep_samples, noise_address, tolerance)
    _, around = check_tiling(run, tile, halo)
    said = tile or run.config.settings.prediction.tile
    paths = list_files(files)
    output = Path(output)
    results = [
        _results(output, path, stem, sampling)
        for path, stem in zip(paths, stems_of(paths), strict=True)
    ]
    there = [path for group in results for path in group.values()]
    check_output(output, there, add=add, resume=resume)
    pixels, marks = 0, []
    for path, group in zip(paths, results, strict=True):  # all, before the first is split
        image = open_image(path)
        marks.append(str(check_image(run, image, path)))
        if not all(result.exists() for result in group.values()):  # done before
            pixels += math.prod(image.sizes.values())
    if sampling.samples < 2:
        what = "one sample has" if sampling.samples else "a preview has"
        logger.warning("no std is written: %s no spread, give --samples 2 or more", what)
    form = _form(run, precision, compile, pixels * max(1, samples), results if resume else [])
    run = replace(run, model=form.of(run.model))
    with workers(dask) as cluster:
        try:
            output.mkdir(parents=True, exist_ok=True)
            begun = _begin_all(
                paths,
                results,
                marks,
                resume=resume,
                run=run,
                sampling=sampling,
                tile=said,
                halo=around,
                form=form,
                processes=local_workers() if dask == "local" else 1,
            )
            logger.info("network in %s", form)
            with bar("predicting", 100 * len(paths)) as progress:
                for number, (path, job) in enumerate(zip(paths, begun, strict=True)):
                    if job is None:
                        logger.info("%s: done before", path)
                        progress.to(100 * (number + 1))
                    else:
                        _split(job, _mover(progress.to, number), cluster)
        except OSError as error:
            raise not_written(error.filename or output, error) from error
    return there


def _split(job: Begun, on_share: Callable[[float], None], cluster: Any) -> None:
    """The pieces of one image; what stops them says that those that are done are kept."""
    try:
        split_pieces(job, on_share, cluster)
    except (InputError, OSError) as error:
        if isinstance(error, OSError):
            error = not_written(error.filename or job.job.work, error)
        done = "what is done is kept: the same call with --resume goes on"
        raise error.replace(remedy=f"{error.remedy}; {done}") from error


def _begin_all(
    paths: Sequence[Path], results: Sequence[dict[str, Path]], marks: Sequence[str], **options: Any
) -> list[Begun | None]:
    """The job of each image, or none of those that were not there before."""
    begun: list[Begun | None] = []
    try:
        for path, group, mark in zip(paths, results, marks, strict=True):
            begun.append(begin(source=path, results=group, mark=mark, **options))
    except BaseException:
        for job in begun:
            if job is not None and job.new:
                discard(job)
        raise
    return begun


def _form(
    run: Run,
    precision: Precision,
    compile: Compilation,
    work: float,
    results: Sequence[dict[str, Path]],
) -> Form:
    """The fastest, of the precision that an interrupted call has chosen if it was free to."""
    chosen = {stored_precision(group) for group in results} - {None}
    only = chosen.pop() if precision == "bf16" and len(chosen) == 1 else None
    return fastest(run.model, precision, compile, work, only=only)


def _results(output: Path, path: Path, stem: str, sampling: Sampling) -> dict[str, Path]:
    """What is written for an input: its kind to its file."""
    ending = SUFFIX if is_zarr(path) else TIFF
    return {kind: output / f"{stem}_{kind}{ending}" for kind in sampling.results}


def _mover(to: Callable[[int], None], files: int) -> Callable[[float], None]:
    return lambda share: to(int(100 * (files + share)))


def _sampling(
    run: Run, samples: int, seed: int, keep: int, noise_address: NoiseAddress, tolerance: float
) -> Sampling:
    check_seed(seed)
    if samples < 0:
        raise InputError(
            where="--samples",
            found=str(samples),
            expected="0 or more",
            remedy="give a larger number",
        )
    if not 0 <= tolerance < math.inf:
        raise InputError(
            where="--tolerance",
            found=str(tolerance),
            expected="0 or more",
            remedy="give a larger number",
        )
    if not 0 <= keep <= samples:
        raise InputError(
            where="--keep-samples",
            found=str(keep),
            expected=f"0 to {samples}, the number of samples",
            remedy="give a smaller number, or more --samples",
        )
    try:
        if noise_address == "content" and isinstance(run.model, ContextVSE):
            raise ValueError("content, of a network that sees context")
        return Sampling(
            samples,
            seed,
            run.config.settings.prediction.antithetic,
            noise_address,
            run.config.facts.content_quantum,
            keep,
            tolerance,
        )
    except ValueError as error:
        raise InputError(
            where="--noise-address",
            found=str(error),
            expected="one of the two",
            remedy="correct it",
        ) from None
