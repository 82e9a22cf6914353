"""Result files of a prediction: their names, and the record of how they were made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from denoisplit.errors import InputError
from denoisplit.files.atomic import drop_drafts
from denoisplit.files.json_file import parse_json, read_json
from denoisplit.files.outputs import check_file, check_folder, check_new
from denoisplit.images import ImageFile, write_ome_tiff
from denoisplit.images.formats.tiff import description_of
from denoisplit.images.formats.zarr import is_zarr, open_zarr
from denoisplit.images.formats.zarr_write import OmeVersion, about_zarr, write_ome_zarr
from denoisplit.images.write import Compression
from denoisplit.prediction.autotune import Precision
from denoisplit.prediction.frame import Array, Prediction
from denoisplit.prediction.sampling import Sampling, sample_names

JOB = "job.json"
ZARR, TIFF, UNFINISHED = ".ome.zarr", ".ome.tif", ".unfinished"
DOUBLE_ENDINGS = (".ome.tiff", ".ome.tif", ZARR)

Results = dict[str, Path]  # kind of result -> file
Format = Literal["auto", "ome-tiff", "ome-zarr-0.4", "ome-zarr-0.5"]


def result_kinds(
    sampling: Sampling, *, has_error_map: bool, interval: float | None
) -> tuple[str, ...]:
    """Return the kinds of result that a prediction has.

    Parameters
    ----------
    sampling : Sampling
    has_error_map : bool
        Whether the run has one: then it gives the std, and the samples the spread.
    interval : float or None
        Coverage of the interval, if one was asked for.
    """
    has_spread = sampling.samples > 1
    kinds = {
        "split": True,
        "std": has_error_map or has_spread,
        "spread": has_error_map and has_spread,
        "low": interval is not None,
        "high": interval is not None,
        "samples": sampling.keep > 0,
    }
    return tuple(kind for kind, exists in kinds.items() if exists)


def input_stem(path: Path) -> str:
    """Return the name of an image without its endings."""
    groups = [p for p in path.parents if p.suffix == ".zarr"]
    if groups and path.suffix != ".zarr":  # one of several images in a Zarr group
        return "_".join([input_stem(groups[-1]), *path.relative_to(groups[-1]).parts])
    for ending in DOUBLE_ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def result_channels(kind: str, structures: Sequence[str], sampling: Sampling) -> list[str]:
    """Return the channel names of a result: the structures, or those of each kept sample."""
    return sample_names(structures, sampling.keep) if kind == "samples" else list(structures)


def result_values(prediction: Prediction, factors: Array) -> dict[str, Array]:
    """Return the values of each kind of result, (planes, Y, X), raw intensity.

    Parameters
    ----------
    prediction : Prediction
    factors : array (C, 1, 1)
        Calibration scalars of the spread.
    """
    values = {"split": prediction.mean}
    if prediction.spread is not None:
        # without an error map, the spread of the samples is the only error bar
        kind = "std" if prediction.bars is None else "spread"
        values[kind] = prediction.spread * factors
    if prediction.bars is not None:
        decoded, values["std"], half_width = prediction.bars
        if half_width is not None:
            values |= {"low": decoded - half_width, "high": decoded + half_width}
    if len(prediction.samples):
        values["samples"] = prediction.samples.reshape(-1, *prediction.mean.shape[1:])
    return values


def result_paths(
    output: Path, images: Sequence[ImageFile], kinds: Sequence[str], written_as: Format = "auto"
) -> list[Results]:
    """Return the result files of each image; auto: OME-Zarr of a Zarr image, OME-TIFF of any other.

    Raises
    ------
    InputError
        If two images would give results of one name.
    """
    first: dict[str, ImageFile] = {}
    results = []
    for image in images:
        stem = input_stem(image.path) + image.endings
        if stem in first:
            problem = f"this image has the same name as {first[stem]}, and so would their results"
            raise InputError(problem, where=image, remedy="rename one, or predict them separately")
        first[stem] = image
        as_zarr = is_zarr(image.path) if written_as == "auto" else written_as != "ome-tiff"
        ending = ZARR if as_zarr else TIFF
        results.append({kind: output / f"{stem}_{kind}{ending}" for kind in kinds})
    return results


def check_output(output: Path, results: Sequence[Path], *, add: bool, resume: bool) -> None:
    """Refuse a folder that holds other files, and results that exist or cannot be written."""
    check_folder(output)
    if output.is_dir() and not (resume or add) and any(output.iterdir()):
        raise InputError(
            "this output folder is not empty",
            where=output,
            remedy="choose another one, add to it with `add`, "
            "or continue an interrupted call with `resume`",
        )
    for path in results:
        if not resume:
            check_new(path)
        elif not path.exists():
            check_file(path)


def work_folder(results: Results) -> Path:
    """Return the folder in which results are made."""
    split = results["split"]
    return split.with_name(split.name.removesuffix(ZARR).removesuffix(TIFF) + UNFINISHED)


def stored_record(results: Results) -> dict[str, Any] | None:
    """Read how an unfinished job, or else its finished results, were made; None without either."""
    work, split = work_folder(results), results["split"]
    if (work / JOB).is_file():
        return read_json(work / JOB)
    if not split.exists():
        return None
    if split.is_dir():
        return about_zarr(split)
    try:
        record = parse_json(description_of(split))
    except ValueError:
        return {}
    return dict(record) if isinstance(record, dict) else {}


def stored_precision(results: Results) -> Precision | None:
    """Return the precision of the job that made, or is making, these results."""
    return (stored_record(results) or {}).get("precision")


def publish(made: Path, result: Path, written_as: Format, compression: Compression) -> None:
    """Write a complete image, which is removed then, at its final place and in its final form."""
    if result.name.endswith(ZARR):
        if not result.exists():  # written by a call that was interrupted here
            draft = made.with_name(result.name)
            shutil.rmtree(draft, ignore_errors=True)
            version = get_args(OmeVersion)
            write_ome_zarr(draft, made, next((v for v in version if written_as.endswith(v)), None))
            draft.rename(result)
    else:
        drop_drafts(result)
        about = json.dumps(about_zarr(made))
        image = open_zarr(made)
        write_ome_tiff(result, image, overwrite=True, about=about, compression=compression)
    # renamed before it is removed: one that is half removed could not be read again
    shutil.rmtree(made.rename(made.with_suffix(UNFINISHED)))
