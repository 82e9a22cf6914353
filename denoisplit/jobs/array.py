"""Images in memory, split plane by plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from denoisplit.jobs.tiling import tile_and_halo
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import OnProgress, predict_frame
from denoisplit.prediction.sampling import Sampling, sample_names
from denoisplit.run import Run


@dataclass(frozen=True)
class SplitImage:
    """One split image; raw intensities, float32, dims ``(t) c (z) y x``."""

    split: xr.DataArray  # posterior mean, one channel per structure
    std: xr.DataArray | None  # calibrated standard deviation; None for fewer than two samples
    samples: xr.DataArray | None  # channels A_1, B_1, A_2, ...; None if none were kept


def predict_image(
    run: Run,
    image: xr.DataArray,
    sampling: Sampling,
    *,
    tile: int | None = None,
    halo: int | None = None,
    on_progress: OnProgress | None = None,
) -> SplitImage:
    """Split one image with named axes, plane by plane.

    Parameters
    ----------
    image : DataArray
        Raw intensities; dims y and x, optionally t, z and a c of length 1.
    tile, halo : int, optional
        As in `predict`; those of the run by default.
    on_progress : callable, optional
        Called with the fraction of the work done.

    Raises
    ------
    InputError
        If tile and halo do not suit the network.
    """
    tile, halo = tile_and_halo(run, tile, halo)
    model = inference_form(run.model)
    outer = [dim for dim in ("t", "z") if dim in image.dims]
    planes = image.squeeze("c", drop=True) if "c" in image.dims else image
    planes = planes.transpose(*outer, "y", "x")
    height, width = planes.shape[-2:]
    stack = planes.values.reshape(-1, height, width)
    predictions = []
    for number, plane in enumerate(stack):

        def on_plane(fraction: float, number: int = number) -> None:
            if on_progress is not None:
                on_progress((number + fraction) / len(stack))

        predictions.append(
            predict_frame(model, plane, sampling, tile=tile, halo=halo, on_progress=on_plane)
        )

    def labelled(arrays: list[np.ndarray[Any, Any]], channels: list[str]) -> xr.DataArray:
        sizes = [image.sizes[dim] for dim in outer]
        values = np.stack(arrays).reshape(*sizes, len(channels), height, width)
        whole = xr.DataArray(values, dims=[*outer, "c", "y", "x"], coords={"c": channels})
        whole.attrs["pixel_size_um"] = dict(image.attrs.get("pixel_size_um", {}))
        return whole.transpose(*(dim for dim in ("t", "c", "z", "y", "x") if dim in whole.dims))

    names = list(run.names)
    stds = [p.spread * run.factors for p in predictions if p.spread is not None]
    samples = [p.samples.reshape(-1, height, width) for p in predictions]
    return SplitImage(
        split=labelled([p.mean for p in predictions], names),
        std=labelled(stds, names) if stds else None,
        samples=labelled(samples, sample_names(names, sampling.keep)) if sampling.keep else None,
    )
