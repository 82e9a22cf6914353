"""Memory that this process may use, and returns: that of the machine, or a lower limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from denoisplit.machine import memory
from denoisplit.machine.memory import (
    bytes_of_size,
    memory_at_most,
    memory_in_use,
    peak_memory,
)

GB = 2**30


def memory_with(root: Path, groups: str, limits: dict[str, str]) -> int:
    files = {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{k}": v for k, v in limits.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return memory_at_most(root)


@pytest.fixture
def machine(tmp_path: Path) -> int:
    """Bytes of this machine, whatever its groups allow."""
    found = memory_at_most(tmp_path / "nothing here")
    assert found > 2 * GB
    return found


def test_a_container_has_what_it_is_given(machine: int, tmp_path: Path) -> None:
    assert memory_with(tmp_path / "a", "0::/\n", {"memory.max": f"{GB}\n"}) == GB
    assert memory_with(tmp_path / "b", "0::/\n", {"memory.max": "max\n"}) == machine
    v1 = "9:cpu:/x\n4:memory:/docker/1a\n", {"memory/memory.limit_in_bytes": f"{GB}\n"}
    assert memory_with(tmp_path / "c", *v1) == GB  # the path is that of the host
    unlimited = {"memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert memory_with(tmp_path / "d", "4:memory:/\n", unlimited) == machine


def test_the_least_of_all_groups_around_a_job_holds(machine: int, tmp_path: Path) -> None:
    limits = {
        "system.slice/slurm/job_1/step_0/memory.max": "max\n",
        "system.slice/slurm/job_1/memory.max": f"{GB}\n",
        "system.slice/memory.max": f"{2 * GB}\n",
        "system.slice/slurm/job_2/memory.max": "1024\n",  # another's
    }
    assert memory_with(tmp_path, "0::/system.slice/slurm/job_1/step_0\n", limits) == GB


def test_a_group_named_like_a_controller_is_none(machine: int, tmp_path: Path) -> None:
    groups = "12:cpu,cpuacct:/a:b\n3:memory:/\n"
    assert memory_with(tmp_path, groups, {"cpu,cpuacct/a:b/memory.max": "1024\n"}) == machine


@pytest.mark.parametrize(
    ("text", "size"),
    [("1.2GB", 1_200_000_000), ("800 MB", 800_000_000), ("2GiB", 2 * GB), (".5G", 500_000_000),
     ("64k", 64_000)],
)  # fmt: skip
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_of_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1.2", "1e3MB", "-1GB", "1.2 gigabytes", "1,2GB"])
def test_other_words_are_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        bytes_of_size(text)


def test_memory_is_that_of_this_process() -> None:
    # the system counts in batches
    assert 0 < memory_in_use() < 1.1 * peak_memory() < 100 * GB


@pytest.mark.parametrize("keeps", [[], [True]])
def test_large_blocks_are_returned_for_a_while(
    keeps: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the work fails; a program that keeps none is left as it is."""
    calls: list[int] = []
    monkeypatch.setattr(memory, "_keeps", keeps)
    monkeypatch.setattr(memory, "_keep_up_to", calls.append)
    during: list[int] = []

    def interrupted() -> None:
        with memory.large_blocks_returned(2**20):
            during.extend(calls)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert during == [2**20][: len(keeps)]
    assert calls == [2**20, memory.LARGEST_KEPT][: 2 * len(keeps)]


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries return memory themselves")
def test_freed_blocks_are_kept_until_they_are_released() -> None:
    """In a process of its own, whose heap the test changes."""
    code = """
import numpy as np
from denoisplit.machine.memory import keep_freed_memory, memory_in_use, release_freed_memory
keep_freed_memory()
start = memory_in_use()
blocks = [np.ones(2**20) for _ in range(20)]  # 168 MB
above = np.ones(2**20)
del blocks
kept = memory_in_use()
release_freed_memory()
print(kept - start, memory_in_use() - start)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 160e6 and left < 40e6
