"""Jobs one after another, or side by side in processes, on a GPU each where there are some."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from denoisplit.errors import InputError
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.progress import bar, logger

Call = Sequence[Any]


def workers_of(jobs: int | None) -> int:
    """Jobs at a time: as many as wanted, or one per GPU, and one without any.

    Raises
    ------
    InputError
        If none are wanted.
    """
    if jobs is not None and jobs < 1:
        raise InputError(
            where="--jobs", found=str(jobs), expected="1 or more", remedy="give a larger number"
        )
    return jobs or max(1, torch.cuda.device_count())


def finished(
    function: Callable[..., Any], calls: Sequence[Call], names: Sequence[str], workers: int
) -> Iterator[tuple[Call, Any]]:
    """Each call and its result, as soon as it is there.

    Parameters
    ----------
    function : callable
        Of a module, so that another process finds it.
    calls : sequence of arguments
    names : sequence of str
        Of the calls, for messages.
    workers : int
        Calls at a time. One is made in this process, more in processes of their own: number k is
        shown GPU k (modulo their number) alone, and without GPUs has its share of the threads.

    Raises
    ------
    InputError
        If a process is ended from outside, as for want of memory.
    Exception
        The first that a call raises; the others are ended. A call has to bear that.
    """
    if min(workers, len(calls)) <= 1:
        for number, (call, name) in enumerate(zip(calls, names, strict=True), start=1):
            logger.info("job %d of %d: %s", number, len(calls), name)
            yield call, function(*call)
        return
    context = multiprocessing.get_context("spawn")
    gpus, threads = _gpus(), max(1, torch.get_num_threads() // workers)
    waiting = list(range(len(calls)))[::-1]
    free = list(range(workers))[::-1]
    at_work: dict[Connection, tuple[int, int, BaseProcess]] = {}
    try:
        with bar("jobs", len(calls)) as progress:
            while waiting or at_work:
                while waiting and free:
                    number, worker = waiting.pop(), free.pop()
                    here, there = context.Pipe(duplex=False)
                    gpu = gpus[worker % len(gpus)] if gpus else None
                    process: BaseProcess = context.Process(
                        target=_work, args=(there, function, tuple(calls[number]), gpu, threads)
                    )
                    process.start()
                    there.close()
                    at_work[here] = (number, worker, process)
                    logger.info("%s: begun", names[number])
                ready = wait(list(at_work))
                for here in [one for one in at_work if one in ready]:
                    number, worker, ended = at_work.pop(here)
                    free.append(worker)
                    yield calls[number], _outcome(here, ended, names[number])
                    progress.to(len(calls) - len(waiting) - len(at_work))
    finally:
        for _, _, left in at_work.values():
            left.terminate()
            left.join()


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",")[:count] if given else [str(number) for number in range(count)]


def _outcome(here: Connection, process: BaseProcess, name: str) -> Any:
    try:
        value, error = here.recv()
    except (EOFError, OSError):  # also in the middle of a result
        process.join()
        raise InputError(
            where=name,
            found=f"a process that ended with code {process.exitcode}",
            expected="one that ends its job",
            remedy="start again, with fewer --jobs if memory was short: what is "
            "there is not repeated",
        ) from None
    process.join()
    if error is not None:
        raise error
    return value


def _work(
    there: Connection, function: Callable[..., Any], call: Call, gpu: str | None, threads: int
) -> None:
    """One call in a process of its own, which ends with the one that began it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()  # as the command line does in its own process
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before the first use of a GPU
    else:
        torch.set_num_threads(threads)
    try:
        there.send((function(*call), None))
    except KeyboardInterrupt:
        pass  # the parent was interrupted too
    except Exception as error:
        there.send((None, error))
    there.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
