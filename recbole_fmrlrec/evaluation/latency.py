"""How long one answer takes, measured so that other work on the machine hardly shows."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

#: So often all answers are given; the best round counts.
ROUNDS = 5


def least_median(
    answers: Sequence[Callable[[], object]],
    milliseconds: Callable[[Callable[[], object]], float],
    rounds: int = ROUNDS,
) -> float:
    """The smallest median of some rounds, each of all answers.

    A median leaves out the single answer that was interrupted, and the smallest of them the rounds
    in which something else took the caches.

    Args:
        answers: one for each user, at least one.
        milliseconds: runs one and measures it: `by_processor` or `by_clock`.
    """
    return min(median(map(milliseconds, answers)) for _ in range(rounds))


def by_clock(answer: Callable[[], object]) -> float:
    """Milliseconds that pass."""
    started = time.perf_counter()
    answer()
    return 1000 * (time.perf_counter() - started)


def by_processor(answer: Callable[[], object]) -> float:
    """Milliseconds that pass while this process has a processor.

    On one thread that leaves out what others took of the machine. Several threads use more
    processor time than passes: then it is the clock's.
    """
    if time.get_clock_info("process_time").resolution > 1e-6:  # Windows counts in 16 ms
        return by_clock(answer)
    used = time.process_time()
    passed = by_clock(answer)
    return min(passed, 1000 * (time.process_time() - used))


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or a kind of processor without this line
        return platform.processor() or platform.machine()
