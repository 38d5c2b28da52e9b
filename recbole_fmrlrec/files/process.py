"""Processes: which one works on something and whether it still runs; ending with a parent."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

#: Seconds between two looks at the parent.
LOOK = 0.5

#: Seconds by which two readings of a process's start may differ.
_START = 2.0


def this_process() -> dict[str, Any]:
    """What identifies this process: host, number space, process number and start."""
    found = identity(os.getpid())
    assert found is not None
    return found


def identity(pid: int) -> dict[str, Any] | None:
    """What identifies a process of this machine; None where it has ended."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None
    return {
        "host": socket.gethostname(),
        "place": _number_space(),
        "pid": pid,
        "started": started,
    }


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether an owner's process number can be looked up where this process runs."""
    return owner.get("place") == _number_space()


def is_running(owner: Mapping[str, Any]) -> bool:
    """Whether an owner that `is_here` still runs.

    A process that has ended and waits for its parent (a zombie) does not run, nor does the owner of
    a record without a process number.
    """
    try:
        process = psutil.Process(int(owner["pid"]))
        started = process.create_time()
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(started - owner["started"]) < _START
    except psutil.AccessDenied:  # it is there, and another user's
        return True
    except (psutil.NoSuchProcess, KeyError, ValueError, TypeError, OverflowError):
        return False


def _number_space() -> str:
    """Where a process number means something: one machine since its start, one container."""
    parts = [socket.gethostname()]
    for source in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip(),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        try:
            parts.append(source())
        except OSError:  # not Linux: the host's name must do
            continue
    return "|".join(parts)


def end_with(parent_lives: Callable[[], bool]) -> None:
    """End this process at once when its parent has ended, for whatever reason.

    Nothing is cleaned up: it is as if this process were killed itself.
    """

    def watch() -> None:
        while parent_lives():
            time.sleep(LOOK)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
