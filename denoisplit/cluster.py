"""The workers of a Dask cluster: an address, or processes here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from denoisplit.errors import InputError

WAIT = 20  # s, for a scheduler to answer


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
            "--dask", "no Dask", "dask and distributed, installed",
            "pip install 'denoisplit[cluster]'",
        ) from None  # fmt: skip
    dask: Any = distributed
    local = local_cluster(local_workers()) if address == "local" else None
    try:
        client = dask.Client(local or address, timeout=WAIT)
    except (OSError, TimeoutError, ValueError) as error:
        if local is not None:
            local.close()
        raise InputError(
            "--dask", f"no scheduler at {address} ({error})", "the address of one, or local",
            "start it with `dask scheduler`, and workers with `dask worker ADDRESS`",
        ) from None  # fmt: skip
    try:
        yield client
    finally:
        client.close()
        if local is not None:
            local.close()


def local_workers() -> int:
    """Processes of a local cluster: one per CPU that this process may use, or one for a GPU."""
    import torch

    if torch.cuda.is_available():
        return 1
    allowed = getattr(os, "sched_getaffinity", None)  # Windows and macOS have none
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def local_cluster(count: int) -> Any:
    """Processes of one thread, whose memory Dask does not limit; several clusters may be here."""
    import distributed

    dask: Any = distributed
    return dask.LocalCluster(
        n_workers=count, threads_per_worker=1, memory_limit=0, dashboard_address=None,
        # its scheduler serves HTTP all the same, by default at a port that only one can have
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    )  # fmt: skip


def on_cluster(
    client: Any, work: Callable[..., None], jobs: Sequence[tuple[Any, ...]]
) -> Iterator[None]:
    """Calls by the workers of a Dask cluster; one that is lost costs only what it had in hand."""
    from distributed import as_completed

    futures = [client.submit(work, *arguments, pure=False) for arguments in jobs]
    try:
        completed: Any = as_completed
        for _, value in completed(futures, with_results=True):
            yield value
    except (InputError, OSError):
        raise
    except Exception as error:  # whatever happened in a worker, or to all of them
        raise InputError(
            "--dask", f"workers that failed ({type(error).__name__}: {error})",
            "workers that see the run, the image and the output under the same paths",
            "look at their logs, and go on with --resume",
        ) from None  # fmt: skip
    finally:
        client.cancel(futures)
