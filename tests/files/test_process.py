"""Owners that live, that have ended, and records that name none; a child of a killed parent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from recbole_fmrlrec.files.process import is_here, is_running, this_process
from tests.patience import patience, wait_for

ROOT = Path(__file__).parents[2]


def test_this_process_is_here_and_runs() -> None:
    mine = this_process()
    assert is_here(mine) and is_running(mine)
    assert not is_here({**mine, "place": "elsewhere"}) and not is_here({})
    assert not is_running({**mine, "started": mine["started"] - 60})  # its number, used before


def test_an_ended_process_whose_parent_has_not_looked_does_not_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(child.pid)
    owner = {**this_process(), "pid": child.pid, "started": process.create_time()}
    assert is_running(owner)
    child.kill()
    wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert psutil.pid_exists(child.pid) and not is_running(owner)
    child.communicate()
    assert not is_running(owner)


@pytest.mark.parametrize(
    "damage", [{"pid": None}, {"pid": "x"}, {"pid": -1}, {"pid": 10**30}, {"started": "then"}]
)
def test_a_record_that_names_no_process(damage: dict[str, object]) -> None:
    assert not is_running({**this_process(), **damage}) and not is_running({})


# The child sleeps in one call: it looks at nothing by itself. Its parent waits for it.
CHILD = """
import os, sys, time
from recbole_fmrlrec.files.process import end_with
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
