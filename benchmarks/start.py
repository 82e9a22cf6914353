"""Processor time of short commands, from the shell to their end, beyond that of ``import torch``.

    python benchmarks/start.py [RUN] [--other FOLDER] [--repeats N]

A 512 x 512 image is split by RUN (by default one of preset small that is trained for one step here)
with ``--samples 0``. ``--other`` is the checkout of another release, which is measured in turn with
this one. Prints a table in Markdown: user and system time, the least of all repeats.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

import denoisplit
from denoisplit.data.simulation import simulate

KINDS = {"ER": "mesh", "MT": "filaments"}
PASS = """import sys, time
from pathlib import Path
from denoisplit.commands.predict import predict
times = []
for name in "ab":
    start = time.process_time()
    predict(sys.argv[1], [sys.argv[2]], Path(sys.argv[3]) / name, samples=0, progress=False)
    times.append(time.process_time() - start)
print(times[1])
"""


def trained(folder: Path) -> Path:
    """Train a run of preset small for one step."""
    images = {name: simulate(kind, frames=3, size=128, seed=1) for name, kind in KINDS.items()}
    options = {"calibration_samples": 2, "error_map_steps": 2}
    denoisplit.train(images, folder / "run", preset="small", synthetic_poisson=2, max_steps=1,
                     prediction=options, progress=False)  # fmt: skip
    return folder / "run"


def seconds(root: Path, *words: object) -> tuple[float, str]:
    """Return processor time and output of Python with the packages of a checkout."""
    environment = os.environ | {
        "PYTHONPATH": f"{root}:{root / 'packaging'}",
        "OMP_NUM_THREADS": "1",
    }
    before = os.times()
    done = subprocess.run([sys.executable, "-P", *map(str, words)], env=environment, check=True,
                          capture_output=True, text=True)  # fmt: skip
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4]), done.stdout


def measured(root: Path, run: Path, image: Path, repeats: int) -> dict[str, float]:
    """Return seconds of each command, of a checkout."""
    least: dict[str, float] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as out:
            predict = ("-m", "denoisplit", "predict", run, image, "--samples", "0", "-q", "-o")
            times = {
                "`import torch`": seconds(root, "-c", "import torch")[0],
                "`denoisplit --help`": seconds(root, "-m", "denoisplit", "--help")[0],
                "`denoisplit predict`": seconds(root, *predict, Path(out) / "first")[0],
                "second call in one process": float(seconds(root, "-c", PASS, run, image, out)[1]),
            }
        least = {name: min(value, least.get(name, value)) for name, value in times.items()}
    beyond = least["`denoisplit predict`"] - least["`import torch`"]
    return {**least, "`predict` beyond `import torch`": beyond}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--other", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    roots = [*([given.other.resolve()] if given.other else []), Path(__file__).resolve().parents[1]]
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or trained(Path(folder))
        pixels = sum(simulate(kind, frames=1, size=512, seed=3)[0] for kind in KINDS.values())
        tifffile.imwrite(Path(folder) / "mixed.tif", np.float32(pixels))
        results = [
            measured(root, run.resolve(), Path(folder) / "mixed.tif", given.repeats)
            for root in roots
        ]
    print("| processor seconds |" + "".join([" before |"] * (len(roots) - 1)) + " now |")
    print("|---|" + "---|" * len(roots))
    for name in results[0]:
        print(f"| {name} |" + "".join(f" {result[name]:.2f} |" for result in results))


if __name__ == "__main__":
    main()
