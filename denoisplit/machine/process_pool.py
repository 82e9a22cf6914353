"""Calls one after another, or in parallel processes with a GPU each if there are GPUs."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from denoisplit.errors import InputError
from denoisplit.machine.memory import keep_freed_memory
from denoisplit.progress import bar, logger, progress_shown

Call = Sequence[Any]

KILLED = 9  # the signal by which Linux ends a process when memory is short


def parallel_jobs(jobs: int | None) -> int:
    """Return the number of parallel jobs: as given, or one per GPU, or one.

    Raises
    ------
    InputError
        If the given number is below 1.
    """
    if jobs is None:
        import torch

        return max(1, torch.cuda.device_count())
    if jobs < 1:
        raise InputError(f"`jobs` must be 1 or more, not {jobs}")
    return jobs


def run_calls(
    function: Callable[..., Any], calls: Sequence[Call], names: Sequence[str], workers: int
) -> Iterator[tuple[Call, Any]]:
    """Run calls, and yield each call and its result as soon as it has ended.

    Parameters
    ----------
    function : callable
        Function of a module, which another process can import.
    calls : sequence of arguments
    names : sequence of str
        Names of the calls, for messages.
    workers : int
        Calls at a time. A single one runs in this process, several in processes of their own:
        process k sees GPU k (modulo their number) only, or has its share of the threads.

    Raises
    ------
    InputError
        If a process is ended from outside, for example for lack of memory.
    Exception
        The first that a call raises; the other calls are terminated.
    """
    if min(workers, len(calls)) <= 1:
        for number, (call, name) in enumerate(zip(calls, names, strict=True), start=1):
            logger.info("job %d of %d: %s", number, len(calls), name)
            yield call, function(*call)
        return
    import torch

    context = multiprocessing.get_context("spawn")
    gpus, threads = _gpus(), max(1, torch.get_num_threads() // workers)
    waiting = list(range(len(calls)))[::-1]
    free = list(range(workers))[::-1]
    running: dict[Connection, tuple[int, int, BaseProcess]] = {}
    try:
        with bar("jobs", len(calls)) as progress:
            while waiting or running:
                while waiting and free:
                    number, worker = waiting.pop(), free.pop()
                    receiver, sender = context.Pipe(duplex=False)
                    gpu = gpus[worker % len(gpus)] if gpus else None
                    process: BaseProcess = context.Process(
                        target=_work, args=(sender, function, tuple(calls[number]), gpu, threads)
                    )
                    process.start()
                    sender.close()
                    running[receiver] = (number, worker, process)
                    logger.info("%s: started", names[number])
                ready = wait(list(running))
                for receiver in [r for r in running if r in ready]:
                    number, worker, ended = running.pop(receiver)
                    free.append(worker)
                    yield calls[number], _outcome(receiver, ended, names[number])
                    progress.to(len(calls) - len(waiting) - len(running))
    finally:
        for _, _, unfinished in running.values():
            unfinished.terminate()
            unfinished.join()


def _gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]


def _outcome(receiver: Connection, process: BaseProcess, name: str) -> Any:
    try:
        value, error = receiver.recv()
    except (EOFError, OSError):  # also in the middle of a result
        process.join()
        problem = f"the process of this job ended with code {process.exitcode}"
        if process.exitcode == -KILLED:
            problem = "the process of this job was ended by the system, probably out of memory"
        remedy = "start again, with fewer `jobs` if memory was short; finished jobs are kept"
        raise InputError(problem, where=name, remedy=remedy) from None
    process.join()
    if error is not None:
        raise error
    return value


def _work(
    sender: Connection, function: Callable[..., Any], call: Call, gpu: str | None, threads: int
) -> None:
    """Run one call in a child process, which ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()  # as the command line does in its own process
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before the first use of a GPU
    else:
        import torch

        torch.set_num_threads(threads)
    try:
        with progress_shown(False):  # the parent has a bar of all calls
            sender.send((function(*call), None))
    except KeyboardInterrupt:
        pass  # the parent was interrupted too
    except Exception as error:
        sender.send((None, error))
    sender.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
