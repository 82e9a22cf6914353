"""What the process does with memory that it has freed."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
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
