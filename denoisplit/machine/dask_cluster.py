"""Dask clusters: an existing scheduler, or processes on this machine."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any

from denoisplit.errors import InputError
from denoisplit.progress import logger

TIMEOUT = 20  # s, for a scheduler to answer
SILENCED = ("distributed", "distributed.client", "tornado.application")  # loggers


@contextmanager
def workers(address: str | None) -> Iterator[Any]:
    """Connect to a Dask cluster during the block; yields its client, or None.

    Parameters
    ----------
    address : str or None
        Address of a scheduler; "local" for processes that end with the block.

    Raises
    ------
    InputError
        If Dask is not installed, or no scheduler answers.
    """
    if address is None:
        yield None
        return
    try:
        import distributed
    except ImportError:
        problem = "the packages dask and distributed are not installed"
        remedy = "`pip install 'denoisplit[cluster]'`"
        raise InputError(problem, where="dask", remedy=remedy) from None
    dask: Any = distributed
    with ExitStack() as stack:
        stack.enter_context(_restored())
        try:
            cluster: Any = address
            if address == "local":
                cluster = stack.enter_context(local_cluster(local_workers()))
            client = stack.enter_context(dask.Client(cluster, timeout=TIMEOUT))
        except (OSError, RuntimeError, ValueError) as error:  # among them asyncio's timeout
            if address == "local":
                problem = f"processes cannot be started on this machine ({error})"
                remedy = "leave it out; in a script, call this below if __name__ == '__main__':"
                raise InputError(problem, where="dask", remedy=remedy) from None
            problem = f"no scheduler answers at {address} ({error})"
            remedy = "start it with `dask scheduler`, and workers with `dask worker ADDRESS`"
            raise InputError(problem, where="dask", remedy=remedy) from None
        if not client.scheduler_info()["workers"]:
            logger.warning("waiting for workers: start them with `dask worker %s`", address)
        yield client


@contextmanager
def _restored() -> Iterator[None]:
    """Silence Dask's loggers; restore them, and the environment that Dask changes, afterwards."""
    environment = dict(os.environ)
    loggers = [logging.getLogger(name) for name in SILENCED]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


def local_workers() -> int:
    """Return the size of a local cluster: one process per usable CPU, or one for a GPU."""
    import torch

    if torch.cuda.is_available():
        return 1
    allowed = getattr(os, "sched_getaffinity", None)  # Windows and macOS have none
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def local_cluster(count: int) -> Any:
    """Start a cluster of single-threaded processes, whose memory Dask does not limit.

    Ctrl-C reaches this process alone, which ends them. A machine may have several clusters.
    """
    import distributed

    dask: Any = distributed
    with _interrupts_blocked():
        return dask.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL + 1,
            # the scheduler serves HTTP all the same, by default at one fixed port
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        )


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C in the threads and processes that the block starts, and in theirs.

    This thread receives it after the block, unless another thread takes it.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # Windows has none
    if mask is None:
        yield
        return
    resource_tracker.ensure_running()  # started by multiprocessing, it would unblock interrupts
    before = mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


def run_on_cluster(
    client: Any, work: Callable[..., None], jobs: Sequence[tuple[Any, ...]]
) -> Iterator[None]:
    """Run calls on the workers of a Dask cluster; those of a lost worker are repeated."""
    from distributed import as_completed

    futures = [client.submit(work, *arguments, pure=False) for arguments in jobs]
    try:
        completed: Any = as_completed
        for future, value in completed(futures, with_results=True):
            if future.status != "finished":  # Dask hands those out too
                problem = "the scheduler was lost, or has given up the work"
                raise InputError(problem, where="dask", remedy="start it again")
            yield value
    except (InputError, OSError):
        raise
    except Exception as error:  # of a worker, or of the cluster
        if type(error).__name__ == "KilledWorker":
            problem = "the workers were ended again and again, probably for lack of memory"
            remedy = "choose a smaller `tile`, or fewer workers on a machine"
            raise InputError(problem, where="dask", remedy=remedy) from None
        raise InputError(
            f"the workers failed ({type(error).__name__}: {error}); they must see the run, the "
            "image and the output under the same paths",
            where="dask",
            remedy="look at their logs, and continue with `resume`",
        ) from None
    finally:
        client.cancel(futures)
