"""Memory: how much there is for this process, and what it does with what it has freed."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
ASSUMED = 8 * 2**30  # bytes of a machine that does not tell
LIMITS = {"memory": "memory/{}/memory.limit_in_bytes", "": "{}/memory.max"}  # control groups 1, 2
LARGEST_KEPT, KEPT = 2**30, 2**31 - 1  # bytes


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that are freed, for the next feature map.

    By default glibc gives each back to the system and takes the next one page by page, which is a
    fifth to a half of the time of a convolutional network on a CPU. Holds for the whole process, so
    it is for programs to say. Nothing happens where the C library is another one.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def memory_at_most(root: Path = Path("/")) -> int:
    """Bytes of this machine, or those that a container or a batch system allows this process.

    Parameters
    ----------
    root : path
        Of the file system.
    """
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return ASSUMED
    return min([machine, *_limits(root)])


def _limits(root: Path) -> list[int]:
    """Of the control groups of this process and of all those around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return []
    found = []
    for line in lines:
        _, controller, group = line.split(":", 2)
        if controller not in LIMITS:
            continue
        inner = Path(group.lstrip("/"))
        for place in (inner, *inner.parents):
            try:
                text = (root / "sys/fs/cgroup" / LIMITS[controller].format(place)).read_text()
                found.append(int(text))
            except (OSError, ValueError):  # not seen from here, or "max"
                continue
    return found
