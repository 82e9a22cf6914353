"""Jobs side by side: each in a process, one GPU to each, errors in one piece."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from denoisplit.errors import InputError
from denoisplit.machine import process_pool as workers
from denoisplit.machine.process_pool import run_calls

# another process has to find the function, which it would not in a module of tests
MODULE = """
import os, signal, time
from denoisplit.errors import InputError

def job(folder, number, among):
    # ends only when as many are at work as are meant to be
    (folder / str(number)).touch()
    if number < 0:
        raise InputError(
            where="job", found="a negative number", expected="another", remedy="change it"
        )
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    until = time.monotonic() + 120
    while len(list(folder.iterdir())) < among and time.monotonic() < until:
        time.sleep(0.05)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), len(list(folder.iterdir()))
"""


@pytest.fixture
def job(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path_factory.mktemp("module")
    (folder / "jobs_side_by_side.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module("jobs_side_by_side").job


def test_jobs_are_done_side_by_side_on_a_gpu_each(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_gpus", lambda: ["4", "7"])
    calls = [(tmp_path, number, 2) for number in range(3)]
    found = list(run_calls(job, calls, ["a", "b", "c"], 2))
    assert sorted(call[1] for call, _ in found) == [0, 1, 2]
    pids, gpus, at_work = zip(*(result for _, result in found), strict=True)
    assert len(set(pids)) == 3 and os.getpid() not in pids
    assert set(gpus) == {"4", "7"} and min(at_work) >= 2
    (tmp_path / "errors").mkdir()
    with pytest.raises(InputError, match="job: found a negative number"):
        list(run_calls(job, [(tmp_path / "errors", -1, 1), (tmp_path / "errors", 2, 9)], "ab", 2))


def test_a_process_that_is_killed_is_reported_in_one_line(job: Any, tmp_path: Path) -> None:
    calls = [(tmp_path, 13, 1), (tmp_path, 1, 9)]
    with pytest.raises(InputError) as error:
        list(run_calls(job, calls, ["T1/musplit", "T1/denoisplit"], 2))
    text = str(error.value)
    assert text.startswith("T1/musplit: the process of this job was ended by the system")
    assert "fewer `jobs`" in text and "\n" not in text
    assert not multiprocessing.active_children()


def test_a_process_keeps_the_memory_that_it_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `denoisplit` itself does, and before its job."""
    order: list[str] = []
    monkeypatch.setattr(workers, "keep_freed_memory", lambda: order.append("kept"))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    here, there = multiprocessing.Pipe(duplex=False)
    workers._work(there, order.append, ("job",), None, 1)
    assert order == ["kept", "job"] and here.recv() == (None, None)
    here.close()


def test_one_at_a_time_needs_no_process(job: Any, tmp_path: Path) -> None:
    calls = [(tmp_path, number, 1) for number in range(2)]
    found = list(run_calls(job, calls, ["a", "b"], 1))
    assert [result[0] for _, result in found] == [os.getpid()] * 2


def test_the_gpus_are_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert workers._gpus() == ["3", "5"] and workers.parallel_jobs(None) == 2
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert workers._gpus() == ["0", "1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert workers._gpus() == [] and workers.parallel_jobs(None) == 1
    assert workers.parallel_jobs(3) == 3
    with pytest.raises(InputError, match="`jobs` must be 1 or more, not 0"):
        workers.parallel_jobs(0)
