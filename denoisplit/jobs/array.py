"""Images in memory or in a file, split plane by plane; the results are in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import xarray as xr

from denoisplit.config.everyday import PREDICT
from denoisplit.config.options import documented
from denoisplit.jobs.alarm import warn_of_alarm
from denoisplit.jobs.alarm_file import read_alarm
from denoisplit.jobs.array_input import DIMS, ImageInMemory
from denoisplit.jobs.identity import origin
from denoisplit.jobs.inputs import check_sides, warn_of_brightness, warn_of_pixel_size
from denoisplit.jobs.options import sampling_of, warn_of_few_samples
from denoisplit.jobs.results import result_values
from denoisplit.jobs.tiling import tile_and_halo
from denoisplit.prediction.autotune import Compilation, Precision, fastest
from denoisplit.prediction.frame import Array, OnProgress, predict_frame
from denoisplit.prediction.sampling import NoiseAddress
from denoisplit.progress import bar
from denoisplit.run import Run

COVERAGE = 0.9  # of the interval, by default
KEPT_BYTES = 2**30  # of all samples, which are kept by default up to this size
# those described here: the others are as in `denoisplit.predict`
OWN = ("run", "channel", "interval", "keep_samples")


@dataclass(frozen=True)
class SplitImage:
    """One split image: raw intensities, float32, dims ``(t) c (z) y x`` with c the structures.

    Attributes
    ----------
    mean : DataArray
        Posterior mean; for no samples the decoded means of the latents.
    std : DataArray or None
        Standard deviation of the error; None for fewer than 2 samples without an error map.
    low, high : DataArray or None
        Ends of the interval; None for a run without an error map.
    samples : DataArray
        Kept posterior samples, along the first dim ``sample``; it may have length 0.
    spread : DataArray or None
        Calibrated spread of 2 samples or more, beside an error map.
    alarm : dict or None
        Whether the image is unlike the training data, and in what; see
        `denoisplit.jobs.alarm.Alarm.summary`. None if the run cannot tell.
    """

    mean: xr.DataArray
    samples: xr.DataArray
    std: xr.DataArray | None = None
    low: xr.DataArray | None = None
    high: xr.DataArray | None = None
    spread: xr.DataArray | None = None
    alarm: dict[str, Any] | None = None

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim} {size}" for dim, size in self.mean.sizes.items() if dim != "c")
        kinds = [f.name for f in fields(self) if f.name not in ("samples", "alarm")]
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        given.append(f"{self.samples.sizes['sample']} samples")
        names = ", ".join(map(str, self.mean["c"].values))
        return f"<SplitImage of {names}; {sizes}; {', '.join(given)}>"


@documented(
    replace(PREDICT, options=tuple(option for option in PREDICT.options if option.name not in OWN))
)
def predict_image(
    run: Run,
    image: Any,
    axes: str | None = None,
    *,
    channel: int | str | None = None,
    samples: int = 50,
    interval: float | None = None,
    keep_samples: int | None = None,
    tolerance: float = 0.0,
    seed: int = 0,
    noise_address: NoiseAddress = "position",
    tile: int | None = None,
    halo: int | None = None,
    precision: Precision = "32",
    compile: Compilation = "auto",
    progress: bool = True,
    on_progress: OnProgress | None = None,
) -> SplitImage:
    """Split one image, which is read plane by plane, into arrays in memory.

    The results have the pixels of those that `denoisplit.predict` writes.

    Parameters
    ----------
    run : Run
    image : array, DataArray or path
        Raw superposed intensities: an array of NumPy, Dask or others like them, an xarray with dims
        out of ``t c z y x``, or an image file.
    axes : str, optional
        A letter of TCZYX for each dimension of an array, such as "ZYX". Without, an array of two
        dimensions is YX; an xarray or a file has its own.
    channel : int or str, optional
        Number, from 0, or name of the channel to split, if there are several.
    interval : float, optional
        Share of the true values that the interval contains: 0.9, if the run has it, or another
        coverage of the run.
    keep_samples : int, optional
        Number of samples to return. Without, all of them are, unless they take more than 1 GB or
        ``tolerance`` is set: then none.
    on_progress : callable, optional
        Called with the fraction of the work done; an exception that it raises ends the work.
    {options}

    Returns
    -------
    SplitImage

    Raises
    ------
    InputError
        If the image or an option cannot be used.
    """
    source = ImageInMemory.of(image, axes, channel)
    sides = source.image.sizes["y"], source.image.sizes["x"]
    check_sides(run, sides, source.name)
    warn_of_pixel_size(run, source.name, source.image.pixel_size_um)
    if keep_samples is None:
        size = 4 * max(0, samples) * len(run.names) * source.pixels
        keep_samples = max(0, samples) if size <= KEPT_BYTES and not tolerance else 0
    sampling = sampling_of(run, samples, seed, keep_samples, noise_address, tolerance)
    tile, halo = tile_and_halo(run, tile, halo)
    interval = _coverage(run) if interval is None else interval
    run.mapping(interval)  # refuses one that the run cannot give
    alarm = read_alarm(run.path, len(run.names))
    warn_of_few_samples(run, samples)
    work = source.pixels * max(1, samples)
    run = run.in_form(fastest(run.model, precision, compile, work))
    mapping = run.mapping(interval)
    results: dict[str, Array] = {}  # kind -> (t, z, planes, Y, X), t and z if the image has them
    judged, places = [], list(source.places())
    with bar("splitting", 100 * len(places)) as moved:
        for done, place in enumerate(places):

            def on_plane(fraction: float, done: int = done) -> None:
                moved.to(100 * (done + fraction))
                if on_progress is not None:
                    on_progress((done + fraction) / len(places))

            plane = source.plane(place)
            options: dict[str, Any] = {"tile": tile, "halo": halo}
            with source.named():
                prediction = predict_frame(
                    run.model, plane, sampling, mapping=mapping, on_progress=on_plane, **options
                )
            values = result_values(prediction, run.factors)
            if not results:
                shapes = {kind: (*source.outer.values(), *v.shape) for kind, v in values.items()}
                results = {kind: np.empty(shape, np.float32) for kind, shape in shapes.items()}
            for kind, value in values.items():
                results[kind][place] = value
            if alarm is not None:
                means = prediction.mean
                if prediction.bars is not None:
                    means = prediction.bars.decoded
                elif sampling.samples:
                    means = predict_frame(run.model, plane, sampling.preview, **options).mean
                judged.append(alarm.judge(plane.astype(np.float32), means))
    record = None if alarm is None else alarm.summary(judged)
    warn_of_brightness(run, source.mean, source.name)
    if record is not None:
        warn_of_alarm(record, source.name)
    split = results.pop("split")
    kept = results.get("samples", split[..., :0, :, :])
    shape = (*source.outer.values(), sampling.keep, *split.shape[-3:])
    results["samples"] = kept.reshape(shape)
    attrs: dict[str, Any] = {
        "pixel_size_um": dict(source.image.pixel_size_um),
        **origin(run, source.name),
    }
    if source.image.time_increment_s:
        attrs["time_increment_s"] = source.image.time_increment_s

    def labelled(kind: str, values: Array) -> xr.DataArray:
        inner = ("sample", "c", "y", "x") if kind == "samples" else ("c", "y", "x")
        coords = {"c": list(run.names), **source.coords}
        if kind == "samples":
            coords["sample"] = np.arange(1, sampling.keep + 1)
        whole = xr.DataArray(values, coords, (*source.outer, *inner), kind, attrs)
        return whole.transpose(*(dim for dim in ("sample", *DIMS) if dim in whole.dims))

    named = {kind: labelled(kind, values) for kind, values in results.items()}
    return SplitImage(labelled("mean", split), alarm=record, **named)


def _coverage(run: Run) -> float | None:
    """Return the usual coverage of the interval, if the run has it."""
    if run.error_map is None:
        return None
    known = run.error_map.coverages.tolist()
    return COVERAGE if any(math.isclose(c, COVERAGE, abs_tol=1e-6) for c in known) else None
