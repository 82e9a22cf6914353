"""Run packages of every kind in the programs that use them, in separate environments.

    python tests/consumers/matrix.py [FOLDER] [--only NAME]

Makes packages of untrained networks of one, two and three structures, and runs them in the clients
of environments.py: bioimageio.core tests every weight format and compares a whole image with blocks
of it, BiaPy checks the description and runs the state dict, and onnxruntime (native and in
WebAssembly, if Node.js is available) and OpenVINO run the ONNX weights, also on an image of odd
size. Prints a table in Markdown of the largest differences from the expected output, as shares of
the range of each output channel; the exit code is 1 where something failed.

FOLDER (default .venvs) keeps environments, packages and answers, so that an interrupted call goes
on where it stopped. A package is made again when a source file is newer, an answer when its package
is.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import denoisplit_zoo
import numpy as np
import torch
from denoisplit_zoo import export
from denoisplit_zoo.archive import Contents, read_package
from denoisplit_zoo.exporting.kinds import PACKAGE_KINDS
from environments import KNOWN, Client, command, newer_core
from small_runs import small_runs

import denoisplit

SAMPLES, TILE, HALO, ODD = 2, 96, 32, 77  # the last three in px
EQUAL = 1e-4  # share of the range of an output channel by which a client may differ
SAME = 1e-2  # share of the range of the input by which blocks may differ from the whole image
WHOLE, BLOCKS = "whole", "blocks"
SMALL = small_runs()


class Made(NamedTuple):
    """System, kind and number of structures of a package."""

    system: str
    kind: str
    structures: int


PACKAGES = (
    *(Made("denoisplit", kind, c) for kind in PACKAGE_KINDS for c in (1, 2, 3)),
    # runs without an error map
    *(Made("altered_musplit", "mmse", c) for c in (1, 2, 3)),
    Made("hdn", "mmse", 1),
)
MAPPED = ("denoisplit",)  # systems whose runs have an error map
OF_BLOCKS = tuple(Made("denoisplit", kind, 2) for kind in ("mmse", "interval"))
HDN = {"filters": 8, "latents": 4, "patch": 32, "levels": 5, "blocks_per_level": 2}


def packages(folder: Path) -> dict[Made, Path]:
    """Return all packages, made again if the sources are newer, of the runs of tests/packaging."""
    places = [Path(str(module.__file__)).parent for module in (denoisplit, denoisplit_zoo)]
    places.append(Path(__file__).parents[2] / "rdf_templates")
    sources = [
        path.stat().st_mtime
        for place in places
        for path in place.rglob("*")
        if path.suffix in (".py", ".md", ".yaml") and "checking" not in path.parts
    ]
    found = {}
    for made in PACKAGES:
        output = found[made] = folder / f"{made.system}-{made.kind}-{made.structures}.zip"
        if output.exists() and output.stat().st_mtime > max(sources):
            continue
        print(f"exporting {output.name}", file=sys.stderr, flush=True)
        output.unlink(missing_ok=True)
        run = folder / f"{made.system}-{made.structures}"
        if run.exists():
            shutil.rmtree(run)
        names = ("ER", "actin", "mitochondria")[: made.structures]
        files = SMALL.structure_files(folder / f"images{made.structures}", names, (150, 160))
        network = HDN if made.system == "hdn" else SMALL.DEEP
        mapped = made.system in MAPPED
        SMALL.make_run(run, files, network=network, system=made.system, error_map=mapped)
        samples = SAMPLES if PACKAGE_KINDS[made.kind].sampled else None
        export(run, output, kind=made.kind, samples=samples, tile=TILE, halo=HALO)
    return found


def tensor(contents: Contents, key: str) -> Any:
    """Return the test tensor of a package's inputs or outputs."""
    file = contents.description[key][0]["test_tensor"]["source"]
    return np.load(io.BytesIO(contents.files[file]))


def weights(contents: Contents, name: str) -> bytes:
    """Return the file of a weight format."""
    return contents.files[contents.description["weights"][name]["source"]]


def prepare(made: Made, path: Path, folder: Path) -> None:
    """Write a package, its ONNX weights and its inputs into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "inputs").mkdir(parents=True)
    shutil.copy(path, folder / "package.zip")
    contents = read_package(path)
    (folder / "weights.onnx").write_bytes(weights(contents, "onnx"))
    image = tensor(contents, "inputs")
    np.save(folder / "inputs" / "test.npy", image)
    np.save(folder / "inputs" / "odd.npy", image[..., :ODD, :ODD].copy())
    if made in OF_BLOCKS:  # of a size at which the last blocks are aligned too
        sides = (1, 1, TILE + 96, TILE + 64)
        larger = np.random.default_rng(0).poisson(200, sides).astype(np.float32)
        np.save(folder / f"{BLOCKS}.npy", larger)


def ask(client: Client, folder: Path, made: dict[Made, Path]) -> dict[Made, Path] | None:
    """Run all packages in a client, and return the folders of its answers; None without Node.js."""
    call = command(client, folder)
    if call is None:
        return None
    answers = folder / "answers" / client.folder
    places = {package: answers / path.stem for package, path in made.items()}
    old = [
        package
        for package, place in places.items()
        if not (done := place / "done").exists()
        or done.stat().st_mtime <= made[package].stat().st_mtime
    ]
    if old:
        print(f"{client.name}: {len(old)} packages", file=sys.stderr, flush=True)
        for package in old:
            prepare(package, made[package], places[package])
        environment = {**os.environ, "BIOIMAGEIO_CACHE_PATH": str(answers / "cache")}
        ended = subprocess.run(
            [*call, *(str(places[package]) for package in old)], env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        for package in old:
            if ended.returncode:
                (places[package] / f"{client.formats[0]}.txt").write_text(ended.stdout)
            (places[package] / "done").touch()
    return places


def largest(place: Path, client: Client, made: Made, expected: dict[str, Any]) -> dict[str, float]:
    """Return the largest differences of all weight formats and inputs, of means and of the rest.

    They are shares of the range of the expected values of their channel. What a client does not
    return differs infinitely.
    """
    differences = {"means": 0.0, "others": 0.0}
    for name in client.formats:
        for image, values in expected.items():
            file = place / name / f"{image}.npy"
            if not file.exists() and image != "test" and len(client.formats) > 1:
                continue  # bioimageio.core takes no image smaller than a tile
            shares = np.full(values.shape[1], np.inf)
            if file.exists() and (output := np.load(file)).shape == values.shape:
                shares = np.abs(output - values).max((0, 2, 3)) / np.ptp(values, (0, 2, 3))
            means = 0 if made.kind == "samples" else made.structures
            for key, part in (("means", shares[:means]), ("others", shares[means:])):
                differences[key] = float(np.max(part, initial=differences[key]))  # NaN stays
    return differences


def cell(client: Client, made: Made, place: Path, expected: dict[str, Any]) -> tuple[str, str]:
    """Return the text of a cell of the table, and what failed."""
    differences = largest(place, client, made, expected)
    problems = [f"{n}: {(place / f'{n}.txt').read_text()}" for n in client.formats
                if (place / f"{n}.txt").exists()]  # fmt: skip
    most = float(np.max(list(differences.values())))
    if most < EQUAL and not problems:
        return f"{most:.0e}", ""
    parts = {"others": "samples" if made.kind == "samples" else "std"}
    text = ", ".join(f"{parts.get(key, key)} {v:.0e}" for key, v in differences.items() if v)
    if not (client.integers or not PACKAGE_KINDS[made.kind].sampled or problems or np.isinf(most)):
        return f"noise differs ({text})", ""
    return f"FAILS ({text})", "\n".join(problems) or f"differs: {text}"


def blocks(client: Client, place: Path) -> tuple[str, str]:
    """Compare blocks with the whole image, a halo away from its border."""
    if len(client.formats) == 1:
        return "", ""
    files = [place / "onnx" / f"{name}.npy" for name in (WHOLE, BLOCKS)]
    if not all(file.exists() for file in files):
        return "FAILS", "blocks were not predicted"
    inside = np.s_[:, :, HALO:-HALO, HALO:-HALO]
    one, other = (np.load(file)[inside] for file in files)
    share = float(np.abs(one - other).max() / np.ptp(np.load(place / f"{BLOCKS}.npy")))
    return f"{share:.0e}", "" if share < SAME else f"blocks differ by {share:.2g}"


def expected(path: Path) -> dict[str, Any]:
    """Return the expected output of the test input, and that of this torch for one of odd size."""
    contents = read_package(path)
    model = torch.jit.load(io.BytesIO(weights(contents, "torchscript")))
    odd = tensor(contents, "inputs")[..., :ODD, :ODD].copy()
    with torch.no_grad():
        return {
            "test": tensor(contents, "outputs"),
            "odd": model(torch.from_numpy(odd)).numpy(),
        }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".venvs"))
    parser.add_argument("--only", metavar="NAME", help="clients whose name contains this")
    given = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", NO_COLOR="1")
    os.environ.pop("PYTHONPATH", None)
    folder: Path = given.folder.resolve()
    (folder / "packages").mkdir(parents=True, exist_ok=True)
    made = packages(folder / "packages")
    clients = [c for c in (*newer_core(), *KNOWN) if (given.only or "") in c.name]
    answers = {client: ask(client, folder, made) for client in clients}
    for client in clients:
        if answers[client] is None:
            print(f"{client.name} was left out, because there is no Node.js with npm\n")
    columns = {client: places for client, places in answers.items() if places is not None}
    print(f"| system, kind, structures | {' | '.join(client.name for client in columns)} |")
    print("|---" * (1 + len(columns)) + "|")
    failed = []
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    for package, path in made.items():
        right = expected(path)
        cells = [
            cell(client, package, places[package], right) for client, places in columns.items()
        ]
        rows.append((", ".join(map(str, package)), cells))
    for package in OF_BLOCKS:
        cells = [blocks(client, places[package]) for client, places in columns.items()]
        rows.append((f"blocks against whole ({package.kind}, {package.structures})", cells))
    for label, cells in rows:
        print(f"| {label} | {' | '.join(text for text, _ in cells)} |")
        failed += [
            f"{client.name}, {label}:\n{problem}"
            for client, (_, problem) in zip(columns, cells, strict=True)
            if problem
        ]
    print("\n\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
