"""Images in memory, split plane by plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from denoisplit.errors import InputError
from denoisplit.network import ContextVSE
from denoisplit.network.inference import inference_form
from denoisplit.prediction.frame import Sampling, predict_frame, sample_names
from denoisplit.prediction.tiles import tile_side
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
    tile, halo = check_tiling(run, tile, halo)
    model = inference_form(run.model)
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
            predict_frame(model, plane, sampling, tile=tile, halo=halo, on_tile=on_tile)
        )

    def named(planes_of: list[np.ndarray[Any, Any]], channels: list[str]) -> xr.DataArray:
        sizes = [image.sizes[dim] for dim in outer]
        values = np.stack(planes_of).reshape(*sizes, len(channels), *plane.shape)
        whole = xr.DataArray(values, dims=[*outer, "c", "y", "x"], coords={"c": channels})
        order = [dim for dim in ("t", "c", "z", "y", "x") if dim in whole.dims]
        whole.attrs["pixel_size_um"] = dict(image.attrs.get("pixel_size_um", {}))
        return whole.transpose(*order)

    names = list(run.names)
    stds = [p.std * run.factors for p in predicted if p.std is not None]
    numbered = sample_names(names, sampling.keep)
    return SplitImage(
        split=named([p.mean for p in predicted], names),
        std=named(stds, names) if stds else None,
        samples=named([p.samples.reshape(-1, *plane.shape) for p in predicted], numbered)
        if sampling.keep
        else None,
    )


def check_tiling(run: Run, tile: int | None, halo: int | None) -> tuple[int, int]:
    """Tile and halo, those of the run where none is given."""
    stride = run.model.stride
    if isinstance(run.model, ContextVSE) and (tile, halo) != (None, None):
        raise InputError(
            where="--tile and --halo",
            found=f"a network that sees context in patches of {run.model.patch} px",
            expected="neither",
            remedy="leave them out: the patch is a part of this model",
        )
    halo = run.halo if halo is None else halo
    if tile is None:
        tile = run.config.settings.prediction.tile or tile_side(run.model, halo)
    if tile < stride or halo < 0 or halo % stride:
        raise InputError(
            where="--tile and --halo",
            found=f"{tile} and {halo} px",
            expected=f"a tile of at least {stride} px and a halo of 0 or a multiple of {stride} px",
            remedy="correct them",
        )
    return tile, halo
