"""A review file of two million lines converts in flat memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.convert_data import write_reviews

LINES = 2_000_000
USERS, ITEMS = 900_000, 250_000
LIMIT = 2 * 1024**3
# The child reports its own peak: ru_maxrss counts KiB on Linux and bytes on macOS.
MEASURED = """
import resource, sys
from dataset_tools.__main__ import main
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("peak", peak * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--k-core", "2"]])
def test_two_million_reviews(tmp_path: Path, options: list[str]) -> None:
    write_reviews(tmp_path, LINES, USERS, ITEMS)
    command = ["convert", "amazon2023", str(tmp_path), str(tmp_path / "big"), *options]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    peak = int(done.stdout.split()[-1])
    print(f"\n{done.stdout}{LINES:,} lines in {seconds:.0f} s, peak {peak / 2**20:.0f} MiB")
    assert peak < LIMIT
    with open(tmp_path / "big" / "big.inter") as stream:
        rows = sum(1 for _ in stream) - 1
    assert rows == LINES if not options else 1_000_000 < rows < LINES
