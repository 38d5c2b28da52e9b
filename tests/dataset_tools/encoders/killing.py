"""Commands as processes that are killed while they work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.patience import patience

KILLED = """
import os, sys
from dataset_tools.encoders import shards
from dataset_tools.__main__ import main
save, left = shards.ShardStore.save, int(sys.argv[1])
def stop(self, number, batches):
    global left
    if left == 0:
        print("ready", flush=True)
        import time; time.sleep(3600)
    save(self, number, batches)
    left -= 1
shards.ShardStore.save = stop
sys.exit(main(sys.argv[2:]))
"""


def kill_after(shards: int, command: list[str]) -> None:
    """Run a command as a process and kill -9 it once it has saved that many shards."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(shards), *command], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=patience(30)) == -signal.SIGKILL
