"""``denoisplit superpose``: superposed images for trials, from images of the structures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from denoisplit.commands.arrays import takes_arrays
from denoisplit.config.everyday import SUPERPOSE
from denoisplit.config.groups import SuperpositionKind
from denoisplit.config.options import documented
from denoisplit.config.seeds import check_seed
from denoisplit.data.pairing import check_together
from denoisplit.data.prepare import observe
from denoisplit.data.splits import check_registered
from denoisplit.data.statistics import pooled_std
from denoisplit.data.superposition import Superposition
from denoisplit.data.synthetic_noise import SyntheticNoise
from denoisplit.errors import InputError
from denoisplit.files.atomic import drop_drafts
from denoisplit.files.folder_lock import output_lock
from denoisplit.files.outputs import check_new, check_space, make_parent
from denoisplit.images import Files, check_tiff_name, read_frames, write_ome_tiffs
from denoisplit.jobs.inputs import warn_of_pixel_size
from denoisplit.run import Run, load
from denoisplit.version import __version__

PathLike = str | Path


@takes_arrays("structures")
@documented(SUPERPOSE)
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
    """Superpose images of the structures, with synthetic noise if given.

    Parameters
    ----------
    {options}

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If frames do not belong together or to the run, or an output exists.
    """
    check_seed(seed)
    names = tuple(structures)
    if run is not None:
        run = run if isinstance(run, Run) else load(run)
        _check_run(run, names, superposition, offsets)
        names = run.names  # the noise of a structure depends on its place among them
    for name in offsets or {}:
        if name not in structures:
            raise InputError(
                "there is no structure of that name",
                where=f"offsets {name}",
                remedy=f"choose one of {', '.join(structures)}",
            )
    outputs = [Path(o) for o in ([output] if isinstance(output, str | Path) else output)]
    for path in outputs:
        check_new(path)
        check_tiff_name(path)
    frames = [read_frames(structures[name]) for name in names]
    images = tuple(f.images for f in frames)
    check_registered(images, names)
    check_together(frames, names)
    _check_outputs(outputs, len(images[0]), {image.shape for image in images[0]})
    check_space(outputs[0], sum(image.nbytes for image in images[0]))
    if run is None:
        given = tuple((offsets or {}).get(name, 0.0) for name in names)
        superpose_frame = Superposition(superposition or "sum", given)
        unit, clip = pooled_std(images), None
    else:
        warn_of_pixel_size(run, frames[0].files[0], frames[0].pixel_size_um)
        superpose_frame = run.superposition
        unit, clip = run.config.facts.pooled_std, run.config.facts.clip
    noise = SyntheticNoise(synthetic_poisson, synthetic_gaussian * unit, clip)
    noisy = observe(images, noise, seed=seed, part="evaluation")
    superposed = [superpose_frame(frame) for frame in zip(*noisy, strict=True)]
    if len(outputs) < len(superposed):
        superposed = [np.stack(superposed)]
    attrs: dict[str, Any] = {"pixel_size_um": dict(frames[0].pixel_size_um)}
    if frames[0].time_increment_s and len(outputs) == 1:
        attrs["time_increment_s"] = frames[0].time_increment_s
    arrays = [xr.DataArray(x, dims=("t", "y", "x")[-x.ndim :], attrs=attrs) for x in superposed]
    files = zip(names, (f.files for f in frames), strict=True)
    about = {
        "denoisplit": __version__,
        "run": None if run is None else run.path.resolve().name,
        "input": {name: [file.name for file in some] for name, some in files},
        "superposition": superpose_frame.kind,
        "synthetic_poisson": float(synthetic_poisson),
        "synthetic_gaussian": float(synthetic_gaussian),
        "seed": seed,
    }
    with output_lock(outputs[0]):  # also of the same call for the others
        for path in outputs:
            make_parent(path)
            drop_drafts(path)
        return write_ome_tiffs(list(zip(outputs, arrays, strict=True)), about=json.dumps(about))


def _check_run(
    run: Run,
    names: Sequence[str],
    superposition: SuperpositionKind | None,
    offsets: Mapping[str, float] | None,
) -> None:
    """Refuse structures and options that differ from those of the run."""
    if superposition not in (None, run.superposition.kind) or set(names) != set(run.names):
        raise InputError(
            where=run.path,
            found=f"a run with the {run.superposition.kind} of {', '.join(run.names)}",
            expected=f"the {superposition or 'structures'} of {', '.join(names)}",
            remedy="leave `superposition` out and provide the structures of the run",
        )
    if offsets:
        raise InputError(
            "the offsets are those of the run", where="offsets", remedy="leave them out"
        )


def _check_outputs(outputs: Sequence[Path], count: int, shapes: Iterable[tuple[int, ...]]) -> None:
    """Refuse files that do not suit the frames."""
    if len(outputs) not in (1, count):
        raise InputError(
            where="output",
            found=f"{len(outputs)} files",
            expected=f"one file, or one for each of {count} frames",
            remedy="name one or all",
        )
    if len(outputs) < count and len(set(shapes)) > 1:
        raise InputError(
            "frames of different sizes cannot be written as one stack",
            where="output",
            remedy="name a file for every frame",
        )
