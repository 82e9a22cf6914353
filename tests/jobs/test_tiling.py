"""Tile and halo of a prediction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from denoisplit.errors import InputError
from denoisplit.jobs.tiling import tile_and_halo
from denoisplit.prediction.halo import PACKAGE_TOLERANCE, PREDICTION_TOLERANCE
from denoisplit.run import Run, load

from ..packaging.conftest import make_run, structure_files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An untrained run of four levels, with an error map."""
    folder = tmp_path_factory.mktemp("runs")
    files = structure_files(folder / "images", ("ER", "MT"), (96, 96))
    sizes = {"filters": 8, "latents": 4, "levels": 4, "patch": 32}
    return load(make_run(folder / "run", files, network=sizes, error_map=True, prediction={}))


def test_the_halo_holds_the_radius_of_the_error_map(run: Run) -> None:
    """8 px, rounded up to the total stride; a halo that is set is left as it is."""
    plain = replace(run, error_map=None)
    assert run.model.stride == 16
    assert tile_and_halo(run, None, None)[1] == tile_and_halo(plain, None, None)[1] + 16
    for tolerance in (PREDICTION_TOLERANCE, PACKAGE_TOLERANCE):
        assert run.measured_halo(tolerance) == plain.measured_halo(tolerance) + 16
    assert tile_and_halo(run, 64, 32) == tile_and_halo(plain, 64, 32) == (64, 32)


@pytest.mark.parametrize(("tile", "halo"), [(8, 16), (64, 24), (64, -16)])
def test_tiles_off_the_stride_are_refused(run: Run, tile: int, halo: int) -> None:
    with pytest.raises(InputError, match=f"not {tile} and {halo} px"):
        tile_and_halo(run, tile, halo)
