"""Memory of this process: its limit, and the reuse of freed blocks."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
ASSUMED = 8 * 2**30  # bytes, if the system does not report its memory
LIMITS = {"memory": "memory/{}/memory.limit_in_bytes", "": "{}/memory.max"}  # control groups 1, 2
# messages of torch, CUDA and its libraries, and C++
NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|_ALLOC_FAILED|bad_alloc",
    re.IGNORECASE,
)
LARGEST_KEPT, KEPT = 2**30, 2**31 - 1  # bytes


def keep_freed_memory() -> None:
    """Let the C library keep freed large blocks for the next feature map.

    By default glibc returns each block to the system and requests the next one page by page, which
    takes a fifth to a half of the time of a convolutional network on a CPU. This changes the whole
    process, so only programs call it. It has no effect on other C libraries.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def is_out_of_memory(error: BaseException) -> BaseException | None:
    """Return the error of an allocation that failed, if ``error`` is one or was caused by one.

    Python, numpy, torch on a CPU, torch on a GPU and the system each have their own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return cause
        if isinstance(cause, OSError) and cause.errno == errno.ENOMEM:
            return cause
        if isinstance(cause, RuntimeError) and NO_MEMORY.search(str(cause)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def memory_at_most(root: Path = Path("/")) -> int:
    """Return the memory of this machine, or of its container or batch job if less, in bytes.

    Parameters
    ----------
    root : path
        Root of the file system.
    """
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no such call
        return ASSUMED
    return min([machine, *_limits(root)])


def _limits(root: Path) -> list[int]:
    """Return the limits of this process's control groups and of all their parents, in bytes."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return []
    limits = []
    for line in lines:
        _, controller, group = line.split(":", 2)
        if controller not in LIMITS:
            continue
        inner = Path(group.lstrip("/"))
        for folder in (inner, *inner.parents):
            try:
                text = (root / "sys/fs/cgroup" / LIMITS[controller].format(folder)).read_text()
                limits.append(int(text))
            except (OSError, ValueError):  # not visible from here, or "max"
                continue
    return limits
