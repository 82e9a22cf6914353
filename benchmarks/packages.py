"""A package on a large image, as a whole and in blocks, with bioimageio's own program.

    python benchmarks/packages.py RUN [--side 2048] [--samples 4]

Exports RUN twice, with the measured halo and with one as large as the receptive field, and predicts
an image of SIDE px, the run's own test image extended by reflection, as a whole and in blocks.
Compares the addressed noise of blocks with that of the whole image, bit for bit. Prints a table in
Markdown, the source of the numbers in docs/packages.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from denoisplit_zoo import export
from denoisplit_zoo.archive import read_package
from denoisplit_zoo.checking.bioimageio_program import run_bioimageio

from denoisplit.network.addressed_noise import (
    channel_keys,
    content_keys,
    normal_table,
    standard_normal,
)
from denoisplit.prediction.halo import EXACT
from denoisplit.run import Run, load


def predicted(folder: Path, blocks: bool) -> tuple[float, float]:
    """Return time, s, and peak memory, GB, of one prediction; call it in a new process."""
    start = time.perf_counter()
    code, output = run_bioimageio(
        folder, "predict", "package.zip", f"--inputs={json.dumps([['image.tif']])}",
        f"--outputs=blocks_{blocks}.tif", f"--blockwise={blocks}",
    )  # fmt: skip
    if code:
        raise SystemExit(output)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return time.perf_counter() - start, peak * 1024 / 1e9


def noise(run: Run, image: npt.NDArray[np.float32]) -> list[torch.Tensor]:
    """Return eps (Z, h, w) of each level, for the first sample of an image (Y, X)."""
    network = run.config.settings.network
    keys = content_keys(
        torch.from_numpy(np.ascontiguousarray(image))[None],
        levels=network.levels, quantum=run.config.facts.content_quantum,
    )  # fmt: skip
    return [
        standard_normal(key[0], channel_keys(0, 0, i, network.latents), normal_table())
        for i, key in enumerate(keys)
    ]


def same_noise(run: Run, image: npt.NDArray[np.float32], tile: int, halo: int) -> bool:
    """Return whether every block has the noise of the whole image at its place.

    Blocks begin at multiples of their core, the side without halo.
    """
    whole, core = noise(run, image), tile - 2 * halo
    starts = range(0, len(image) - tile + 1, core)
    for y in starts:
        for x in starts:
            block = noise(run, image[y : y + tile, x : x + tile])
            for level, (a, b) in enumerate(zip(whole, block, strict=True)):
                step = 2 ** (level + 1)  # px of a latent pixel
                margin, side = halo // step, core // step
                top, left = y // step + margin, x // step + margin
                inner = b[:, margin : margin + side, margin : margin + side]
                if not torch.equal(a[:, top : top + side, left : left + side], inner):
                    return False
    return True


def row(run: Path, side: int, samples: int, tile: int | None, halo: int | None) -> str:
    """Export and run one package; return its line of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(run, folder / "package.zip", samples=samples, tile=tile, halo=halo)
        contents = read_package(folder / "package.zip")
        image = np.load(io.BytesIO(contents.files["test_input.npy"]))[0, 0]
        used = contents.description["outputs"][0]["axes"][-1]["halo"]
        more = [(0, side - n) for n in image.shape]
        large = np.pad(image, more, mode="symmetric")
        tifffile.imwrite(folder / "image.tif", large)
        measured, results = {}, {}
        for blocks in (False, True):
            with get_context("spawn").Pool(1) as pool:  # a new process, for its peak memory
                measured[blocks] = pool.apply(predicted, (folder, blocks))
            predictions: Any = tifffile.imread(folder / f"blocks_{blocks}.tif")
            results[blocks] = predictions.reshape(-1, side, side)
        # without the border, and without the last blocks, which are moved inside the image
        core = len(image) - 2 * used
        inside = np.s_[:, used : side - core - used, used : side - core - used]
        difference = np.abs(results[True] - results[False])[inside].max() / np.ptp(image)
        same = same_noise(load(run, device="cpu"), large, len(image), used)
        cells = [f"{len(image)}, {used}"]
        for blocks in (False, True):
            cells += [f"{measured[blocks][0]:.0f}", f"{measured[blocks][1]:.2f}"]
        return f"| {' | '.join([*cells, f'{difference:.1e}', 'yes' if same else 'NO'])} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=4)
    given = parser.parse_args()
    stride = load(given.run, device="cpu").model.stride
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, "
          f"{given.side} x {given.side} px, {given.samples} samples\n")  # fmt: skip
    print(
        "| tile, halo (px) | whole, s | whole, GB | blocks, s | blocks, GB | difference "
        "| same noise |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    print(row(given.run, given.side, given.samples, None, None), flush=True)
    exact = EXACT * stride
    print(row(given.run, given.side, given.samples, 3 * exact // stride * stride, exact))


if __name__ == "__main__":
    main()
