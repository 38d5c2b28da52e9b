"""One section of ``benchmarks gpu`` in a process of its own.

    python -m benchmarks.gpu_worker SECTION DEVICE SECONDS [quick]

It prints its rows as they come, so that what was measured remains when the process is ended.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from benchmarks.gpu_epoch import epoch
from benchmarks.gpu_measuring import Bench
from benchmarks.gpu_sections import million, scan, steps

SECTIONS: dict[str, Callable[[Bench], None]] = {
    "steps": steps,
    "epoch": epoch,
    "scan": scan,
    "million": million,
}


def main(words: list[str]) -> int:
    """Measure a section; returns 0."""
    section, device, seconds, *quick = words
    SECTIONS[section](Bench(torch.device(device), float(seconds), bool(quick)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
