"""``denoisplit superpose``: mixed images for trials, from images of the structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from denoisplit.config.groups import SuperpositionKind
from denoisplit.config.seeds import check_seed
from denoisplit.data.prepare import observe
from denoisplit.data.splits import check_registered
from denoisplit.data.statistics import pooled_std
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.files.atomic import not_written
from denoisplit.images import Files, check_tiff_name, read_frames, write_ome_tiffs
from denoisplit.run import Run, load

PathLike = str | Path


def superpose(
    structures: Mapping[str, Files],
    output: Sequence[PathLike] | PathLike,
    *,
    run: Run | PathLike | None = None,
    superposition: SuperpositionKind | None = None,
    offsets: Mapping[str, float] | None = None,
    synthetic_poisson: float = 0.0,
    synthetic_gaussian: float = 0.0,
    seed: int = 0,
) -> list[Path]:
    """Superpose images of the structures, with noise if asked for.

    Parameters
    ----------
    structures : mapping of name to files
        The same fields of view of every structure; raw intensities.
    output : path or sequence of path
        One file for all frames as a stack, or one per frame; float32 OME-TIFF.
    run : Run or path, optional
        Take superposition, offsets and the unit of the Gaussian level from this run.
    superposition : {"sum", "mean"}, optional
        Sum by default; with a run, that of the run.
    offsets : mapping of name to raw intensity, optional
        Camera offsets, counted once in a sum.
    synthetic_poisson : float
        f, raw intensity per event.
    synthetic_gaussian : float
        Level in units of the pooled std of the run's training frames; without a run, of these.
    seed : int
        Of the noise.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If frames do not pair, or an output exists.
    """
    check_seed(seed)
    if run is not None:
        run = run if isinstance(run, Run) else load(run)
        if superposition not in (None, run.superposition.kind) or set(structures) != set(run.names):
            raise InputError(
                where=run.path,
                found=f"a run with the {run.superposition.kind} of {', '.join(run.names)}",
                expected=f"the {superposition or 'structures'} of {', '.join(structures)}",
                remedy="leave --superposition out and give these structures",
            )
        if offsets:
            raise InputError(
                where="--offset",
                found="offsets beside a run",
                expected="those that the run stores",
                remedy="leave it out",
            )
    for name in offsets or {}:
        if name not in structures:
            raise InputError(
                where=f"--offset {name}",
                found="no structure of that name",
                expected=f"one of {', '.join(structures)}",
                remedy="correct the name",
            )
    # the noise of a structure depends on its place: that of the run where there is one
    names = tuple(structures) if run is None else run.names
    frames = [read_frames(structures[name]) for name in names]
    images = [f.images for f in frames]
    check_registered(images, names)
    outputs = [Path(output)] if isinstance(output, str | Path) else [Path(o) for o in output]
    count = len(images[0])
    if len(outputs) not in (1, count):
        raise InputError(
            where="-o",
            found=f"{len(outputs)} files",
            expected=f"one file, or one for each of {count} frames",
            remedy="name one or all",
        )
    for path in outputs:
        if path.exists():
            raise InputError(
                where=path,
                found="an existing file",
                expected="a new name",
                remedy="move it, or choose another",
            )
        check_tiff_name(path)
    clip = None
    if run is None:
        given = tuple((offsets or {}).get(name, 0.0) for name in names)
        mix = Superposition(superposition or "sum", given)
        unit = pooled_std(tuple(images))
    else:
        mix, unit, clip = run.superposition, run.config.facts.pooled_std, run.config.facts.clip
    noise = SyntheticNoise(synthetic_poisson, synthetic_gaussian * unit, clip)
    noisy = observe(tuple(images), noise, seed=seed, part="evaluation")
    mixed = [mix(frame) for frame in zip(*noisy, strict=True)]
    attrs = {"pixel_size_um": dict(frames[0].pixel_size_um)}
    stacks = mixed if len(outputs) == count else [_stack(mixed)]
    for path in outputs:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(path, error) from error
    return write_ome_tiffs(
        [
            (path, xr.DataArray(pixels, dims=("t", "y", "x")[-pixels.ndim :], attrs=attrs))
            for path, pixels in zip(outputs, stacks, strict=True)
        ]
    )


def _stack(frames: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(
            where="-o",
            found="one file for frames of different sizes",
            expected="one file per frame",
            remedy="name an output for every frame",
        )
    return np.stack(frames)
