"""Tile and halo of a prediction: as given, as set in the run, or as measured."""

from __future__ import annotations

from denoisplit.errors import InputError
from denoisplit.prediction.tiles import tile_side
from denoisplit.run import Run


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
