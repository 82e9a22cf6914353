"""Images in memory, split plane by plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from denoisplit.images.scale import check_largest, check_range
from denoisplit.jobs.results import result_channels, result_values
from denoisplit.jobs.tiling import tile_and_halo
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import Array, OnProgress, predict_frame
from denoisplit.prediction.sampling import Sampling
from denoisplit.run import Run


@dataclass(frozen=True)
class SplitImage:
    """One split image; raw intensities, float32, dims ``(t) c (z) y x``."""

    split: xr.DataArray  # posterior mean, one channel per structure
    std: xr.DataArray | None = None  # of the error; None for S < 2 without an error map
    samples: xr.DataArray | None = None  # channels A_1, B_1, A_2, ...; None if none were kept
    spread: xr.DataArray | None = None  # calibrated, of the samples; None without an error map
    low: xr.DataArray | None = None  # ends of the interval; None if none was asked for
    high: xr.DataArray | None = None


def predict_image(
    run: Run,
    image: xr.DataArray,
    sampling: Sampling,
    *,
    interval: float | None = None,
    tile: int | None = None,
    halo: int | None = None,
    on_progress: OnProgress | None = None,
) -> SplitImage:
    """Split one image with named axes, plane by plane.

    Parameters
    ----------
    image : DataArray
        Raw intensities; dims y and x, optionally t, z and a c of length 1.
    interval : float, optional
        Coverage of an interval around the decoded means, one of those of the run.
    tile, halo : int, optional
        As in `predict`; those of the run by default.
    on_progress : callable, optional
        Called with the fraction of the work done.

    Raises
    ------
    InputError
        If tile and halo do not suit the network, the run has no such interval, or pixels or results
        are not finite.
    """
    tile, halo = tile_and_halo(run, tile, halo)
    mapping = run.mapping(interval)
    model = inference_form(run.model)
    outer = [dim for dim in ("t", "z") if dim in image.dims]
    planes = image.squeeze("c", drop=True) if "c" in image.dims else image
    planes = planes.transpose(*outer, "y", "x")
    height, width = planes.shape[-2:]
    stack = planes.values.reshape(-1, height, width)
    low, high = check_largest(stack, "image")
    if low < high:
        check_range(low, high, "image")
    planes_of: dict[str, list[Array]] = {}  # kind of result -> one array per plane
    for number, plane in enumerate(stack):

        def on_plane(fraction: float, number: int = number) -> None:
            if on_progress is not None:
                on_progress((number + fraction) / len(stack))

        prediction = predict_frame(
            model, plane, sampling, tile=tile, halo=halo, mapping=mapping, on_progress=on_plane
        )
        for kind, values in result_values(prediction, run.factors).items():
            planes_of.setdefault(kind, []).append(values)

    def labelled(kind: str) -> xr.DataArray:
        channels = result_channels(kind, run.names, sampling)
        sizes = [image.sizes[dim] for dim in outer]
        values = np.stack(planes_of[kind]).reshape(*sizes, len(channels), height, width)
        whole = xr.DataArray(values, dims=[*outer, "c", "y", "x"], coords={"c": channels})
        whole.attrs["pixel_size_um"] = dict(image.attrs.get("pixel_size_um", {}))
        return whole.transpose(*(dim for dim in ("t", "c", "z", "y", "x") if dim in whole.dims))

    return SplitImage(**{kind: labelled(kind) for kind in planes_of})
