"""Tile and halo of a prediction."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from denoisplit.errors import InputError
from denoisplit.images import ImageFile
from denoisplit.jobs import tiling
from denoisplit.jobs.job import PlannedImage
from denoisplit.jobs.tiling import memory_allowed, memory_for_tiles, tile_and_halo
from denoisplit.prediction.halo import PACKAGE_TOLERANCE, PREDICTION_TOLERANCE
from denoisplit.prediction.tiles import tile_side
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


def test_tiles_follow_from_the_memory_that_is_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").touch()
    monkeypatch.setattr(tiling, "memory_in_use", lambda: 300e6)
    plane = PlannedImage(ImageFile(Path("a.tif")), "", {}, 10**6, plane_bytes=20_000_000)
    zarr = PlannedImage(ImageFile(tmp_path / "a.zarr"), "", {}, 10**6, plane_bytes=10**12)
    free = memory_for_tiles(run, 48, 500e6, [plane, zarr])
    assert free == 500e6 - 300e6 - tiling.RESERVE - 20e6
    assert tile_side(run.model, 48, memory=free) == 448  # 384 bytes for each of (448 + 96)^2 px
    with pytest.raises(InputError, match="0.42 GB is too little: tiles of 256 px .* take 0.43 GB"):
        memory_for_tiles(run, 48, 420e6, [plane])


def test_memory_is_a_size_and_sets_the_tiles_alone(run: Run) -> None:
    assert memory_allowed(run, None, 64) is None
    assert memory_allowed(run, "1.2GB", None) == 1_200_000_000
    with pytest.raises(InputError, match="expected a size such as 1.2GB"):
        memory_allowed(run, "plenty", None)
    with pytest.raises(InputError, match="`tile` is given, too; leave `memory` out"):
        memory_allowed(run, "1.2GB", 64)
    with pytest.raises(InputError, match="not of workers of `dask`"):
        memory_allowed(run, "1.2GB", None, "local")


PEAK = """
from denoisplit.commands.predict import predict
from denoisplit.machine.memory import keep_freed_memory, memory_in_use, peak_memory
from denoisplit.run import load
keep_freed_memory()
run, start = load({run!r}, device="cpu"), memory_in_use()
memory = f"{{(start + {more}) / 1e6}}MB" if {more} else None
predict(run, "mixed.tif", {out!r}, samples=2, halo=16, compile="off", memory=memory)
print(peak_memory() - start)
"""


def test_a_prediction_stays_within_its_memory(run: Run, programs: Path, tmp_path: Path) -> None:
    """Which it would not without the limit."""
    pixels = np.random.default_rng(0).normal(200, 20, (544, 544)).astype(np.float32)
    tifffile.imwrite(tmp_path / "mixed.tif", pixels)
    allowed = int(tiling.RESERVE) + 30_000_000

    def peak(out: str, more: int) -> int:
        words = [programs / "python", "-c", PEAK.format(run=str(run.path), more=more, out=out)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    assert peak("small", allowed) < allowed < peak("large", 0)
