"""One seed, one image: whole, in tiles, by one and by four workers.

    python benchmarks/tiles.py RUN [--side 1024] [--samples 2]

The image has structure at every scale, around the mean of the run's training frames. Differences
are the largest over all samples, as a share of the data range of the image.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import zarr
from common import machine, table

from denoisplit import predict
from denoisplit.machine.dask_cluster import local_cluster
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.run import load

EXACT = 240


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 4])
    given = parser.parse_args()
    keep_freed_memory()
    run = load(given.run)
    mean, std = run.config.facts.input_frame_mean
    rng = np.random.default_rng(0)
    image = np.zeros((given.side, given.side), dtype=np.float32)
    for scale in (1, 4, 16, 64):
        coarse = rng.normal(size=(-(-given.side // scale),) * 2)
        image += np.kron(coarse, np.ones((scale, scale)))[: given.side, : given.side]
    image = (mean + max(std, 0.3 * abs(mean)) * image / 2).astype(np.float32)
    span = float(np.ptp(image))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zarr.create_array(folder / "image.zarr", data=image, chunks=(256, 256),
                          dimension_names=["y", "x"])  # fmt: skip

        def samples(label: str, tile: int, halo: int, dask: str | None = None) -> np.ndarray:
            predict(
                run, [folder / "image.zarr"], folder / label, samples=given.samples, tile=tile,
                keep_samples=given.samples, halo=halo, dask=dask,
            )  # fmt: skip
            array = zarr.open_array(folder / label / "image_samples.ome.zarr/0", mode="r")[:]
            assert np.isfinite(array).all()  # every pixel was written
            return array

        for halo in (EXACT, run.halo):
            whole = samples(f"whole{halo}", 4 * given.side, halo)
            for tile in (256, 384):
                tiled = samples(f"{tile}_{halo}", tile, halo)
                rows.append(
                    [f"tiles of {tile} px", halo, f"{np.abs(tiled - whole).max() / span:.1e}"]
                )
            for count in given.workers:
                with local_cluster(count) as cluster:
                    tiled = samples(f"{count}w_{halo}", 384, halo, cluster.scheduler_address)
                label = f"tiles of 384 px, {count} workers"
                rows.append([label, halo, f"{np.abs(tiled - whole).max() / span:.1e}"])
    print(f"{machine()}\n\n{given.side} x {given.side} px, {given.samples} samples\n")
    print(table(["against the whole image at once", "halo, px", "largest difference"], rows))


if __name__ == "__main__":
    main()
