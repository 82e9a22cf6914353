"""Test packages of every kind in several versions of bioimageio.core, in separate environments.

    python tests/consumers/matrix.py [FOLDER] [--only VERSION]

Makes packages of untrained networks of one, two and three structures, tests every weight format of
each with ``bioimageio test``, and compares the whole image with blocks. Where Node.js is at hand,
the ONNX weights are also run in deepImageJ's onnxruntime: newer versions of Python cannot install
it, but npm has the same library. Prints a table in Markdown; the exit code is 1 where something
failed.

FOLDER (default .venvs) keeps environments, packages and answers, so that an interrupted call goes
on where it stopped. A package is made again when a source file is newer, an answer when its package
is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import denoisplit_zoo
import numpy as np
import tifffile
import torch
from denoisplit_zoo import export
from denoisplit_zoo.archive import read_package
from denoisplit_zoo.checking.bioimageio_program import run_bioimageio
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS
from small_runs import small_runs

import denoisplit

FORMATS = ("pytorch_state_dict", "torchscript", "onnx")
SAMPLES = 2
TILE, HALO = 96, 32
SAME = 1e-2  # share of the data range that blocks may differ from the whole image
PASS, BLOCKS = "pass", "blocks"


class Made(NamedTuple):
    """System, kind and number of structures of a package."""

    system: str
    kind: str
    structures: int

    @property
    def file(self) -> str:
        return f"{self.system}-{self.kind}-{self.structures}.zip"


PACKAGES = (
    *(Made("denoisplit", kind, c) for kind in PACKAGE_KINDS for c in (1, 2, 3)),
    # runs without an error map
    *(Made("altered_musplit", "mmse", c) for c in (1, 2, 3)),
    Made("hdn", "mmse", 1),
)
MAPPED = ("denoisplit",)  # systems whose runs have an error map
OF_BLOCKS = tuple(Made("denoisplit", kind, 2) for kind in ("mmse", "interval"))
HDN = {"filters": 8, "latents": 4, "patch": 32, "levels": 5, "blocks_per_level": 2}


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
    # the oldest for Python 3.11; it was built against the former numpy
    Consumer("0.10.2", "1.15.1", ("numpy<2",)),  # the core of ilastik's server
)
FIJI = "1.12.1"  # onnxruntime of deepImageJ; as a library of Node.js
ALONE = Path(__file__).with_name("onnx_alone.js")


def environment(consumer: Consumer, folder: Path) -> Path:
    """Return the folder of the programs of an environment, which is created if missing."""
    place = folder / f"core-{consumer.core}-onnxruntime-{consumer.onnxruntime}"
    torch_version = torch.__version__.partition("+")[0]
    return _environment(
        Path(sys.executable), place, f"bioimageio.core=={consumer.core}",
        f"onnxruntime=={consumer.onnxruntime}", f"torch=={torch_version}", "pydantic<2.14", "onnx",
        "tifffile", *consumer.more,
    )  # fmt: skip


def _environment(python: Path, place: Path, *requirements: str) -> Path:
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    if not (place / "ready").exists():
        subprocess.run([str(python), "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run(
            [
                str(programs / "python"), "-m", "pip", "install", "--quiet",
                "--disable-pip-version-check", *requirements,
            ],
            check=True,
        )  # fmt: skip
        (place / "ready").touch()
    return programs


def node_modules(folder: Path) -> Path | None:
    """Return the folder of deepImageJ's onnxruntime, installed if missing; None without Node.js."""
    npm, place = shutil.which("npm"), folder / f"onnxruntime-node-{FIJI}"
    if npm is None or shutil.which("node") is None:
        return None
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        subprocess.run(
            [npm, "install", *options, f"onnxruntime-node@{FIJI}"], cwd=place, check=True
        )
        (place / "ready").touch()
    return place


def packages(folder: Path) -> dict[Made, Path]:
    """Return all packages, made again if the sources are newer, of the runs of tests/packaging."""
    small = small_runs()
    places = [Path(str(module.__file__)).parent for module in (denoisplit, denoisplit_zoo)]
    places.append(Path(__file__).parents[2] / "rdf_templates")
    sources = [
        path.stat().st_mtime
        for place in places
        for path in place.rglob("*")
        if path.suffix in (".py", ".md", ".yaml")
    ]
    found = {}
    for made in PACKAGES:
        output = found[made] = folder / made.file
        if output.exists() and output.stat().st_mtime > max(sources):
            continue
        print(f"exporting {made.file}", file=sys.stderr, flush=True)
        output.unlink(missing_ok=True)
        run = folder / f"{made.system}-{made.structures}"
        if run.exists():
            shutil.rmtree(run)
        names = ("ER", "actin", "mitochondria")[: made.structures]
        files = small.structure_files(folder / f"images{made.structures}", names, (150, 160))
        more = {"network": HDN} if made.system == "hdn" else {}
        mapped = made.system in MAPPED
        small.make_run(run, files, system=made.system, error_map=mapped, **more)
        samples = None if made.kind in small.ONE_PASS else SAMPLES
        export(run, output, kind=made.kind, samples=samples, tile=TILE, halo=HALO)
    return found


def answered(place: Path, package: Path, ask: Any) -> dict[str, str]:
    """Return stored or new answers: weight format (or blocks) to pass or the reason."""
    file = place / f"{package.stem}.json"
    if not (file.exists() and file.stat().st_mtime > package.stat().st_mtime):
        folder = place / package.stem
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found = ask(folder)
        print(f"{place.name}, {package.stem}: {found}", file=sys.stderr, flush=True)
        file.write_text(json.dumps(found))
        shutil.rmtree(folder)
    answers: dict[str, str] = json.loads(file.read_text())
    return answers


def tested(programs: Path, folder: Path, package: Path) -> dict[str, str]:
    """Run bioimageio's own test of each weight format."""
    code, log = run_bioimageio(
        folder, "test", str(package), "--summary=test.json", programs=programs
    )
    if not (folder / "test.json").exists():
        return dict.fromkeys(FORMATS, log)
    summary = json.loads((folder / "test.json").read_text())
    found = {}
    for name in FORMATS:
        details = [d for d in summary["details"] if f"({name})" in d["name"]]
        errors = [e["msg"] for d in details for e in d["errors"] if d["status"] != "passed"]
        found[name] = PASS if details and not errors else "\n".join(errors) or "not tested"
    if (code or summary["status"] != "passed") and set(found.values()) == {PASS}:
        return dict.fromkeys(FORMATS, log)
    return found


def blocks(programs: Path, folder: Path, package: Path) -> dict[str, str]:
    """Compare blocks with the whole image, where the last blocks are aligned too."""
    image = np.random.default_rng(0).poisson(200, (TILE + 96, TILE + 64)).astype(np.float32)
    tifffile.imwrite(folder / "image.tif", image)
    results: list[Any] = []
    for blockwise in (False, True):
        code, log = run_bioimageio(
            folder, "predict", str(package), "--inputs", '[["image.tif"]]',
            "--outputs", f"{blockwise}.tif", "--blockwise", str(blockwise), programs=programs,
        )  # fmt: skip
        if code:
            return {BLOCKS: log}
        found = tifffile.imread(folder / f"{blockwise}.tif")
        results.append(found.reshape(-1, *found.shape[-2:])[:, HALO:-HALO, HALO:-HALO])
    difference = float(np.abs(results[0] - results[1]).max() / np.ptp(image))
    same = f"blocks differ by {difference:.2g} of the data range"
    return {BLOCKS: PASS if difference < SAME else same}


def alone(modules: Path, folder: Path, package: Path) -> dict[str, str]:
    """Run the ONNX weights without bioimageio."""
    contents = read_package(package)
    for name in ("weights.onnx", "test_input.npy", "test_output.npy"):
        (folder / name).write_bytes(contents.files[name])
    done = subprocess.run(
        ["node", str(ALONE), str(modules), str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        return {FORMATS[-1]: done.stderr}
    tolerance = contents.description["config"]["bioimageio"]["reproducibility_tolerance"][0][
        "relative_tolerance"
    ]
    difference = float(done.stdout)
    return {FORMATS[-1]: PASS if difference < tolerance else f"differs by {difference:.2g}"}


def column(consumer: Consumer, folder: Path, made: dict[Made, Path]) -> list[dict[str, str]]:
    """Return the answers for each package, and last those for blocks of some."""
    programs = environment(consumer, folder)
    place = folder / "answers" / consumer.core
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        asked = [
            pool.submit(answered, place, path, lambda f, path=path: tested(programs, f, path))
            for path in made.values()
        ]
        asked += [
            pool.submit(
                answered, place / BLOCKS, path, lambda f, path=path: blocks(programs, f, path)
            )
            for path in (made[package] for package in OF_BLOCKS)
        ]
        return [answer.result() for answer in asked]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".venvs"))
    parser.add_argument(
        "--only", metavar="VERSION", help=f"one version of bioimageio.core, or onnxruntime {FIJI}"
    )
    given = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", NO_COLOR="1")
    os.environ.pop("PYTHONPATH", None)
    folder: Path = given.folder.resolve()
    (folder / "packages").mkdir(parents=True, exist_ok=True)
    made = packages(folder / "packages")
    columns = {c.name: column(c, folder, made) for c in CONSUMERS if given.only in (None, c.core)}
    modules = node_modules(folder) if given.only in (None, FIJI) else None
    if modules:
        place = folder / "answers" / FIJI
        columns[f"onnxruntime {FIJI}"] = [
            *(
                answered(place, path, lambda f, path=path: alone(modules, f, path))
                for path in made.values()
            ),
            *({} for _ in OF_BLOCKS),
        ]
    print(f"| system, kind, structures | {' | '.join(columns)} |")
    print("|---" * (1 + len(columns)) + "|")
    labels = [f"{m.system}, {m.kind}, {m.structures}" for m in made]
    labels += [f"blocks against whole ({m.kind}, {m.structures})" for m in OF_BLOCKS]
    failed = []
    for label, answers in zip(labels, zip(*columns.values(), strict=True), strict=True):
        cells = []
        for name, answer in zip(columns, answers, strict=True):
            bad = {what: log for what, log in answer.items() if log != PASS}
            cells.append(f"fails: {', '.join(bad)}" if bad else PASS if answer else "")
            failed += [f"{name}, {label}, {what}:\n{log}" for what, log in bad.items()]
        print(f"| {label} | {' | '.join(cells)} |")
    if modules is None and given.only in (None, FIJI):
        print(f"\nonnxruntime {FIJI} was left out, because there is no Node.js with npm")
    print("\n\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
