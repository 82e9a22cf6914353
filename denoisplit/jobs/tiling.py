"""Tile and halo of a prediction: as given, as set in the run, as measured, or as memory allows."""

from __future__ import annotations

from collections.abc import Sequence

from denoisplit.errors import InputError
from denoisplit.images.formats.zarr import is_zarr
from denoisplit.jobs.job import PlannedImage
from denoisplit.machine.memory import bytes_of_size, memory_in_use, return_large_blocks
from denoisplit.prediction.tiles import LEAST_PER_PIXEL, bytes_of_tile, tile_side
from denoisplit.progress import logger
from denoisplit.run import Run

# planes of other images than Zarr that are in memory at once, as read, checked and written; beside
# tiles it is the last one that was read
PLANES = 4
LARGEST_KEPT = 2**20  # bytes, of a block that the C library keeps
RESERVE = 50e6  # bytes, of libraries that writing imports, and of results


def tile_and_halo(run: Run, tile: int | None, halo: int | None) -> tuple[int, int]:
    """Return the side of a tile's core and its halo, px; those of the run where None is given.

    Raises
    ------
    InputError
        If they do not suit the network of the run.
    """
    stride = run.model.stride
    if not run.model.supports_tiling and (tile, halo) != (None, None):
        raise InputError(
            "`tile` and `halo` cannot be chosen for a network that sees context: "
            f"it takes patches of {run.model.fixed_patch} px",
            remedy="leave both out",
        )
    halo = run.halo if halo is None else halo
    if tile is None:
        tile = run.config.settings.prediction.tile or tile_side(run.model, halo)
    if tile < stride or halo < 0 or halo % stride:
        raise InputError(
            f"`tile` must be at least {stride} px and `halo` 0 or a multiple of {stride} px, "
            f"not {tile} and {halo} px",
            remedy="correct them",
        )
    return tile, halo


def memory_allowed(
    run: Run, memory: str | None, tile: int | None, dask: str | None = None
) -> int | None:
    """Return the bytes that a prediction may take, None for no limit.

    Raises
    ------
    InputError
        If ``memory`` is no size, or tiles cannot be chosen by it.
    """
    if memory is None:
        return None
    reasons = {
        "`tile` is given, too": tile is not None,
        "it is that of one process, not of workers of `dask`": dask is not None,
        "this network takes whole planes": not run.model.supports_tiling,
        "those of a GPU follow from its own memory": run.model.input_mean.device.type != "cpu",
    }
    for why in (reason for reason, holds in reasons.items() if holds):
        raise InputError(f"`memory` cannot set the tiles: {why}", remedy="leave `memory` out")
    try:
        return bytes_of_size(memory)
    except ValueError:
        raise InputError(
            where="memory",
            found=repr(memory),
            expected="a size such as 1.2GB or 800MB",
            remedy="correct it",
        ) from None


def memory_for_tiles(run: Run, halo: int, allowed: float, images: Sequence[PlannedImage]) -> float:
    """Return the bytes that are left for feature maps, of which none is kept when it is freed.

    Raises
    ------
    InputError
        If they are too few for the smallest tile.
    """
    return_large_blocks(above=LARGEST_KEPT)
    planes = [image.plane_bytes for image in images if not is_zarr(image.path.path)]
    plane, others = max(planes, default=0), memory_in_use() + RESERVE
    for_tiles = allowed - others - plane
    tile = tile_side(run.model, halo, memory=for_tiles)
    needed = others + max(
        plane + bytes_of_tile(run.model, tile, halo, LEAST_PER_PIXEL), PLANES * plane
    )
    if needed > allowed:
        raise InputError(
            f"the memory of {allowed / 1e9:.2f} GB is too little: tiles of {tile} px with this run "
            f"and the largest plane take {needed / 1e9:.2f} GB",
            where="memory",
            remedy="allow more, or convert large planes to Zarr, of which only tiles are read",
        )
    logger.info("tiles of %d px, for %.2f of %.2f GB", tile, needed / 1e9, allowed / 1e9)
    return for_tiles
