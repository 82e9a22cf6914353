"""Kill commands at seeded random moments, repeat them, and compare the end with undisturbed ones.

``make kills`` runs all of it; `tests/test_kills.py` runs a part. Every command is a forked child of
this process, which has imported everything, so that a moment of the work is hit and not the start.
A kill (SIGKILL) comes after a random time, or between two random steps of the file system. The
call is then repeated, as a user would, until it ends by itself.

In the end the folders hold the same files, hidden ones included, byte by byte, except:

- the time of creation in config.yaml and report.html, and the column ``seconds`` of history.csv;
- the random UUID that tifffile gives each OME-TIFF;
- last.ckpt, of which weights, optimiser and step are compared, not Lightning's own counters.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import denoisplit_zoo.exporting.export
import numpy as np
import torch
import xarray as xr
import yaml

from denoisplit.cli.main import main
from denoisplit.commands import calibrate, compare, noise_model, predict, train  # noqa: F401
from denoisplit.data.simulation import simulate
from denoisplit.images import write_ome_tiff
from denoisplit.images.formats.zarr_write import create_ome_zarr, writable_array

assert denoisplit_zoo.exporting.export  # imported here once, as all the others

KINDS = {"ER": "mesh", "MT": "filaments"}
TINY: dict[str, Any] = {
    "network": {"filters": 8, "latents": 4, "levels": 2, "patch": 32},
    "training": {"max_steps": 8, "batch": 2, "steps_per_epoch": 2},
    "noise_model_fit": {"steps": 20, "components": 1},
    "prediction": {"calibration_samples": 2, "error_map_steps": 2},
    "synthetic_poisson": 2.0,
    "synthetic_gaussian": 1.0,
}
COMPARED: dict[str, Any] = {
    "preset": "small",
    "systems": ["denoisplit", "altered_musplit"],
    "max_steps": 4,
    "network": TINY["network"],
    "training": {"batch": 2, "steps_per_epoch": 2},
    "noise_model_fit": TINY["noise_model_fit"],
    "prediction": {"calibration_samples": 2, "error_map": False},
    "synthetic_poisson": 2.0,
    "synthetic_gaussian": 1.0,
}
DENOISER = {
    "n2v": {"filters": 4, "max_steps": 120, "batch": 1},
    "noise_model_fit": TINY["noise_model_fit"],
}
STEPS = ("mkdir", "rename", "replace", "rmdir", "unlink")  # of the file system, in module os
LIMIT = 1800.0  # s, after which a call hangs


@dataclass(frozen=True)
class Case:
    """A command, and how it is repeated after a kill."""

    name: str
    words: tuple[str, ...]
    output: str
    resumed: str = ""  # option with which it is repeated, once its output exists
    complete: str = ""  # what it says, repeated, if all had been written before the kill
    function: Callable[[list[str]], int] = main  # of the words; the options of compare are few


IMAGES = {name: f"{name}.tif" for name in KINDS}
STRUCTURES = ("--structure", "ER", "ER.tif", "--structure", "MT", "MT.tif")
NOISY = ("--noisy", "ER.tif")
SPLIT = ("--samples", "2", "--tile", "32", "--halo", "32", "--resume")
CASES = {
    case.name: case
    for case in (
        Case(
            "train",
            ("train", "--config", "tiny.yaml", *STRUCTURES, "-o", "out"),
            "out",
            resumed="--resume",
        ),
        Case("predict to TIFF", ("predict", "run", "ER.tif", "MT.tif", "-o", "out", *SPLIT), "out"),
        Case("predict to Zarr", ("predict", "run", "both.ome.zarr", "-o", "out", *SPLIT), "out"),
        Case(
            "noise-model fit",
            ("noise-model", "fit", "--config", "denoiser.yaml", *NOISY, "-o", "out/camera.npz"),
            "out",
            complete="this output exists already",
        ),
        Case(
            "export",
            ("export", "run", "-o", "out/package.zip", "--test-image", "ER.tif"),
            "out",
            complete="this output exists already",
        ),
        Case(
            "compare",
            (),
            "out",
            function=lambda _: bool(compare.compare(IMAGES, "out", **COMPARED)) - 1,
        ),
    )
}


def prepare(folder: Path) -> None:
    """Write images and options, and train the run that others use."""
    planes = []
    for name, kind in KINDS.items():
        frames = np.float32(simulate(kind, frames=4, size=64, seed=1))
        write_ome_tiff(folder / f"{name}.tif", xr.DataArray(frames, dims=["t", "y", "x"]))
        planes.append(frames)
    sizes = {"t": 4, "c": 1, "y": 64, "x": 64}
    create_ome_zarr(
        folder / "both.ome.zarr",
        sizes,
        channels=["both"],
        chunk=(32, 32),
        pixel_size_um={},
        about={},
    )
    writable_array(folder / "both.ome.zarr")[:, 0] = sum(planes)
    for name, values in (("tiny", TINY), ("denoiser", DENOISER)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    done = call(CASES["train"], folder)
    assert done.code == 0, done.text
    (folder / "out").rename(folder / "run")


# ---------------------------------------------------------------- calls


@dataclass(frozen=True)
class Call:
    """A command that runs in a child process."""

    process: int
    start: float
    log: Path
    counted: Path

    def wait(self, kill_after: float | None = None) -> Done:
        """Wait for its end, and kill it after so many seconds."""
        end = self.start + (LIMIT if kill_after is None else kill_after)
        while not (ended := os.waitpid(self.process, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(self.process, signal.SIGKILL)
                ended = os.waitpid(self.process, 0)
                assert kill_after is not None, f"a call hangs: {self.log.read_text()}"
                break
            time.sleep(0.01)
        steps, end = 0, time.monotonic()
        if self.counted.exists():  # it was not killed
            steps, end = json.loads(self.counted.read_text())
        code = os.waitstatus_to_exitcode(ended[1])
        return Done(code, end - self.start, steps, self.log.read_text())


@dataclass(frozen=True)
class Done:
    """How a call ended: exit code, duration, steps of the file system, and what it wrote."""

    code: int
    seconds: float
    steps: int
    text: str


def call(case: Case, folder: Path, *more: str) -> Done:
    """Run a command to its end."""
    return started(case, folder, *more).wait()


def started(case: Case, folder: Path, *more: str, kill_before: int | None = None) -> Call:
    """Start a command in a folder; it ends itself before a step of the file system."""
    number = time.monotonic_ns()
    log, counted = (folder.parent / f"{number}.{kind}" for kind in ("log", "steps"))
    sys.stdout.flush()
    sys.stderr.flush()
    start = time.monotonic()
    process = os.fork()
    if not process:
        code = 70
        try:
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for standard in (1, 2):
                os.dup2(stream, standard)
            sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
            os.chdir(folder)
            steps = _count_steps(kill_before)
            code = case.function([*case.words, *more])
            counted.write_text(json.dumps([next(steps), time.monotonic()]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    log.touch()
    return Call(process, start, log, counted)


def _count_steps(kill_before: int | None) -> Iterator[int]:
    """Count the steps of the file system, and end this process before one of them."""
    done = 0

    def counting(step: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            if done == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return step(*arguments, **options)

        return count

    for name in STEPS:
        setattr(os, name, counting(getattr(os, name)))

    def counts() -> Iterator[int]:
        while True:
            yield done

    return counts()


# ---------------------------------------------------------------- comparison


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files and folders, hidden ones included, without what depends on the clock."""
    return {
        path.relative_to(folder).as_posix(): _timeless(path) if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
    }


def _timeless(path: Path) -> bytes:
    if path.name == "history.csv":
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        return json.dumps([row | {"seconds": ""} for row in rows]).encode()
    if path.suffix == ".ckpt":
        state = torch.load(path, weights_only=True)
        kept = {key: state.get(key) for key in ("global_step", "state_dict", "optimizer_states")}
        content = io.BytesIO()
        torch.save(_untied(kept), content)
        return content.getvalue()
    data = path.read_bytes()
    data = re.sub(rb"(created: )\S+", rb"\1", data) if path.suffix in (".yaml", ".html") else data
    return re.sub(rb"urn:uuid:[0-9a-f-]{36}", b"", data) if path.suffix == ".tif" else data


def _untied(value: Any) -> Any:
    """Copy tensors, so that what is saved does not depend on how they share memory."""
    if isinstance(value, dict):
        return {str(key): _untied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_untied(inner) for inner in value]
    return value.clone() if isinstance(value, torch.Tensor) else value


# ---------------------------------------------------------------- kills


@dataclass
class Count:
    """Outcomes of one case."""

    hit: int = 0  # kills that came before the end of the command
    different: list[str] = field(default_factory=list)  # moments, and what differed then


def kill_and_repeat(case: Case, folder: Path, kills: int, seed: int) -> Count:
    """Kill a command so many times, each in a fresh folder, and compare the ends."""
    rng = np.random.default_rng(seed)
    output = folder / case.output
    whole = call(case, folder)
    assert whole.code == 0, whole.text
    expected = contents(output)
    shutil.rmtree(output)
    count = Count()
    for number in range(kills):
        step = int(rng.integers(whole.steps)) if number % 2 else None
        moment = None if number % 2 else float(rng.uniform(0, whole.seconds))
        done = started(case, folder, kill_before=step).wait(kill_after=moment)
        if done.code == -signal.SIGKILL:
            count.hit += 1
            done = call(case, folder, *([case.resumed] if case.resumed and output.exists() else []))
        ended = done.code == 0 or (case.complete and case.complete in done.text)
        found = contents(output)
        wrong = [n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)]
        wrong += [path.name for path in folder.glob(".*")]
        wrong += [] if ended else [f"exit code {done.code}: {done.text.strip()}"]
        if wrong:
            when = f"{moment:.2f} s" if step is None else f"step {step}"
            count.different.append(f"{when}: {', '.join(sorted(wrong))}")
        shutil.rmtree(output, ignore_errors=True)
        for path in folder.glob(".*"):
            path.unlink()
    return count


def pairs_of_trainings(folder: Path, pairs: int, seed: int) -> Iterator[str]:
    """Start two equal trainings at nearly the same time; yield what the refused one says."""
    rng = np.random.default_rng(seed)
    case = CASES["train"]
    output = folder / case.output
    expected = contents(folder / "run")
    for _ in range(pairs):
        calls = [started(case, folder)]
        time.sleep(float(rng.uniform(0, 1)))
        calls.append(started(case, folder))
        done = [one.wait() for one in calls]
        assert sorted(d.code for d in done) == [0, 2], [d.text for d in done]
        refused = done[0].code == 2
        line = done[0 if refused else 1].text
        by = calls[1 if refused else 0].process
        assert f"in use by process {by} on " in line and line.count("\n") == 1, line
        assert contents(output) == expected
        yield f"{done[0 if refused else 1].seconds:.1f} s: {line.strip()}"
        shutil.rmtree(output)


def run_all(kills: int, pairs: int, seed: int, names: list[str]) -> bool:
    """Run all cases, and print the counts."""
    torch.set_num_threads(1)
    equal = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve() / "work"
        folder.mkdir()
        prepare(folder)
        for name in names:
            start = time.monotonic()
            count = kill_and_repeat(CASES[name], folder, kills, seed)
            seconds = time.monotonic() - start
            same = kills - len(count.different)
            sys.stdout.write(
                f"{name}: {kills} kills, {count.hit} before the end; {same} ends equal to the "
                f"undisturbed one ({seconds:.0f} s)\n"
            )
            for line in count.different:
                sys.stdout.write(f"  different: {line}\n")
            sys.stdout.flush()
            equal = equal and not count.different
        for line in pairs_of_trainings(folder, pairs, seed):
            sys.stdout.write(f"pair of train: one trained; the other, after {line}\n")
            sys.stdout.flush()
    return equal


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("names", nargs="*", default=list(CASES))
    given = parser.parse_args()
    sys.exit(not run_all(given.kills, given.pairs, given.seed, given.names))
