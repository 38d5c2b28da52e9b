"""Times in pairs, memory in processes of their own, and the facts that a figure depends on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from recbole_fmrlrec.evaluation.latency import processor_name
from recbole_fmrlrec.nn.devices import emulates
from recbole_fmrlrec.runs.result import machine_facts


def seconds(work: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def pairs(
    slow: Callable[[], Any], fast: Callable[[], Any], count: int, fast_calls: int = 3
) -> dict[str, Any]:
    """Time two ways side by side, after a call of each that does not count.

    Each pair times ``slow`` once and then ``fast`` a few times, so that both meet the same state of
    the machine; a pair's ratio takes the median of its fast calls.

    Returns:
        Median ``slow`` and ``fast`` seconds, the ``ratio`` (median over pairs), all ``ratios``.
    """
    slow(), fast()
    left, right = [], []
    for _ in range(count):
        left.append(seconds(slow))
        right.append(median(seconds(fast) for _ in range(fast_calls)))
    ratios = [a / b for a, b in zip(left, right, strict=True)]
    return {
        "slow": median(left),
        "fast": median(right),
        "ratio": median(ratios),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def peak_bytes(module: str, *words: str) -> int:
    """Largest resident memory of ``python -m MODULE WORDS``, a process that does one side only.

    Raises:
        RuntimeError: the process failed.
    """
    # VmHWM, not getrusage: that one keeps the peak of the process from which it was started.
    code = (
        "import runpy, sys\n"
        f"sys.argv = {[module, *words]!r}\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
        "status = open('/proc/self/status').read()\n"
        "print('PEAK', status.split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("PEAK ")]
    if done.returncode or not found:
        raise RuntimeError(f"{module} {' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return int(found[-1].split()[1]) * 1024


def product_rate(count: int = 5, width: int = 2048) -> float:
    """The machine's rate of float32 matrix products now: multiply-adds a second, the best of some.

    Square matrices of ``width``, in the threads that torch uses.
    """
    a, b, out = torch.randn(width, width), torch.randn(width, width), torch.empty(width, width)
    torch.mm(a, b, out=out)
    return float(width**3 / min(seconds(lambda: torch.mm(a, b, out=out)) for _ in range(count)))


def facts() -> dict[str, Any]:
    """Machine and versions."""
    return {
        **machine_facts(),
        "cpu": processor_name(),
        "load": os.getloadavg(),
        "emulates_bfloat16": emulates(torch.bfloat16),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
