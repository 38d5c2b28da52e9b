"""A process that ends when the one that started it was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from tests.patience import patience

ROOT = Path(__file__).parents[2]

# The child sleeps in one call: it looks at nothing by itself. Its parent waits for it.
CHILD = """
import os, sys, time
from recbole_fmrlrec.runs.end_with_parent import end_with
parent = int(sys.argv[1])
end_with(lambda: os.getppid() == parent)
print(os.getpid(), flush=True)
time.sleep(3600)
"""
PARENT = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())])
"""


def test_a_killed_parent_takes_its_child_along() -> None:
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.ppid() == parent.pid and child.is_running()
        parent.kill()
        child.wait(timeout=patience(60))
        assert not child.is_running()
