"""How many threads torch takes on the CPU, and how they wait for each other.

Nothing here imports torch before it is needed: `wait_passively` has to come first.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import psutil

#: By any of these a user has said how OpenMP's threads wait.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
#: Seconds over which the load is looked at when the process is younger.
_LOOK = 0.2


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user has set how they do.

    They spin by default, for as long as another program keeps the core that they wait for: on two
    cores that others use, an epoch takes twice as long for it. Only before torch is imported; the
    processes that this one starts do the same.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


@dataclass(frozen=True)
class Threads:
    """A number of threads, and why."""

    count: int
    why: str

    def __str__(self) -> str:
        return f"{self.count} ({self.why})"


def use_threads(wanted: int | None) -> int:
    """Set torch's threads in this process.

    torch takes a thread for each physical core that the process may use, or OMP_NUM_THREADS. It
    does not know the limit of a container that has a share of a large machine's time: 64 threads
    on two cores' worth of it wait for each other. Data workers (RecBole's key ``worker``) need no
    count of their own: torch gives each one thread, and they idle most of the time.

    Args:
        wanted: the key ``num_threads``; None takes torch's choice, or the container's limit where
            that is less.

    Returns:
        The number of threads.
    """
    import torch

    threads = wanted or min(torch.get_num_threads(), usable_cpus())
    torch.set_num_threads(threads)
    return threads


def take_threads(wanted: int | None, recorded: int | None = None) -> Threads:
    """`use_threads` with a thread per core that other programs leave free, or as many as asked.

    Args:
        wanted: the key ``num_threads``.
        recorded: the number that a run was begun with: it continues with the same one, so that it
            ends with the same bits. 0 means what `use_threads` takes.
    """
    if wanted:
        return Threads(use_threads(wanted), "num_threads")
    if recorded is not None:
        return Threads(use_threads(recorded or None), f"as when the run was started; {_CHANGE}")
    global _chosen
    if _chosen is None:  # once in a process: all its runs have the same number
        _chosen = _by_what_is_free(use_threads(None))
    use_threads(_chosen.count)
    return _chosen


_CHANGE = "--num_threads changes it"
_chosen: Threads | None = None


def _by_what_is_free(limit: int) -> Threads:
    if os.environ.get("OMP_NUM_THREADS"):
        return Threads(limit, "OMP_NUM_THREADS")
    usable, free = usable_cpus(), free_cpus()
    if free >= limit:
        return Threads(limit, f"{free} of {usable} CPUs are free")
    return Threads(max(1, free), f"other work keeps {usable - free} of {usable} CPUs; {_CHANGE}")


def usable_cpus() -> int:
    """CPUs that this process may use, by its affinity and the limits of its container."""
    from joblib import cpu_count

    count: int = cpu_count()
    return count


def free_cpus() -> int:
    """How many of `usable_cpus` other programs leave free, at least 0; rounded.

    Measured since this module was imported, not by the load average, which still tells of work
    that has ended.
    """
    if time.monotonic() - _BEGAN.at < _LOOK:
        time.sleep(_LOOK)
    return _free(_BEGAN, _Look.take(), usable_cpus())


@dataclass(frozen=True)
class _Look:
    """Seconds: the clock; of the CPUs that may be used, the idle and the whole time that they
    count; the CPU time of this process."""

    at: float
    idle: float
    counted: float
    own: float

    @classmethod
    def take(cls) -> _Look:
        process, times = psutil.Process(), psutil.cpu_times(percpu=True)
        may = process.cpu_affinity() if hasattr(process, "cpu_affinity") else range(len(times))
        mine = [times[cpu] for cpu in may if cpu < len(times)]
        idle = sum(one.idle + getattr(one, "iowait", 0.0) for one in mine)
        spent = process.cpu_times()
        return cls(time.monotonic(), idle, sum(map(sum, mine)), spent.user + spent.system)


def _free(before: _Look, after: _Look, usable: int) -> int:
    passed = after.at - before.at
    if after.counted - before.counted < passed / 2:
        return usable  # a sandbox whose system counts no CPU time: nothing is known
    idle, own = after.idle - before.idle, after.own - before.own
    return max(0, min(usable, round((idle + own) / passed)))


_BEGAN = _Look.take()
