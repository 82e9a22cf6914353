"""Whole frames of any size: tiles with halo, posterior samples by addressed noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denoisplit.data.context import Pyramid
from denoisplit.network import VSE, ContextVSE
from denoisplit.posterior import (
    RunningMoments,
    addressed_noise,
    content_keys,
    normal_table,
    position_keys,
)

Array = npt.NDArray[np.float32]
NoiseAddress = Literal["position", "content"]

BORDER = 32  # px of reflected surroundings of a frame, rounded up to the total stride
# pixels decoded at once: beyond this a batch of samples is slower (CPU caches) or gains nothing
BATCH_PIXELS = {"cpu": 256**2, "cuda": 32 * 384**2}


@dataclass(frozen=True)
class Sampling:
    """How a posterior is sampled.

    Parameters
    ----------
    samples : int
        S, number of posterior samples.
    seed : int
        Sample k of one seed is one image, whatever the tiling.
    antithetic : bool
        Draw in pairs eps, -eps.
    address : {"position", "content"}
        What eps is addressed by: the place in the frame, or the image content around it.
    quantum : float
        For content addresses: the step of the quantised raw intensities.
    keep : int
        How many samples to return beside mean and std.
    """

    samples: int = 50
    seed: int = 0
    antithetic: bool = True
    address: NoiseAddress = "position"
    quantum: float = 1.0
    keep: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.keep <= self.samples:
            raise ValueError(
                f"samples = {self.samples}, keep = {self.keep}: "
                "expected at least one sample, and to keep no more than are drawn"
            )
        if self.address not in ("position", "content"):
            raise ValueError(f"address is {self.address!r}, expected 'position' or 'content'")


class Prediction(NamedTuple):
    """Of one frame, raw intensity units, float32."""

    mean: Array  # (C, Y, X) posterior mean (MMSE estimate)
    std: Array | None  # (C, Y, X) of the posterior samples, not calibrated; None for S < 2
    samples: Array  # (keep, C, Y, X)


class Tile(NamedTuple):
    """The core of a tile: what it writes. Starts are multiples of the total stride."""

    y: int
    x: int
    height: int
    width: int


def tile_frame(height: int, width: int, *, tile: int, stride: int) -> list[Tile]:
    """Cut a frame into cores that cover every pixel once, of nearly equal size about ``tile``.

    Parameters
    ----------
    height, width : int
        Of the frame, px; any size.
    tile : int
        Side of a core to aim at, px; none is much larger.
    stride : int
        Total stride of the network, px.
    """

    def cuts(side: int) -> Iterator[tuple[int, int]]:
        count = max(1, round(side / tile))
        step = -(-side // (count * stride)) * stride
        for start in range(0, side, step):
            yield start, min(step, side - start)

    return [Tile(y, x, h, w) for y, h in cuts(height) for x, w in cuts(width)]


def predict_frame(
    model: VSE,
    frame: npt.NDArray[Any],
    sampling: Sampling,
    *,
    tile: int = 256,
    halo: int = 64,
    on_tile: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Split one frame.

    Parameters
    ----------
    model : VSE
        In evaluation mode, on its device.
    frame : array (Y, X)
        Raw superposed intensities; any size. Outside it is reflected, as often as needed, for
        `BORDER` px (at most the halo).
    sampling : Sampling
    tile, halo : int
        Side of a tile's core to aim at, and what is seen around it, px; the halo is a multiple of
        the total stride. A halo of 240 makes tiles exact. A network with context has but one way,
        whatever is said here: patches of its own side, of which the middle half is kept.
    on_tile : callable, optional
        Called with (tiles done, tiles in all).

    Raises
    ------
    ValueError
        If the frame is no plane, or the halo is off the stride.
    """
    if frame.ndim != 2:
        raise ValueError(f"frame has shape {frame.shape}, expected (Y, X)")
    height, width = frame.shape
    if isinstance(model, ContextVSE):
        patches = _patches_with_context(model, frame)
    else:
        patches = _patches(model, frame, tile, halo)
    shape = (model.structures, height, width)
    mean = np.empty(shape, dtype=np.float32)
    std = np.empty(shape, dtype=np.float32) if sampling.samples > 1 else None
    kept = np.empty((sampling.keep, *shape), dtype=np.float32)

    for done, (core, (y, x), patch) in enumerate(patches, start=1):
        rows, columns = core.y - y, core.x - x
        inside = np.s_[..., rows : rows + core.height, columns : columns + core.width]
        to = np.s_[:, core.y : core.y + core.height, core.x : core.x + core.width]
        moments = RunningMoments()
        samples = sample_patch(model, patch, sampling, y=y, x=x)
        for k, sample in enumerate(samples):
            value = sample[inside]
            moments.add(value)
            if k < sampling.keep:
                kept[k][to] = value.cpu().numpy()
        mean[to] = moments.mean.cpu().numpy()
        if std is not None:
            std[to] = moments.std(antithetic=sampling.antithetic).cpu().numpy()
        if on_tile is not None:
            on_tile(done, len(patches))
    return Prediction(mean, std, kept)


class _Patch(NamedTuple):
    """What a tile sees: its core, the place of its first pixel in the frame, raw intensities."""

    core: Tile
    start: tuple[int, int]
    pixels: Array  # (Y, X), or (n, P, P) with context


def _patches(model: VSE, frame: npt.NDArray[Any], tile: int, halo: int) -> list[_Patch]:
    """Core and halo, as far as the padded frame goes; starts stay on the stride."""
    stride = model.stride
    if halo % stride:
        raise ValueError(f"halo is {halo} px, expected a multiple of {stride}")
    margin = min(halo, -(-BORDER // stride) * stride)
    beyond = [margin + (-side) % stride for side in frame.shape]
    padded = np.pad(
        frame.astype(np.float32), ((margin, beyond[0]), (margin, beyond[1])), mode="reflect"
    )
    found = []
    for core in tile_frame(*frame.shape, tile=tile, stride=stride):
        y, x = (max(start - halo, -margin) for start in core[:2])
        bottom = core.y + -(-core.height // stride) * stride + halo
        right = core.x + -(-core.width // stride) * stride + halo
        pixels = padded[y + margin : bottom + margin, x + margin : right + margin]
        found.append(_Patch(core, (y, x), pixels))
    return found


def _patches_with_context(model: ContextVSE, frame: npt.NDArray[Any]) -> list[_Patch]:
    """Patches of the network's own side, of which the middle half is the core."""
    height, width = frame.shape
    side, margin = model.patch // 2, model.patch // 4
    pyramid = Pyramid(frame, planes=model.planes, patch=model.patch, margin=model.patch)
    return [
        _Patch(
            Tile(y, x, min(side, height - y), min(side, width - x)), (y - margin, x - margin),
            pyramid.cut(y - margin, x - margin),
        )
        for y in range(0, height, side) for x in range(0, width, side)
    ]  # fmt: skip


@torch.inference_mode()
def sample_patch(
    model: VSE, patch: npt.NDArray[np.float32], sampling: Sampling, *, y: int, x: int
) -> Iterator[Tensor]:
    """Posterior samples of one patch, one after another; the patch is encoded once.

    Parameters
    ----------
    patch : array (Y, X), or (n, P, P) of a network with context
        Raw intensities; sides are multiples of the total stride.
    y, x : int
        Place of its first pixel in the frame, multiples of the total stride; may be negative.

    Yields
    ------
    Tensor (C, Y, X)
        Raw intensities, float32.
    """
    device = model.input_mean.device
    raw = torch.from_numpy(np.ascontiguousarray(patch)).to(device)
    planes = raw if raw.ndim == 3 else raw[None]
    *features, top = model.encode(model.normalise(planes)[None])
    keys = _keys(model, raw, sampling, y, x)
    table = normal_table().to(device)
    batch = max(
        1, BATCH_PIXELS.get(device.type, BATCH_PIXELS["cpu"]) // (patch.shape[-2] * patch.shape[-1])
    )
    for start in range(0, sampling.samples, batch):
        chosen = range(start, min(start + batch, sampling.samples))
        eps = addressed_noise(
            keys,
            chosen,
            seed=sampling.seed,
            channels=model.latents,
            antithetic=sampling.antithetic,
            table=table,
        )
        # the posterior of the top level does not depend on eps: its features stay one
        shared = [f.expand(len(chosen), -1, -1, -1) for f in features]
        yield from model.to_raw(model.means(model.decode([*shared, top], eps)))


def _keys(model: VSE, raw: Tensor, sampling: Sampling, y: int, x: int) -> list[Tensor]:
    """Keys of the latent pixels of a patch, (h_i, w_i), level 0 first."""
    shapes = model.latent_shapes(*raw.shape[-2:])
    if isinstance(model, ContextVSE):
        # latents reach beyond the patch, around its centre
        half = model.patch // 2
        return [
            position_keys(
                i, ((y + half) >> (i + 1)) - h // 2, ((x + half) >> (i + 1)) - w // 2, h, w
            ).to(raw.device)
            for i, (_, h, w) in enumerate(shapes)
        ]
    if sampling.address == "content":
        keys = content_keys(raw[None], levels=len(shapes), quantum=sampling.quantum)
        return [key[0] for key in keys]
    return [
        position_keys(i, y >> (i + 1), x >> (i + 1), h, w).to(raw.device)
        for i, (_, h, w) in enumerate(shapes)
    ]
