"""``denoisplit predict``: superposed images -> split, calibrated std and samples as OME-TIFF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from denoisplit.atomic import not_written
from denoisplit.commands.options import check_seed
from denoisplit.errors import InputError
from denoisplit.images import Files, list_files, read_image, write_ome_tiffs
from denoisplit.network import ContextVSE
from denoisplit.prediction import NoiseAddress, Sampling, predict_frame
from denoisplit.progress import bar, logger
from denoisplit.run import Run, load

PathLike = str | Path

# how far an input's mean may lie from those of the training inputs
MEAN_TOLERANCE_STD = 4.0  # standard deviations between training frames
MEAN_TOLERANCE = 0.35  # and share of the training mean


@dataclass(frozen=True)
class SplitImage:
    """One split image; raw intensities, float32, dims ``(t) c (z) y x``."""

    split: xr.DataArray  # posterior mean, one channel per structure
    std: xr.DataArray | None  # calibrated standard deviation; None for fewer than two samples
    samples: xr.DataArray | None  # channels A_1, B_1, A_2, ...; None if none were kept


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
    add: bool = False,
) -> list[Path]:
    """Split image files.

    Parameters
    ----------
    run : Run or path
    files : sequence of path
        Images, stacks or folders; one channel, raw superposed intensities.
    output : path
        Folder of the results: per input ``STEM_split.ome.tif``, ``STEM_std.ome.tif`` (none for
        fewer than two samples) and ``STEM_samples.ome.tif`` (if kept).
    samples, seed, keep_samples
        Number of posterior samples, their seed, how many of them to write.
    noise_address : {"position", "content"}
        What the samples' noise is addressed by; "content" is what exported packages do.
    tile, halo : int, optional
        Core side of a tile and what is seen around it, px.
    add : bool
        Write into a folder that holds files already (never over one of the same name).

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
    sampling = _sampling(run, samples, seed, keep_samples, noise_address)
    _check_tiling(run, tile, halo)
    paths = list_files(files)
    output = Path(output)
    stems = _stems(paths)
    _check_output(output, stems, sampling, add=add)
    for path in paths:  # every input is looked at before the first is split
        _check_image(run, read_image(path), path)
    if sampling.samples < 2:
        logger.warning("no std is written: one sample has no spread, give --samples 2 or more")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(output, error) from error
    written: list[Path] = []
    with bar("predicting", 100 * len(paths)) as progress:
        for number, (path, stem) in enumerate(zip(paths, stems, strict=True)):
            result = predict_image(
                run, read_image(path), sampling, tile=tile, halo=halo,
                on_share=_mover(progress.to, number),
            )  # fmt: skip
            written += _write(output, stem, result)
    return written


def _mover(to: Callable[[int], None], files: int) -> Callable[[float], None]:
    return lambda share: to(int(100 * (files + share)))


def predict_image(
    run: Run,
    image: xr.DataArray,
    sampling: Sampling,
    *,
    tile: int | None = None,
    halo: int | None = None,
    on_share: Callable[[float], None] | None = None,
) -> SplitImage:
    """Split one image with named axes, plane by plane.

    Parameters
    ----------
    run : Run
    image : DataArray
        Dims out of ``t z y x`` and perhaps a ``c`` of length 1; raw intensities.
    sampling : Sampling
    tile, halo : int, optional
        As in `predict`; the run's own by default.
    on_share : callable, optional
        Called with the share of the work done.
    """
    tile, halo = _check_tiling(run, tile, halo)
    outer = [dim for dim in ("t", "z") if dim in image.dims]
    planes = image.squeeze("c", drop=True) if "c" in image.dims else image
    planes = planes.transpose(*outer, "y", "x")
    stack = planes.values.reshape(-1, *planes.shape[-2:])
    predicted = []
    for number, plane in enumerate(stack):

        def on_tile(done: int, tiles: int, number: int = number) -> None:
            if on_share is not None:
                on_share((number + done / tiles) / len(stack))

        predicted.append(
            predict_frame(run.model, plane, sampling, tile=tile, halo=halo, on_tile=on_tile)
        )

    def named(planes_of: list[np.ndarray[Any, Any]], channels: list[str]) -> xr.DataArray:
        sizes = [image.sizes[dim] for dim in outer]
        values = np.stack(planes_of).reshape(*sizes, len(channels), *plane.shape)
        whole = xr.DataArray(values, dims=[*outer, "c", "y", "x"], coords={"c": channels})
        order = [dim for dim in ("t", "c", "z", "y", "x") if dim in whole.dims]
        whole.attrs["pixel_size_um"] = dict(image.attrs.get("pixel_size_um", {}))
        return whole.transpose(*order)

    names = list(run.names)
    factors = np.array([run.calibration[name] for name in names], dtype=np.float32)
    stds = [p.std * factors[:, None, None] for p in predicted if p.std is not None]
    numbered = [f"{name}_{k + 1}" for k in range(sampling.keep) for name in names]
    return SplitImage(
        split=named([p.mean for p in predicted], names),
        std=named(stds, names) if stds else None,
        samples=named([p.samples.reshape(-1, *plane.shape) for p in predicted], numbered)
        if sampling.keep
        else None,
    )


def _sampling(
    run: Run, samples: int, seed: int, keep: int, noise_address: NoiseAddress
) -> Sampling:
    check_seed(seed)
    if samples < 1:
        raise InputError("--samples", str(samples), "at least 1", "give a larger number")
    if not 0 <= keep <= samples:
        raise InputError(
            "--keep-samples", str(keep), f"0 to {samples}, the number of samples",
            "give a smaller number, or more --samples",
        )  # fmt: skip
    try:
        if noise_address == "content" and isinstance(run.model, ContextVSE):
            raise ValueError("content, of a network that sees context")
        return Sampling(
            samples, seed, run.config.settings.prediction.antithetic, noise_address,
            run.config.facts.content_quantum, keep,
        )  # fmt: skip
    except ValueError as error:
        raise InputError("--noise-address", str(error), "one of the two", "correct it") from None


def _check_tiling(run: Run, tile: int | None, halo: int | None) -> tuple[int, int]:
    """Tile and halo, those of the run where none is given."""
    stride = run.model.stride
    if isinstance(run.model, ContextVSE) and (tile, halo) != (None, None):
        raise InputError(
            "--tile and --halo", f"a network that sees context in patches of {run.model.patch} px",
            "neither", "leave them out: the patch is a part of this model",
        )  # fmt: skip
    tile = run.config.settings.prediction.tile if tile is None else tile
    halo = run.halo if halo is None else halo
    if tile < stride or halo < 0 or halo % stride:
        raise InputError(
            "--tile and --halo", f"{tile} and {halo} px",
            f"a tile of at least {stride} px and a halo of 0 or a multiple of {stride} px",
            "correct them",
        )  # fmt: skip
    return tile, halo


def stem_of(path: Path) -> str:
    """The name of an image without its endings."""
    name = path.name
    for ending in (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".mrc"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def _stems(paths: Sequence[Path]) -> list[str]:
    stems = [stem_of(path) for path in paths]
    for number, stem in enumerate(stems):
        if stem in stems[:number]:
            first = paths[stems.index(stem)]
            raise InputError(
                paths[number], f"the same name as {first}", "inputs of different names",
                "their results would have one name: rename one, or predict them separately",
            )  # fmt: skip
    return stems


def _check_output(output: Path, stems: Sequence[str], sampling: Sampling, *, add: bool) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(output, "a file", "a folder for the results", "choose another output")
    if not output.is_dir():
        return
    if not add and any(output.iterdir()):
        raise InputError(
            output, "an existing folder with files in it", "a new or empty folder",
            "choose another output, or say --add to add to it",
        )  # fmt: skip
    for stem in stems:
        for kind in ("split", "std", "samples"):
            path = output / f"{stem}_{kind}.ome.tif"
            if path.exists():
                raise InputError(
                    path, "an existing file", "a new name", "move it, or choose another output"
                )


def _check_image(run: Run, image: xr.DataArray, path: Path) -> None:
    if image.sizes.get("c", 1) > 1:
        raise InputError(
            path, f"{image.sizes['c']} channels", "one channel, the superposed image",
            "save that channel as a file of its own",
        )  # fmt: skip
    low, high = float(image.min()), float(image.max())
    if low == high:
        raise InputError(
            path, f"a constant image (every pixel is {low:g})", "an image with something in it",
            "check the recording",
        )  # fmt: skip
    mean, (usual, spread) = float(image.mean()), run.config.facts.input_frame_mean
    allowed = max(MEAN_TOLERANCE_STD * spread, MEAN_TOLERANCE * abs(usual))
    if abs(mean - usual) > allowed:
        kind = run.config.settings.data.superposition
        logger.warning(
            "%s: its mean intensity is %.4g, that of the training inputs %.4g: is it a %s of %d "
            "structures, recorded with the same exposure and offset?",
            path, mean, usual, kind, len(run.names),
        )  # fmt: skip


def _write(output: Path, stem: str, result: SplitImage) -> list[Path]:
    """All files of one input, or none."""
    images = {kind: getattr(result, kind) for kind in ("split", "std", "samples")}
    return write_ome_tiffs(
        [
            (output / f"{stem}_{kind}.ome.tif", image)
            for kind, image in images.items()
            if image is not None
        ]
    )
