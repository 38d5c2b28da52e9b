"""Freed memory stays with the process: measured by the pages that the kernel hands out anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from recbole_fmrlrec.train.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def use():
    np.ones(48 * 2**20, np.uint8).sum()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_large_blocks_are_reused() -> None:
    def page_faults(state: str) -> int:
        command = [sys.executable, "-c", SCRIPT, state]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert page_faults("kept") < 100 < page_faults("plain")
