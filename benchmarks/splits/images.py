"""Fixed images, splits and noise of the benchmark.

Tiles of fields B7 and D7 of ``nf1_cells`` are trained on, the twelve of field H12 are only judged
on. Each tile is a part of 296 x 304 px of a field (figshare 10.6084/m9.figshare.22233700, Schwann
cells, CC BY 4.0), from row 8 and column 4, in rows of four.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from benchmarks.recordings import simulate
from denoisplit.config.groups import NoiseModelSettings
from denoisplit.data import simulation

Images = npt.NDArray[Any]  # (N, Y, X)

PAIRS = {name: tuple(name.split("_")) for name in ("er_actin", "actin_nuclei", "er_nuclei")}
FIELDS_FOLDER = "nf1_cells/fields"
FIELDS, SIDES, START, ROWS, COLUMNS = ("B7", "D7", "H12"), (296, 304), (8, 4), 3, 4
SHA256 = {  # of the pixels of all 36 tiles, uint8
    "er": "c2b2f5a31285d7619bee678d70e4f9e8b260c948bb3491c3f7ea40e2398ba2e1",
    "actin": "5503d560bf89f8f35bd567faf48807c190074398434483fa9358f60041388c91",
    "nuclei": "4e8e2dddd783e15736490792635e2d4685a975a1280f7986adc40442dd4ab4d1",
}
DRY = {"er": "mesh", "actin": "filaments", "nuclei": "puncta"}  # structures that are simulated
DRY_TRAINED, DRY_SIDE = 5, 76  # px; like that of the tiles no multiple of 32, nor once padded to 16


def tiles_of(data: Path, name: str) -> Images:
    """Return the 36 tiles of a structure from ``data/nf1_cells/fields``, checked."""
    fields = [tifffile.imread(data / FIELDS_FOLDER / f"{name}_{field}.tif") for field in FIELDS]
    height, width = SIDES
    corners = [
        (START[0] + row * height, START[1] + column * width)
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]
    tiles = np.stack([f[y : y + height, x : x + width] for f in fields for y, x in corners])
    if hashlib.sha256(tiles.tobytes()).hexdigest() != SHA256[name]:
        raise SystemExit(f"{data}: the fields of {name} are not those of this benchmark")
    return tiles


def write_pair(folder: Path, pair: str, data: Path | None) -> None:
    """Write clean and noisy tiles and noise models of a pair; small simulated ones without data."""
    if data is not None:
        simulate(folder, {name: tiles_of(data, name) for name in PAIRS[pair]})
        return
    tiles = {
        name: simulation.simulate(DRY[name], frames=DRY_TRAINED + 1, size=DRY_SIDE, seed=0)
        for name in PAIRS[pair]
    }
    fit = NoiseModelSettings(components=1, steps=20)
    simulate(folder, tiles, trained=DRY_TRAINED, fit=fit)


def read_judged(folder: Path, name: str) -> tuple[Images, Images]:
    """Return the noisy and the clean tiles of a structure that are judged on, float32."""
    files = (folder / f"{name}_judge.tif", folder / f"{name}_clean_judge.tif")
    noisy, clean = (tifffile.imread(file).astype(np.float32) for file in files)
    return noisy, clean
