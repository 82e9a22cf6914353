"""A Dask cluster of this machine changes nothing that outlasts it."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import distributed  # noqa: F401  # before the tests: it sets the levels of its own loggers
import pytest

from denoisplit.errors import InputError
from denoisplit.machine import dask_cluster
from denoisplit.machine.dask_cluster import SILENCED, run_on_cluster, workers


def process_id() -> int:
    return os.getpid()


def fail() -> None:
    raise ValueError("42")


def state() -> Any:
    levels = {name: logging.getLogger(name).level for name in SILENCED}
    return dict(os.environ), levels, signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_local_cluster_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "local_workers", lambda: 1)
    before = state()
    with workers("local") as client:
        (worker,) = run_on_cluster(client, process_id, [()])
        assert worker != os.getpid()
        assert logging.getLogger("distributed").level > logging.CRITICAL
        with pytest.raises(InputError) as error:
            list(run_on_cluster(client, fail, [()]))
    assert str(error.value).startswith("dask: the workers failed (ValueError: 42); they must see")
    assert str(error.value).endswith("look at their logs, and continue with `resume`")
    assert state() == before


def test_without_an_address_there_is_no_client() -> None:
    with workers(None) as client:
        assert client is None
