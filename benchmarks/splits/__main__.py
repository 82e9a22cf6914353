"""Split benchmark: fixed images, noise, seeds and metrics; ours beside others.

    python -m benchmarks.splits DATA OUT [--pairs ...] [--methods ...] [--seeds 0 1 2]

DATA holds the folder ``nf1_cells``. Each cell of the table is a process of its own; its scores are
kept as JSON in OUT, so that an interrupted table goes on; ``--table`` only draws what is there.
``--dry`` takes small simulated images and two steps, and no DATA is read.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common import machine
from benchmarks.splits.images import FIELDS_FOLDER, PAIRS, write_pair
from benchmarks.splits.methods import METHODS, Cell
from benchmarks.splits.scores import plot, scores_of, table_of
from denoisplit.files.atomic import write_text
from denoisplit.machine.memory import keep_freed_memory

DRY_STEPS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells that are missing, and write table and plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.splits", description=__doc__)
    parser.add_argument("data", type=Path, help="holds the folder nf1_cells; not read with --dry")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=["er_actin", "actin_nuclei"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--preset", default="small", help="sizes and steps of all methods")
    parser.add_argument("--steps", type=int, help="in place of those of the preset")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--cell", action="store_true", help=argparse.SUPPRESS)  # in this process
    given = parser.parse_args(arguments)
    if not (given.dry or given.table or (given.data / FIELDS_FOLDER).is_dir()):
        parser.error(f"{given.data} has no folder {FIELDS_FOLDER}; name the one that holds it")
    if given.dry:
        given.steps, given.samples = DRY_STEPS, 2
    keys = [(p, m, s) for p in given.pairs for m in given.methods for s in given.seeds]
    if given.cell:
        return run_cell(given, *keys[0])
    cells = {}
    for pair, method, seed in keys:
        path = _result(given, pair, method, seed)
        if not (path.exists() or given.table):
            print(f"{path.stem}", file=sys.stderr, flush=True)
            if given.dry:
                run_cell(given, pair, method, seed)
            else:
                subprocess.run(_command(given, pair, method, seed), check=True)
        if path.exists():
            cells[pair, method, seed] = json.loads(path.read_text(encoding="utf-8"))
    if not cells:
        raise SystemExit(f"{given.out}: no cell of this table was run yet")
    text = f"{machine()}\n\n{table_of(cells)}"
    write_text(given.out / "table.md", text)
    plot(given.out / "plot.png", cells)
    print(text)


def run_cell(given: argparse.Namespace, pair: str, method: str, seed: int) -> None:
    """Train and judge one cell in this process, and keep its scores."""
    images = given.out / "images" / pair
    if not images.exists():
        draft = images.with_name(f"{pair}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        write_pair(draft, pair, None if given.dry else given.data)
        draft.rename(images)
    path = _result(given, pair, method, seed)
    work = path.with_suffix("")
    shutil.rmtree(work, ignore_errors=True)  # of an interrupted cell, whose seconds are unknown
    work.mkdir(parents=True)
    cell = Cell(images, work, pair, seed, given.preset, given.steps, given.samples, given.dry)
    if not given.dry:
        keep_freed_memory()
        torch.set_num_threads(given.threads)
    torch.manual_seed(seed)
    scores = scores_of(cell.names, cell.judged[1], METHODS[method](cell))
    write_text(path, json.dumps(scores, indent=1))


def _result(given: argparse.Namespace, pair: str, method: str, seed: int) -> Path:
    steps = f"-{given.steps}" if given.steps else ""
    name = method.replace(" ", "-").replace(",", "")
    folder: Path = given.out / f"{given.preset}{steps}"
    return folder / f"{pair}-{name}-{seed}.json"


def _command(given: argparse.Namespace, pair: str, method: str, seed: int) -> list[str]:
    options = [given.data, given.out, "--pairs", pair, "--methods", method, "--seeds", seed]
    options += ["--preset", given.preset, "--samples", given.samples, "--threads", given.threads]
    if given.steps:
        options += ["--steps", given.steps]
    return [sys.executable, "-m", "benchmarks.splits", "--cell", *map(str, options)]


if __name__ == "__main__":
    main()
