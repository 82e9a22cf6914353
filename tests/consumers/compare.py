"""Compare a run's package in bioimageio with denoisplit's own prediction.

    python tests/consumers/compare.py RUN IMAGE [IMAGE ...] [--kind mmse] [--samples 4]

Exports RUN, tests each weight format with ``bioimageio test``, and splits every image (one plane,
raw superposed intensities, at least as large as a tile) with ``denoisplit predict --noise-address
content`` and with ``bioimageio predict``, as a whole by each weight format and in blocks. Prints a
table in Markdown of the largest differences, in units of the image's range; the exit code is 1
where one is larger than allowed. `denoisplit superpose --run RUN` makes such images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile
from denoisplit_zoo import export
from denoisplit_zoo.archive import read_package
from denoisplit_zoo.checking.bioimageio_program import run_bioimageio

from denoisplit.commands.predict import predict
from denoisplit.images import read_image
from denoisplit.prediction.halo import EXACT
from denoisplit.run import load

Array = npt.NDArray[np.float32]

FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
EQUAL, CLOSE = 1e-4, 1e-2  # shares of the data range
RESULTS = {  # kind of package -> results of `predict` in its channels
    "mmse": ("split", "std"),
    "fast": ("split", "std"),
    "interval": ("split", "low", "high"),
    "split": ("split",),
}


class Row(NamedTuple):
    """One line of the table."""

    name: str
    difference: float
    allowed: float


def succeed(folder: Path, *arguments: str) -> str:
    """Run bioimageio, which must succeed, and return its output."""
    code, output = run_bioimageio(folder, *arguments)
    if code:
        raise RuntimeError(output)
    return output


def predicted(package: Path, image: Path, weights: str, *, blocks: bool, folder: Path) -> Array:
    """Predict an image with ``bioimageio predict``, (channels, Y, X)."""
    output = f"{image.stem}-{weights}-{blocks}.tif"
    succeed(
        folder, "predict", str(package), f"--inputs={json.dumps([[str(image)]])}",
        f"--outputs={output}", f"--weight-format={weights}", f"--blockwise={blocks}",
    )  # fmt: skip
    found: Array = tifffile.imread(folder / output)
    return found.reshape(-1, *found.shape[-2:])


def own(run: Path, package: Path, image: Path, folder: Path) -> Array:
    """Predict the package's channels with ``denoisplit predict --noise-address content``."""
    facts = read_package(package).facts
    paths = predict(
        load(run, device="cpu"), [image], folder / f"{image.stem}-own", samples=facts["samples"],
        seed=facts.get("seed", 0), noise_address="content", interval=facts.get("interval"),
    )  # fmt: skip
    results = {path.name.split("_")[-1].partition(".")[0]: path for path in paths}
    planes = [tifffile.imread(results[kind]) for kind in RESULTS[facts["kind"]]]
    return np.concatenate([plane.reshape(-1, *plane.shape[-2:]) for plane in planes])


def compared(
    run: Path, package: Path, image: Path, folder: Path, *,
    whole: Sequence[str] = FORMATS, blocks: Sequence[str] = FORMATS[-1:],
) -> Iterator[Row]:  # fmt: skip
    """Yield the largest differences for one image, for the given weight formats.

    A whole image is reflected by the halo in bioimageio, and by more in denoisplit, so they are
    equal only where no border is in reach. The last block of an axis is moved inside the image: it
    is left out where its new place is off the network's grid, as it shows another sample there.
    """
    image = image.resolve()
    axis = read_package(package).description["outputs"][0]["axes"][-1]
    tile = read_package(package).description["inputs"][0]["axes"][-1]["size"]
    halo, stride = axis["halo"], load(run, device="cpu").model.stride
    span = float(np.ptp(read_image(image).values))
    expected = own(run, package, image, folder)
    sides = expected.shape[-2:]
    size = " x ".join(map(str, sides))

    def largest(difference: Array, start: int, ends: Sequence[int]) -> float:
        inside = difference[:, start : ends[0], start : ends[1]]
        return float(np.abs(inside).max()) / span if inside.size else 0.0

    results = {name: predicted(package, image, name, blocks=False, folder=folder) for name in whole}
    far = EXACT * stride
    for name, found in results.items():
        for border, allowed in ((far, EQUAL), (halo, CLOSE)):
            if min(sides) > 2 * border:
                difference = largest(found - expected, border, [n - border for n in sides])
                yield Row(f"{size}, whole, {name}, {border} px inside", difference, allowed)
    for name in whole[1:]:
        difference = largest(results[name] - results[whole[0]], 0, sides)
        yield Row(f"{size}, whole, {name} and {whole[0]}", difference, EQUAL)
    kept = tile - 2 * halo
    ends = [n - (halo if (n - kept) % stride == 0 else kept) for n in sides]
    for name in blocks:
        found = predicted(package, image, name, blocks=True, folder=folder)
        yield Row(
            f"{size}, blocks, {name}, {halo} px inside, rows to {ends[0]}, columns to {ends[1]}",
            largest(found - expected, halo, ends), CLOSE,
        )  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--kind", choices=RESULTS, default="mmse")
    parser.add_argument("--samples", type=int, help="4 by default, of kinds with samples")
    given = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = given.samples or (4 if given.kind in ("mmse", "split") else None)
        package = export(given.run, folder / "package.zip", kind=given.kind, samples=samples)
        for weights in FORMATS:
            log = succeed(folder, "test", package.name, f"--weight-format={weights}")
            passed = "passed" in log and "❌" not in log
            bad += not passed
            print(f"bioimageio test, {weights}: {'passed' if passed else log}", flush=True)
        print("\n| image and way | largest difference | allowed | |\n|---|---|---|---|")
        for image in given.images:
            for name, difference, allowed in compared(given.run, package, image, folder):
                bad += difference >= allowed
                word = "pass" if difference < allowed else "FAILS"
                print(f"| {name} | {difference:.1e} | {allowed:.0e} | {word} |", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
