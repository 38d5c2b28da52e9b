"""Locks between real processes, killed ones among them, and between machines."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recbole_fmrlrec.runs import lock as locks
from recbole_fmrlrec.runs.lock import STALE, Lock
from tests.patience import patience, wait_for

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from recbole_fmrlrec.runs.lock import Lock
print(Lock(Path(sys.argv[1])).acquire(), flush=True)
time.sleep(3600)
"""
RACER = """
import sys, time
from pathlib import Path
from recbole_fmrlrec.runs.lock import Lock
folder, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
won = 0
while won < rounds:
    lock = Lock(folder / "cell")
    if not lock.acquire():
        continue
    inside = folder / "inside"
    inside.touch(exist_ok=False)   # fails if anybody else is inside
    with (folder / "count").open("a") as file:
        file.write(name)
    inside.unlink()
    lock.release()
    won += 1
"""


def start(code: str, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock ``cell``."""
    process = start(HOLDER, str(tmp_path / "cell"))
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.wait()


def test_one_holder_at_a_time(tmp_path, holder):
    lock = Lock(tmp_path / "cell")
    assert not lock.acquire() and lock.is_held()
    assert lock.owner().startswith(f"process {holder.pid} on ")


def test_a_killed_holder_is_followed_at_once(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock = Lock(tmp_path / "cell")
    assert not lock.is_held() and lock.acquire() and lock.number == 2
    assert not Lock(tmp_path / "cell").acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_never_two_inside(tmp_path):
    racers = [start(RACER, str(tmp_path), name, "40") for name in "abc"]
    for racer in racers:
        _, errors = racer.communicate(timeout=patience(120))
        assert racer.returncode == 0, errors
    assert sorted((tmp_path / "count").read_text()) == sorted("abc" * 40)
    assert [file.name for file in tmp_path.iterdir()] == ["count"]


def foreign(tmp_path: Path, age: float, number: int = 1) -> Path:
    """The lock of a process of this number on another machine, touched ``age`` seconds ago."""
    file = tmp_path / f"cell.lock.{number}"
    owner = {"host": "far", "place": "far|boot", "pid": os.getpid(), "started": 0}
    file.write_text(json.dumps(owner), encoding="utf-8")
    now = time.time()
    os.utime(file, (now - age, now - age))
    return file


def test_another_machine_is_trusted_as_long_as_it_beats(tmp_path):
    foreign(tmp_path, STALE - 60)
    lock = Lock(tmp_path / "cell")
    assert not lock.acquire() and lock.owner() == f"process {os.getpid()} on far"
    foreign(tmp_path, STALE + 60)
    assert lock.acquire() and lock.number == 2


def test_an_owner_that_slept_learns_that_it_has_lost(tmp_path):
    lock, lost = Lock(tmp_path / "cell"), []
    assert lock.acquire() and lock.still_ours()
    foreign(tmp_path, 0, number=2)
    assert not lock.still_ours()
    lock.keep(lambda: lost.append(True), beat=0.01)
    wait_for(lambda: lost)
    assert lost == [True]
    lock.release()  # another's lock stays
    assert [file.name for file in tmp_path.iterdir()] == ["cell.lock.2"]


def test_who_goes_by_an_old_listing_does_not_end_the_owner(tmp_path, monkeypatch):
    """It creates a higher number, sees ours when it looks again, and takes its own away."""
    lock, lost, looks = Lock(tmp_path / "cell"), [], []
    assert lock.acquire()
    other = foreign(tmp_path, 0, number=3)
    real = Lock.still_ours

    def look(self):
        looks.append(real(self))
        other.unlink(missing_ok=True)  # after our first look
        return looks[-1]

    monkeypatch.setattr(Lock, "still_ours", look)
    lock.keep(lambda: lost.append(True), beat=0.01)
    wait_for(lambda: len(looks) > 3)
    assert not lost and looks[:3] == [False, True, True]
    lock.release()


def test_a_beat_keeps_the_lock_young(tmp_path):
    lock = Lock(tmp_path / "cell")
    lock.acquire()
    file = tmp_path / "cell.lock.1"
    os.utime(file, (1, 1))
    lock.keep(lambda: None, beat=0.01)
    wait_for(lambda: file.stat().st_mtime >= 2)
    assert file.stat().st_mtime > time.time() - 60
    lock.release()


def test_a_folder_that_does_not_answer_for_a_while_ends_no_beats(tmp_path, monkeypatch):
    lock, lost, calls = Lock(tmp_path / "cell"), [], []
    assert lock.acquire()

    def touch(file):
        calls.append(file)
        if len(calls) == 3:
            (tmp_path / "cell.lock.2").write_bytes(b"")
        raise OSError(errno.ESTALE, "stale file handle")

    monkeypatch.setattr(os, "utime", touch)
    lock.keep(lambda: lost.append(True), beat=0.01)
    wait_for(lambda: lost)
    assert lost == [True] and len(calls) == 3


def test_an_old_listing_does_not_make_two_owners(tmp_path, monkeypatch):
    """We saw a dead owner 1; meanwhile it was cleared away and 1 is somebody else's live lock."""
    foreign(tmp_path, 0)
    lock = Lock(tmp_path / "cell")
    answers = iter([False])  # the owner that we saw was dead
    real = locks.Lock._alive
    monkeypatch.setattr(Lock, "_alive", lambda self, file: next(answers, real(self, file)))
    assert not lock.acquire()
    assert [file.name for file in tmp_path.iterdir()] == ["cell.lock.1"]


def test_a_lock_of_a_stranger_neither_stops_nor_steers(tmp_path):
    os.mkfifo(tmp_path / "cell.lock.1")
    lock = locks.Lock(tmp_path / "cell", stale=-1e9)
    assert lock.acquire() and lock.number == 2  # nobody waits for who may write to a pipe
    lock.release()
    (tmp_path / "cell.lock.3").write_text("[" * 100_000)
    assert lock.acquire()
    lock.release()
    owner = {"host": "a\x1b[2Jb\r" + "c" * 200, "pid": [1]}
    (tmp_path / "cell.lock.4").write_text(json.dumps(owner))
    assert lock.owner() == f"process [1] on a[2Jb{'c' * 93}"
