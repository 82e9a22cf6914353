"""Memory that this process may use: that of the machine, or a lower limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoisplit.machine.memory import memory_at_most

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
