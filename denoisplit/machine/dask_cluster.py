"""The workers of a Dask cluster: an address, or processes here."""

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

WAIT = 20  # s, for a scheduler to answer
TALKATIVE = ("distributed", "distributed.client", "tornado.application")  # loggers


@contextmanager
def workers(address: str | None) -> Iterator[Any]:
    """A client of a Dask cluster, or None.

    Parameters
    ----------
    address : str or None
        Of a scheduler; "local" for a cluster of processes that ends with the block.

    Raises
    ------
    InputError
        If Dask is not installed, or nobody answers.
    """
    if address is None:
        yield None
        return
    try:
        import distributed
    except ImportError:
        raise InputError(
            where="--dask",
            found="no Dask",
            expected="dask and distributed, installed",
            remedy="pip install 'denoisplit[cluster]'",
        ) from None
    dask: Any = distributed
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        try:
            cluster: Any = address
            if address == "local":
                cluster = stack.enter_context(local_cluster(local_workers()))
            client = stack.enter_context(dask.Client(cluster, timeout=WAIT))
        except (OSError, RuntimeError, ValueError) as error:  # of asyncio's time out too
            if address == "local":
                raise InputError(
                    where="--dask",
                    found=f"processes that cannot be started ({error})",
                    expected="some of this machine",
                    remedy="leave --dask out; in a script, call it below if __name__ == "
                    "'__main__':",
                ) from None
            raise InputError(
                where="--dask",
                found=f"no scheduler at {address} ({error})",
                expected="the address of one, or local",
                remedy="start it with `dask scheduler`, and workers with `dask worker ADDRESS`",
            ) from None
        if not client.scheduler_info()["workers"]:
            logger.warning(
                "%s has no workers yet, and is waited for: start them with `dask worker %s`",
                address,
                address,
            )
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing said by Dask itself: what it means for the work, the error says in one line."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [own.level for own in loggers]
    for own in loggers:
        own.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for own, level in zip(loggers, levels, strict=True):
            own.setLevel(level)


def local_workers() -> int:
    """Processes of a local cluster: one per CPU that this process may use, or one for a GPU."""
    import torch

    if torch.cuda.is_available():
        return 1
    allowed = getattr(os, "sched_getaffinity", None)  # Windows and macOS have none
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def local_cluster(count: int) -> Any:
    """Processes of one thread, whose memory Dask does not limit; several clusters may be here.

    A Ctrl-C is for this process alone, which ends them.
    """
    import distributed

    dask: Any = distributed
    with _interrupts_held():
        return dask.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL + 1,
            # its scheduler serves HTTP all the same, by default at a port that only one can have
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C never comes to threads and processes begun in the block, or by them.

    To this one it comes after the block, unless another thread takes it.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # Windows has none
    if mask is None:
        yield
        return
    resource_tracker.ensure_running()  # when multiprocessing starts it, it lets interrupts through
    before = mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


def on_cluster(
    client: Any, work: Callable[..., None], jobs: Sequence[tuple[Any, ...]]
) -> Iterator[None]:
    """Calls by the workers of a Dask cluster; one that is lost costs only what it had in hand."""
    from distributed import as_completed

    futures = [client.submit(work, *arguments, pure=False) for arguments in jobs]
    try:
        completed: Any = as_completed
        for future, value in completed(futures, with_results=True):
            if future.status != "finished":  # Dask hands those out too
                raise InputError(
                    where="--dask",
                    found="a scheduler that was lost, or has given up the work",
                    expected="one that stays to the end",
                    remedy="start it again",
                )
            yield value
    except (InputError, OSError):
        raise
    except Exception as error:  # whatever happened in a worker, or to all of them
        raise InputError(
            where="--dask",
            found=f"workers that failed ({type(error).__name__}: {error})",
            expected="workers that see the run, the image and the output under the same paths",
            remedy="look at their logs, and go on with --resume",
        ) from None
    finally:
        client.cancel(futures)
