"""Fuzzing of all that reads files of others: ``python -m tests.fuzz``, or ``make fuzz``.

Small valid files of every kind are damaged at random, by numbers that are seeds, and read by the
library and by commands, each in a forked child with limits on time and memory. A good case is
read, or refused in one line; any other ends this program with exit code 1, and is repeated with
``--case SEED``.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

SINGLE = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MPLBACKEND": "Agg"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="number of cases")
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--case", type=int, action="append", help="only this seed; its files stay")
    parser.add_argument("--folder", type=Path, help="folder of the valid files, and of bad cases")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cases at a time")
    given = parser.parse_args()
    if any(os.environ.get(key) != value for key, value in SINGLE.items()):  # read at the start
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **SINGLE})
    if given.folder is not None:
        return fuzz(given, given.folder.resolve())
    with tempfile.TemporaryDirectory(prefix="denoisplit-fuzz-") as folder:
        return fuzz(given, Path(folder))


def fuzz(given: argparse.Namespace, folder: Path) -> int:
    start, seeds = time.monotonic(), folder / "seeds"
    # children would import these on their first use, which took more than most cases
    import bioimageio.spec  # noqa: F401
    import dask.array  # noqa: F401
    import torch

    from .readers import READERS
    from .seeds import make
    from .server import GOOD, OUTCOMES, run_cases

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # so that collections of children copy no pages
    if not (seeds / "complete").exists():
        _in_a_child(lambda: make(seeds))
    _say(f"valid files made, {time.monotonic() - start:.0f} s")
    damaged = range(given.first, given.first + given.cases)
    numbers: Iterator[int] = iter(given.case or chain(range(-len(READERS), 0), damaged))
    counts: Counter[tuple[str, str]] = Counter()
    work = Path(tempfile.mkdtemp(prefix="cases-", dir=folder))
    for case in run_cases(seeds, numbers, work, given.jobs):
        counts[case.reader, case.outcome] += 1
        if case.outcome not in GOOD or given.case:
            says = "\n    ".join(case.says.strip().splitlines()[-12:])
            _say(f"case {case.seed}, {case.reader}: {case.outcome}\n    {says}")
    width = max(map(len, READERS))
    _say(" " * width + "".join(f"{name:>11}" for name in OUTCOMES))
    for reader in (*READERS, "all"):
        values = [
            sum(n for (r, o), n in counts.items() if reader in (r, "all") and o == outcome)
            for outcome in OUTCOMES
        ]
        _say(f"{reader:{width}}" + "".join(f"{n:>11}" for n in values))
    _say(f"{sum(counts.values())} cases, {time.monotonic() - start:.0f} s")
    return int(any(outcome not in GOOD for _, outcome in counts))


def _in_a_child(work: Callable[[], None]) -> None:
    """Do something in a child, so that this process has no threads when it forks again."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            warnings.simplefilter("ignore")
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        sys.exit("the valid files could not be made")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
