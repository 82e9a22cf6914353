"""Run each case in a forked child of this process, which has imported everything."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from denoisplit.errors import InputError

from .mutations import CANARY, bombs, mutate
from .readers import READERS, Reader, RefusedError
from .seeds import copied

SECONDS, PATIENCE = 20, 3  # of computing, and how much longer a busy machine may take
MEMORY = int(2.5 * 2**30)  # bytes
OUTCOMES = ("read", "refused", "traceback", "hang", "memory", "canary", "outside")
GOOD = OUTCOMES[:2]
CODES = {outcome: 40 + k for k, outcome in enumerate(OUTCOMES)}  # exit codes of children
LONGEST = 1000  # characters of a line
NO_MEMORY = re.compile("out of memory|nable to allocate|allocate memory|not enough memory")
UNEXPECTED = re.compile(r"Traceback|Exception ignored|\w+Warning:|Segmentation|Fatal Python error")
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
RUNS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.startfile", "pty.spawn")


class Case(NamedTuple):
    """What came of a case."""

    seed: int
    reader: str
    outcome: str
    says: str


def chosen(seed: int) -> tuple[Random, str]:
    """Return the random numbers of a case, and its reader; a negative seed damages nothing."""
    rng = Random(f"case {seed}")
    names = list(READERS)
    if seed < 0:
        return rng, names[seed]
    return rng, rng.choices(names, [READERS[name].share for name in names])[0]


def run_cases(seeds: Path, numbers: Iterator[int], folder: Path, jobs: int) -> Iterator[Case]:
    """Yield what comes of each case, as soon as it has ended; bad ones keep their folders."""
    running: dict[int, tuple[int, Path]] = {}
    pending = list(numbers)[::-1]
    while pending or running:
        while pending and len(running) < jobs:
            number = pending.pop()
            work = folder / f"case-{number}"
            work.mkdir()
            sys.stdout.flush()
            pid = os.fork()
            if not pid:
                _child(seeds, number, work)
            running[pid] = (number, work)
        pid, status, usage = os.wait4(-1, 0)
        number, work = running.pop(pid)
        case = _ended(number, work, status, usage.ru_maxrss * 1024)
        if case.outcome in GOOD:
            shutil.rmtree(work, ignore_errors=True)
        yield case


def _ended(number: int, work: Path, status: int, memory: int) -> Case:
    says = (work / "says").read_text(errors="replace") if (work / "says").exists() else ""
    code = os.waitstatus_to_exitcode(status)
    outcome = next((name for name, value in CODES.items() if value == code), "traceback")
    if code in (-signal.SIGALRM, -signal.SIGXCPU):
        outcome = "hang"
    elif memory > MEMORY or code == -signal.SIGKILL or NO_MEMORY.search(says):
        outcome = "memory"
    elif outcome in GOOD and UNEXPECTED.search(says):
        outcome = "traceback"
    elif code < 0:
        says += f"signal {-code}"
    elif outcome == "refused" and number < 0 and READERS[chosen(number)[1]].accepts:
        outcome, says = "traceback", f"an undamaged file was refused: {says}"
    if any(work.rglob(CANARY)):
        outcome = "canary"
    return Case(number, chosen(number)[1], outcome, says)


# ---------------------------------------------------------------- in the child


def _child(seeds: Path, number: int, work: Path) -> Any:
    """Damage a file and read it; the process ends with the code of the outcome."""
    code = CODES["traceback"]
    try:
        says = os.open(work / "says", os.O_WRONLY | os.O_CREAT)
        os.dup2(says, 1)
        os.dup2(says, 2)
        os.chdir(work)
        rng, name = chosen(number)
        path = _damaged(rng, READERS[name], seeds, Path("in"), damage=number >= 0)
        code = CODES[_read(READERS[name], path.resolve(), Path("out").resolve())]
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _read(reader: Reader, path: Path, out: Path) -> str:
    """Return what comes of reading a file, within limits on time and memory."""
    out.mkdir()
    temporary = out.with_name("tmp")
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    before = set(path.parent.rglob("*"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    signal.alarm(PATIENCE * SECONDS)
    events = _listen(out, temporary, path)
    outcome = "read"
    try:
        reader.read(path, out)
    except RefusedError:
        outcome = "refused"
    except InputError as error:
        outcome = "refused"
        line = str(error)
        if "\n" in line or len(line) > LONGEST or not line.isprintable():
            outcome = "traceback"
        sys.stderr.write(f"{line}\n")
    except MemoryError:
        traceback.print_exc()
        outcome = "memory"
    except Exception:
        traceback.print_exc()
        outcome = "traceback"
    signal.alarm(0)
    moved = {path, *path.rglob("*")} if not path.exists() else set()
    if events or set(path.parent.rglob("*")) - before - moved:
        sys.stderr.write("\n".join(events) + "\n")
        return "canary" if any(event.startswith(RUNS) for event in events) else "outside"
    return outcome


def _listen(out: Path, temporary: Path, path: Path) -> list[str]:
    """Return a list that receives attempts to write elsewhere, connect, or run programs."""
    events: list[str] = []
    allowed = tuple(f"{folder}{os.sep}" for folder in (out, temporary))
    working = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in RUNS or event == "socket.connect":
            events.append(f"{event} {arguments!r}"[:300])
        if event in WRITES or (event == "open" and arguments[2] & working):
            if event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] != -1:
                arguments = (os.path.join(f"/proc/self/fd/{arguments[-1]}", arguments[0]),)
            for name in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if isinstance(name, int) or str(name) == os.devnull:
                    continue
                place = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(name))))
                place = os.path.join(place, os.path.basename(os.fsdecode(name)))
                is_lock = Path(place).parent == out.parent and Path(place).name.startswith(".out.")
                if f"{place}{os.sep}".startswith(allowed) or is_lock:
                    continue
                if event == "os.rename" and place == str(path):
                    continue
                events.append(f"{event} {arguments!r}"[:300])

    sys.addaudithook(hook)
    return events


def _damaged(rng: Random, reader: Reader, seeds: Path, to: Path, *, damage: bool) -> Path:
    """Copy a seed, and damage it."""
    seed = rng.choice(sorted(seeds.glob(reader.seeds)))
    path = copied(seed, to / seed.name)
    for beside in (seeds / "run", seeds / "job" / "mixed.ome.zarr"):
        if not (to / beside.name).exists():
            (to / beside.name).symlink_to(beside)
    if not damage:
        return path
    files = [path]
    if path.is_dir():
        every = sorted(file for file in path.glob(reader.damaged) if file.is_file())
        metadata = [file for file in every if file.suffix or file.name.startswith(".z")]
        files = [rng.choice(metadata if metadata and rng.random() < 0.6 else every)]
        if len(every) > 1 and rng.random() < 0.1:
            _rearranged(rng, files[0], rng.choice(every))
            return path
        codec = path.name.split(".")[0]
        made = [make for name, make in bombs().items() if name.startswith(codec)]
        if made and rng.random() < 0.08:
            chunks = [file for file in every if not file.name.startswith((".z", "zarr"))]
            rng.choice(chunks).write_bytes(rng.choice(made)())
            return path
    others = [file for file in seeds.glob("*/*") if file.is_file() and file.stat().st_size < 2**20]
    for file in files:
        other = rng.choice(sorted(others)).read_bytes() or b"\0"
        file.write_bytes(mutate(rng, file.name, file.read_bytes(), other))
    return path


def _rearranged(rng: Random, one: Path, other: Path) -> None:
    """Remove a file, put another in its place, or make it a folder or an endless link."""
    kind = rng.randrange(4)
    content = other.read_bytes()
    one.unlink()
    if kind == 1:
        one.write_bytes(content)
    elif kind == 2:
        one.mkdir()
    elif kind == 3:
        one.symlink_to(one.name)
