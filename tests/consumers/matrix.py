"""Packages of every kind in several versions of bioimageio.core, each in an environment of its own.

    python tests/consumers/matrix.py [FOLDER] [--only CORE]

Makes packages of untrained networks of one, two and three structures, tests each weight format of
each with ``bioimageio test``, and predicts with one as a whole and in blocks. Prints a table in
Markdown; the exit code is 1 where something failed. FOLDER (default .venvs) keeps the environments.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
import torch
from denoisplit_zoo import export
from denoisplit_zoo.client import bioimageio
from small_runs import small_runs

KINDS = ("mmse", "samples", "split")
SAMPLES = 2
FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
STRUCTURES = (1, 2, 3)
TILE, HALO = 96, 32
SAME = 1e-2  # share of the data range that blocks may differ from the whole image


class Consumer(NamedTuple):
    """Versions that are used together."""

    core: str
    onnxruntime: str
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"core {self.core}, onnxruntime {self.onnxruntime}"


CONSUMERS = (
    Consumer("0.11.0", "1.32.0"),
    Consumer("0.10.4", "1.20.1", ("numpy<2",)),  # as the test service of the zoo
    # the oldest for this Python; it was built against the former numpy
    Consumer("0.10.2", "1.15.1", ("numpy<2",)),  # the core of ilastik's server
)


def environment(consumer: Consumer, folder: Path) -> Path:
    """The folder of the programs of an environment, made where there is none."""
    place = folder / f"core-{consumer.core}-onnxruntime-{consumer.onnxruntime}"
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        torch_version = torch.__version__.partition("+")[0]
        subprocess.run(
            [
                str(programs / "python"), "-m", "pip", "install", "--quiet",
                "--disable-pip-version-check", f"bioimageio.core=={consumer.core}",
                f"onnxruntime=={consumer.onnxruntime}", f"torch=={torch_version}", "pydantic<2.14",
                "onnx", "tifffile", *consumer.more,
            ],
            check=True,
        )  # fmt: skip
        (place / "ready").touch()
    return programs


def packages(folder: Path) -> dict[tuple[str, int], Path]:
    """One of each kind and number of structures; the runs are those of tests/packaging."""
    small = small_runs()
    made = {}
    for count in STRUCTURES:
        names = ("ER", "actin", "mitochondria")[:count]
        files = small.structure_files(folder / f"images{count}", names, (150, 160))
        run = small.make_run(folder / f"run{count}", files)
        for kind in KINDS:
            output = folder / f"{kind}-{count}.zip"
            made[kind, count] = export(
                run, output, kind=kind, samples=SAMPLES, tile=TILE, halo=HALO
            )
    return made


def tested(programs: Path, folder: Path, package: Path, weights: str) -> str:
    """An empty string, or what went wrong."""
    folder.mkdir(parents=True)
    code, said = bioimageio(
        folder, "test", str(package), "--weight-format", weights, programs=programs
    )
    return "" if code == 0 and "passed" in said and "❌" not in said else said


def blocks(programs: Path, folder: Path, package: Path) -> str:
    """Blocks against the whole image, where the last blocks are aligned too."""
    image = np.random.default_rng(0).poisson(200, (TILE + 96, TILE + 64)).astype(np.float32)
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "image.tif", image)
    results: list[Any] = []
    for blockwise in (False, True):
        code, said = bioimageio(
            folder, "predict", str(package), "--inputs", '[["image.tif"]]',
            "--outputs", f"{blockwise}.tif", "--blockwise", str(blockwise), programs=programs,
        )  # fmt: skip
        if code:
            return said
        found = tifffile.imread(folder / f"{blockwise}.tif")
        results.append(found.reshape(-1, *found.shape[-2:])[:, HALO:-HALO, HALO:-HALO])
    difference = float(np.abs(results[0] - results[1]).max() / np.ptp(image))
    return "" if difference < SAME else f"blocks differ by {difference:.2g} of the data range"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".venvs"))
    parser.add_argument("--only", metavar="CORE", help="one version of bioimageio.core")
    given = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", NO_COLOR="1")
    os.environ.pop("PYTHONPATH", None)
    consumers = [c for c in CONSUMERS if given.only in (None, c.core)]
    failed: list[str] = []
    lines = [
        f"| consumer | {' | '.join(f'{kind}, {name}' for kind in KINDS for name in FORMATS)} "
        "| blocks |",
        "|---" * (len(KINDS) * len(FORMATS) + 2) + "|",
    ]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        place = Path(name)
        made = packages(place)
        for consumer in consumers:
            print(consumer.name, file=sys.stderr, flush=True)
            programs = environment(consumer, given.folder.resolve())
            answers = {
                (kind, weights, count): pool.submit(
                    tested, programs, place / consumer.core / f"{kind}-{count}-{weights}",
                    made[kind, count], weights,
                )
                for kind in KINDS for weights in FORMATS for count in STRUCTURES
            }  # fmt: skip
            parts = pool.submit(blocks, programs, place / consumer.core / "blocks", made["mmse", 2])
            cells = []
            for kind in KINDS:
                for weights in FORMATS:
                    found = {c: answers[kind, weights, c].result() for c in STRUCTURES}
                    bad = [count for count, said in found.items() if said]
                    failed += [
                        f"{consumer.name}, {kind}, {weights}, C = {count}:\n{found[count]}"
                        for count in bad
                    ]
                    cells.append(f"fails: C = {', '.join(map(str, bad))}" if bad else "pass")
            said = parts.result()
            if said:
                failed.append(f"{consumer.name}, blocks:\n{said}")
            cells.append("fails" if said else "pass")
            lines.append(f"| {consumer.name} | {' | '.join(cells)} |")
    print("\n".join(lines))
    print("\n\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
