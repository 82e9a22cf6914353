"""Write the images of `truth.py` and print the trainings and judgements that use them.

    python benchmarks/recordings.py DATA WORK

DATA is the folder of test images. Two of the three fields of ``nf1_cells`` are trained on, the
third one is only judged on; recordings are simulated with Poisson noise (4 grey levels per event)
and Gaussian noise (level 1.5). Of the real recordings, a part of each field is only judged on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from denoisplit.config.groups import NoiseModelSettings
from denoisplit.data.statistics import pooled_std
from denoisplit.data.synthetic_noise import Address, SyntheticNoise
from denoisplit.noise_models.build import fit_structure, from_known_signals

Images = npt.NDArray[Any]

PAIRS = (("er", "actin"), ("actin", "nuclei"), ("er", "nuclei"))
TRAINED = 24  # tiles of the first two fields
POISSON, LEVEL = 4.0, 1.5
SHOTS = slice(10, 16)  # of the static fields that are judged on; the first ten are trained on
LIMIT = 0.7  # share of the rows of a real recording that is trained on


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    tiles = {
        name: tifffile.imread(given.data / "nf1_cells" / f"{name}.tif")
        for name in ("er", "actin", "nuclei")
    }
    for pair in PAIRS:
        simulate(given.work / "_".join(pair), {name: tiles[name] for name in pair})
    same_structure(given.work / "same", tiles["er"][:TRAINED])
    cut_hagen(given.data / "hagen_actin_mito" / "60x", given.work / "hagen")
    cut_repeats(given.data / "fmd_nuclei_repeats", given.work / "fmd")


def simulate(
    folder: Path,
    tiles: dict[str, Images],
    *,
    trained: int = TRAINED,
    fit: NoiseModelSettings = NoiseModelSettings(),  # noqa: B008  # frozen
) -> None:
    """Write clean and noisy tiles to train and to judge on, and noise models."""
    unit = pooled_std(tuple(tuple(images[:trained]) for images in tiles.values()))
    noise = SyntheticNoise(POISSON, LEVEL * unit)
    for k, (name, images) in enumerate(tiles.items()):
        for part, split, clean in (
            ("train", "training", images[:trained]),
            ("judge", "evaluation", images[trained:]),
        ):
            write(folder / f"{name}_clean_{part}.tif", clean)
            write(folder / f"{name}_{part}.tif", observed(clean, noise, split, k))
        write_noise_model(folder / f"{name}.npz", name, images[:trained], noise, fit)


def same_structure(folder: Path, er: Images) -> None:
    """Write what cannot be split: halves of the tiles of one structure, and one structure twice."""
    unit = pooled_std((tuple(er),))
    first = SyntheticNoise(POISSON, LEVEL * unit)
    second = SyntheticNoise(POISSON / 2, unit)
    noisy = observed(er, first, "training", 0)
    write(folder / "half_a.tif", noisy[0::2])
    write(folder / "half_b.tif", noisy[1::2])
    write(folder / "noise1.tif", noisy)
    write(folder / "noise2.tif", observed(er, second, "training", 1))
    for name, noise in (("noise1", first), ("noise2", second)):
        write_noise_model(folder / f"{name}.npz", name, er, noise)


def cut_hagen(source: Path, folder: Path) -> None:
    """Write the upper part of short and long exposures to train, the lower one to judge on."""
    for name in ("actin", "mito"):
        for exposure in ("low", "high"):
            image = tifffile.imread(source / f"{name}_{exposure}.tif")
            rows = int(LIMIT * len(image))
            write(folder / f"{name}_{exposure}_train.tif", image[:rows])
            write(folder / f"{name}_{exposure}_judge.tif", image[rows:])


def cut_repeats(source: Path, folder: Path) -> None:
    """Write shots of static fields, and for each judged shot the mean of the others."""
    for name, field in (("a", "fov01"), ("b", "fov04")):
        shots = tifffile.imread(source / f"{field}_50repeats.tif")
        rows = int(LIMIT * shots.shape[1])
        total = shots.sum(axis=0, dtype=np.float64)
        truth = np.stack([(total - shot) / (len(shots) - 1) for shot in shots[SHOTS]])
        write(folder / f"{name}_train.tif", shots[: SHOTS.start, :rows])
        write(folder / f"{name}_judge.tif", shots[SHOTS, rows:])
        write(folder / f"{name}_truth.tif", truth[:, rows:].astype(np.float32))


def observed(clean: Images, noise: SyntheticNoise, split: str, k: int) -> Images:
    """Add noise to tiles."""
    frames = [noise.observe(frame, Address(7, split, k, j)) for j, frame in enumerate(clean)]
    return np.stack(frames).astype(np.float32)


def write_noise_model(
    path: Path,
    name: str,
    clean: Sequence[Images] | Images,
    noise: SyntheticNoise,
    fit: NoiseModelSettings = NoiseModelSettings(),  # noqa: B008  # frozen
) -> None:
    """Fit a noise model to simulated shots of all intensities."""
    pairs = from_known_signals(list(clean), noise, seed=0)
    path.write_bytes(fit_structure(name, pairs, fit, 0).model.to_bytes())


def write(path: Path, images: Images) -> None:
    """Write a stack as TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, images)


if __name__ == "__main__":
    main()
