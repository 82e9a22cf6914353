"""Images larger than memory: Zarr to OME-Zarr, or TIFF stacks; peak memory and time.

    python benchmarks/large.py RUN [--sides 8192x8192 8192x16384] [--samples 2] [--precision 32]
    python benchmarks/large.py RUN --sides 4x1024x1024 24x1024x1024 --samples 0

The image is noise around the mean of the run's training frames. `denoisplit predict` splits each in
a new process, whose peak resident memory is measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import zarr
from common import machine, table

from denoisplit.images import open_image
from denoisplit.run import load_config

# prints the peak memory of the process on the last line
PROGRAM = (
    "import resource, sys; from denoisplit.cli.main import main; code = main(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
)
CHUNK = 1024


def image(path: Path, height: int, width: int, mean: float, std: float) -> None:
    """Write a Zarr array of noise, chunk by chunk."""
    array = zarr.create_array(
        path,
        shape=(height, width),
        chunks=(CHUNK, CHUNK),
        dtype="uint16",
        dimension_names=["y", "x"],
    )
    rng = np.random.default_rng(0)
    for y in range(0, height, CHUNK):
        for x in range(0, width, CHUNK):
            block = rng.normal(mean, std, (min(CHUNK, height - y), min(CHUNK, width - x)))
            array[y : y + CHUNK, x : x + CHUNK] = block.clip(0, 65535).astype(np.uint16)


def stack(path: Path, planes: int, height: int, width: int, mean: float, std: float) -> None:
    """Write a TIFF stack of noise, plane by plane."""
    rng = np.random.default_rng(0)
    drawn = (rng.normal(mean, std, (height, width)) for _ in range(planes))
    tifffile.imwrite(
        path, (plane.clip(0, 65535).astype(np.uint16) for plane in drawn), dtype="uint16",
        shape=(planes, height, width), photometric="minisblack", metadata={"axes": "TYX"},
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sides", nargs="+", default=["8192x8192", "8192x16384"])
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--precision", default="32")
    parser.add_argument("--compile", default="auto")
    given = parser.parse_args()
    facts = load_config(given.run).facts
    rows = []
    for side in given.sides:
        *planes, height, width = map(int, side.split("x"))
        with tempfile.TemporaryDirectory() as name:
            source = Path(name) / ("image.tif" if planes else "image.zarr")
            make = stack if planes else image
            make(source, *planes, height, width, *facts.input_frame_mean)
            start = time.perf_counter()
            process = subprocess.run(
                [sys.executable, "-c", PROGRAM, "predict", str(given.run), str(source),
                 "-o", f"{name}/out", "--samples", str(given.samples),
                 "--precision", given.precision, "--compile", given.compile],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            seconds = time.perf_counter() - start
            ending = "tif" if planes else "zarr"
            written = list(open_image(f"{name}/out/image_split.ome.{ending}").planes())[-1]
            assert written.shape == (height, width)
            assert np.isfinite(written[height - 64 :, width - 64 :]).all()
        peak = int(process.stdout.split()[-1]) * 1024 / 1e9
        form = next(
            line for line in [*process.stderr.splitlines(), ""] if "network in" in line or not line
        )
        rows.append([side, f"{seconds:.0f}", f"{peak:.2f}", form.split(" (")[0]])
    print(f"{machine()}\n\n{given.samples} samples\n")
    print(table(["px", "s", "peak memory, GB", "form"], rows))


if __name__ == "__main__":
    main()
