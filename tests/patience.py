"""Deadlines that only a hang misses: they grow with what else the machine has to do."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

import psutil


def patience(seconds: float) -> float:
    """Seconds to wait at most for what takes at most ``seconds`` on a free machine."""
    busy = psutil.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * (4 + 4 * busy)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until ``condition`` holds; fails after `patience`, asked anew at every look."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patience(seconds), "it took too long"
        time.sleep(0.02)


def children_cpu() -> float:
    """CPU seconds of all processes that this one has started and that have ended.

    Other programs leave it about as it is, unlike the time on the clock.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
