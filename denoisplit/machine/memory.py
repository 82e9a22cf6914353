"""Memory of this process: its limit and use, and the reuse of freed blocks."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
_keeps: list[bool] = []  # not empty once this program has asked to keep freed memory
SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?([kMGT])(i?)B?")


def keep_freed_memory() -> None:
    """Let the C library keep freed large blocks for the next feature map.

    By default glibc returns each block to the system and requests the next one page by page, which
    takes a fifth to a half of the time of a convolutional network on a CPU. This changes the whole
    process, so only programs call it. It has no effect on other C libraries.
    """
    _keeps.append(True)
    _keep_up_to(LARGEST_KEPT)


def return_large_blocks(above: int) -> None:
    """Return blocks above a size, bytes, when they are freed, also if a program keeps freed memory.

    Aligned blocks rarely fit where another was freed (before glibc 2.38): large feature maps that
    are kept take more than twice their size. Without `keep_freed_memory` this changes nothing.
    """
    if _keeps:
        _keep_up_to(above)
        release_freed_memory()


@contextmanager
def large_blocks_returned(above: int) -> Iterator[None]:
    """Return large blocks as `return_large_blocks` does, and afterwards keep them again."""
    return_large_blocks(above)
    try:
        yield
    finally:
        return_large_blocks(LARGEST_KEPT)


def _keep_up_to(size: int) -> None:
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, size)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def release_freed_memory() -> None:
    """Return freed blocks to the system after a stage, whose sizes the next one will not need.

    Without this, each stage of a long program adds its own blocks to those of all before.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def memory_in_use() -> int:
    """Return the resident memory of this process, in bytes; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[1])
    except (AttributeError, OSError, ValueError):
        return 0


def peak_memory() -> int:
    """Return the most resident memory that this process had, in bytes; 0 on Windows."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def bytes_of_size(text: str) -> int:
    """Return the bytes of a size such as 1.2GB, 800M or 2GiB.

    Raises
    ------
    ValueError
        If it is none.
    """
    if (match := SIZE.fullmatch(str(text).strip())) is None:
        raise ValueError(f"{text!r} is no size")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** (1 + "kMGT".index(prefix)))


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
