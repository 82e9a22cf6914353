"""Splitting of whole frames by tiles with a halo and posterior samples with addressed noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from denoisplit.errors import InputError
from denoisplit.images.tiling import Frame, Tile
from denoisplit.network.error_map import ErrorMap
from denoisplit.network.vse import VSE
from denoisplit.prediction.moments import RunningMoments
from denoisplit.prediction.sampling import Convergence, EncodedPatch, Sampling
from denoisplit.prediction.tiles import Patch, Tiling
from denoisplit.progress import logger

Array = npt.NDArray[np.float32]
LARGEST_SHARE = 4**4  # a tile is cut in quarters at most four times
OnProgress = Callable[[float], None]  # called with the fraction done


class ErrorBars(NamedTuple):
    """Error bars of a frame by the learned error map, (C, Y, X), raw intensity, float32.

    They belong to the decoded means, so they are the same whatever the number of samples.
    """

    decoded: Array  # decoded means of the latents
    std: Array  # standard deviation of the error
    half_width: Array | None  # of an interval around the decoded means; None if none was asked for


class Prediction(NamedTuple):
    """Split of one frame, raw intensity units, float32."""

    mean: Array  # (C, Y, X) posterior mean (MMSE estimate)
    spread: Array | None  # (C, Y, X) std of the posterior samples, not calibrated; None for S < 2
    samples: Array  # (keep, C, Y, X)
    bars: ErrorBars | None = None  # None without an error map


class ErrorMapping(NamedTuple):
    """How error bars are computed: the error map, on the device of the network, and an interval."""

    error_map: ErrorMap
    interval: int | None = None  # number of its tabulated coverage; None for no interval


def predict_frame(
    model: VSE,
    frame: Frame,
    sampling: Sampling,
    *,
    tile: int = 256,
    halo: int = 64,
    mapping: ErrorMapping | None = None,
    on_progress: OnProgress | None = None,
) -> Prediction:
    """Split one frame, after the network's denoiser if it needs denoised input.

    Parameters
    ----------
    model : VSE
        In evaluation mode, on its device.
    frame : array (Y, X)
        Raw superposed intensities; any size, in memory or on disk. Outside it is reflected, as
        often as needed, for `denoisplit.prediction.tiles.BORDER` px (at most the halo).
    sampling : Sampling
    tile, halo : int
        Approximate side of a tile's core, and context margin around each tile, px; the halo is a
        multiple of the total stride. With four levels of one block a halo of 240 makes tiles
        exact. A network of fixed patch takes neither: see `denoisplit.prediction.tiles.Tiling`.
    mapping : ErrorMapping, optional
        Error map by which error bars are computed.
    on_progress : callable, optional
        Called with the fraction done, after every sample of a tile; what it raises ends the work.

    Raises
    ------
    ValueError
        If the frame is not 2-D, the halo no multiple of the stride, or a denoiser missing.
    """
    if model.needs_denoised_input:
        return _predict_denoised(model, frame, sampling, mapping, on_progress)
    return _predict_tiles(
        Tiling(model, frame, tile=tile, halo=halo), sampling, mapping, on_progress
    )


def _predict_denoised(
    model: VSE,
    frame: Frame,
    sampling: Sampling,
    mapping: ErrorMapping | None,
    on_progress: OnProgress | None,
) -> Prediction:
    """Denoise one frame and split it; error bars are those of its decoded means."""
    bars = None
    if mapping is not None and sampling.samples:
        denoised = denoise_frame(model, frame, sampling.preview)
        bars = _predict_tiles(_fixed_tiling(model, denoised), sampling.preview, mapping).bars
        mapping = None
    denoised = denoise_frame(model, frame, sampling, _half(on_progress, 0))
    tiling = _fixed_tiling(model, denoised)
    split = _predict_tiles(tiling, sampling, mapping, _half(on_progress, 1))
    return split if bars is None else split._replace(bars=bars)


def _fixed_tiling(model: VSE, frame: Frame) -> Tiling:
    """Return the only tiling of a network of fixed patch."""
    return Tiling(model, frame, tile=0, halo=0)


def _predict_tiles(
    tiling: Tiling,
    sampling: Sampling,
    mapping: ErrorMapping | None,
    on_progress: OnProgress | None = None,
) -> Prediction:
    """Split a frame tile by tile."""
    whole = Tile(0, 0, *tiling.frame.shape)
    return _predict_area(tiling, whole, tiling.cores, sampling, mapping, on_progress)


def _predict_area(
    tiling: Tiling,
    area: Tile,
    cores: Sequence[Tile],
    sampling: Sampling,
    mapping: ErrorMapping | None,
    on_progress: OnProgress | None,
    share: int = 1,
) -> Prediction:
    """Split a part of a frame, which is that of its cores."""

    def empty(count: int | None = None) -> Array:
        planes = () if count is None else (count,)
        sides = (area.height, area.width)
        return np.empty((*planes, tiling.model.structures, *sides), dtype=np.float32)

    bars = None
    if mapping is not None:
        bars = ErrorBars(empty(), empty(), None if mapping.interval is None else empty())
    spread = empty() if sampling.samples > 1 else None
    whole = Prediction(empty(), spread, empty(sampling.keep), bars)
    for done, core in enumerate(cores):

        def on_sample(fraction: float, done: int = done) -> None:
            if on_progress is not None:
                on_progress((done + fraction) / len(cores))

        part = predict_core(tiling, core, sampling, mapping, on_sample, share=share)
        y, x = core.y - area.y, core.x - area.x
        pixels = np.s_[..., y : y + core.height, x : x + core.width]
        for array, values in zip(_arrays(whole), _arrays(part), strict=True):
            array[pixels] = values
        on_sample(1.0)
    return whole


def predict_core(
    tiling: Tiling,
    core: Tile,
    sampling: Sampling,
    mapping: ErrorMapping | None = None,
    on_progress: OnProgress | None = None,
    *,
    share: int = 1,
) -> Prediction:
    """Split one core of a tiling; quarter by quarter if a GPU has too little memory for all of it.

    Parameters
    ----------
    on_progress : callable, optional
        Called with the fraction done.
    share : int
        Divides the number of samples that are decoded at once.

    Raises
    ------
    InputError
        If the result is not finite.
    torch.OutOfMemoryError
        If the GPU has too little memory for a hundredth of the tile.
    """
    try:
        patch = tiling.patch(core)
        return predict_tile(tiling.model, patch, sampling, mapping, on_progress, share=share)
    except torch.OutOfMemoryError:
        if share >= LARGEST_SHARE:
            raise
    # no longer in `except`: the error holds what was allocated before it
    torch.cuda.empty_cache()
    logger.info("too little memory on the GPU: split in smaller tiles")
    parts = tiling.quarters(core)
    return _predict_area(tiling, core, parts, sampling, mapping, on_progress, share * 4)


def _arrays(prediction: Prediction) -> list[Array]:
    """Return all arrays of a prediction."""
    *own, bars = prediction
    return [array for array in (*own, *(bars or ())) if isinstance(array, np.ndarray)]


def denoise_frame(
    model: VSE, frame: Frame, sampling: Sampling, on_progress: OnProgress | None = None
) -> Array:
    """Denoise one frame before it is split: the posterior mean of the network's denoiser, (Y, X).

    Its samples have the seed of the splitter's, so one seed gives one result; a preview (no
    samples) is one of the denoiser too. The std of the denoiser's samples is not used.

    Raises
    ------
    ValueError
        If the network has no denoiser.
    """
    denoiser = model.denoiser
    if denoiser is None:
        raise ValueError("the splitter has no denoiser: load the whole run with `denoisplit.load`")
    network, tile, halo = denoiser.network, denoiser.tile, denoiser.halo
    samples = denoiser.samples if sampling.samples else 0
    sampling = Sampling(samples, sampling.seed, sampling.antithetic)
    denoised = predict_frame(
        network, frame, sampling, tile=tile, halo=halo, on_progress=on_progress
    )
    mean: Array = denoised.mean[0]
    return mean


def _half(on_progress: OnProgress | None, number: int) -> OnProgress | None:
    """Return the callback for the first (0) or second (1) of two passes over a frame."""
    if on_progress is None:
        return None
    return lambda fraction: on_progress((number + fraction) / 2)


def predict_tile(
    model: VSE,
    patch: Patch,
    sampling: Sampling,
    mapping: ErrorMapping | None = None,
    on_progress: OnProgress | None = None,
    *,
    share: int = 1,
) -> Prediction:
    """Split one tile with its halo; the result is that of its core.

    ``on_progress`` is called with the fraction done between two samples; ``share`` divides the
    number of samples that are decoded at once.

    Raises
    ------
    InputError
        If it is not finite.
    """
    core = patch.core
    rows, columns = core.y - patch.y, core.x - patch.x
    inside = np.s_[..., rows : rows + core.height, columns : columns + core.width]
    kept = np.empty((sampling.keep, model.structures, core.height, core.width), dtype=np.float32)
    moments, convergence = RunningMoments(), Convergence(sampling)
    encoded = EncodedPatch(model, patch.pixels, y=patch.y, x=patch.x)
    for k, sample in enumerate(encoded.samples(sampling, share)):
        value = sample[inside]
        moments.add(value)
        if k < sampling.keep:
            kept[k] = value.cpu().numpy()
        if convergence.reached(value):
            break
        if on_progress is not None and k + 1 < sampling.samples:
            on_progress((k + 1) / sampling.samples)
    spread = None
    if sampling.samples > 1:
        spread = moments.std(antithetic=sampling.antithetic).cpu().numpy()
    bars = None
    if mapping is not None:
        bars = _error_bars(mapping, encoded, inside)
    prediction = Prediction(moments.mean.cpu().numpy(), spread, kept, bars)
    if not all(np.isfinite(array).all() for array in _arrays(prediction)):
        raise InputError(
            f"the result of the tile at y {core.y}, x {core.x} has NaN or infinite values",
            remedy="check that the image has the intensities of the training images, and that the "
            "run is intact",
        )
    return prediction


@torch.inference_mode()
def _error_bars(mapping: ErrorMapping, encoded: EncodedPatch, inside: Any) -> ErrorBars:
    """Return the error bars of a patch, of which ``inside`` is kept."""
    error_map, number = mapping
    decoded = encoded.decoded_means[None]
    std = error_map(encoded.frame[None], decoded)
    planes = [decoded, std]
    if number is not None:
        planes.append(error_map.half_width(number, decoded, std))
    means, stds, *half_width = (plane[0][inside].cpu().numpy() for plane in planes)
    return ErrorBars(means, stds, *half_width or [None])
