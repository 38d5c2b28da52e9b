"""A review file of two million lines converts in flat memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

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


def write_reviews(folder: Path) -> None:
    """Reviews of about 700 bytes a line, popular items first, and metadata of every item."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, LINES).tolist()
    items = (ITEMS * rng.random(LINES) ** 2).astype(int).tolist()
    text = "It works as it should, and I would buy it again. " * 10
    with gzip.open(folder / "Big.jsonl.gz", "wt", compresslevel=1) as stream:
        for line, (user, item) in enumerate(zip(users, items, strict=True)):
            stream.write(
                f'{{"rating": 5.0, "title": "Good", "text": "{text}", "asin": "C{item:09d}", '
                f'"parent_asin": "B{item:09d}", "user_id": "AG{user:026d}", '
                f'"timestamp": {1_500_000_000_000 + line * 7919}, "helpful_vote": 0}}\n'
            )
    with gzip.open(folder / "meta_Big.jsonl.gz", "wt", compresslevel=1) as stream:
        for item in range(ITEMS):
            record = {"parent_asin": f"B{item:09d}", "title": f"item {item}", "description": [text]}
            stream.write(json.dumps(record) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--k-core", "2"]])
def test_two_million_reviews(tmp_path: Path, options: list[str]) -> None:
    write_reviews(tmp_path)
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
