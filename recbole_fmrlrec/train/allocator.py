"""Keeps the C library from handing freed memory back to the system after every operation."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h> of the GNU C library
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

#: Blocks from this size on are still mapped and unmapped one by one.
LARGEST_KEPT = 2**30


def keep_freed_memory() -> bool:
    """Let this process reuse the memory of large tensors instead of asking for new pages.

    By default glibc maps each block above 32 MiB separately and unmaps it when it is freed, so that
    the kernel has to clear new pages for every large tensor of a training step. On a CPU
    that doubles the time of a step of RecBole's SASRec; results do not change. The process
    keeps the memory that it has once used.

    Returns:
        Whether the C library was told; False where it is not glibc (macOS, Windows, musl).
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version")):
        return False
    told = libc.mallopt(_MMAP_THRESHOLD, LARGEST_KEPT)
    return bool(told and libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
