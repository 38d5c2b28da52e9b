"""Unfinished files: names that tell who writes them, and whether that process still lives.

A name holds the machine (since its last start, or one container on it), the process number and the
process's start. Only a process of the same machine can be asked; what another machine left counts
as left behind once nothing in it has changed for a day.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import time
from functools import lru_cache
from pathlib import Path

SUFFIX = ".partial"
PATIENCE = 24 * 3600.0
_TAG = re.compile(r"\.(?P<machine>[0-9a-f]{10})-(?P<pid>\d+)-(?P<start>\d+)\.partial$")
# Seconds by which two readings of a process's start may differ.
_START = 2


def partial_path(path: Path) -> Path:
    """Where this process writes what becomes ``path``: beside it, hidden."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{_start(os.getpid())}{SUFFIX}")


def is_left_behind(path: Path) -> bool:
    """Whether nobody writes the unfinished file or folder ``path`` any more."""
    tag = _TAG.search(path.name)
    if tag and tag["machine"] == _machine():
        return not _runs(int(tag["pid"]), int(tag["start"]))
    return time.time() - _last_change(path) > PATIENCE


def remove_left_behind(folder: Path) -> int:
    """Delete the unfinished files of ``folder`` (not below) whose writers are gone; how many."""
    count = 0
    for path in folder.glob(f".*{SUFFIX}"):
        if is_left_behind(path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(
                missing_ok=True
            )
            count += not path.exists()
    return count


def _last_change(path: Path) -> float:
    stamps = [0.0]
    for part in [path, *(path.rglob("*") if path.is_dir() else ())]:
        try:
            stamps.append(part.lstat().st_mtime)
        except OSError:  # gone: somebody is at work there
            return time.time()
    return max(stamps)


@lru_cache(maxsize=4)
def _start(pid: int) -> int:
    import psutil

    return int(psutil.Process(pid).create_time())


def _runs(pid: int, start: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - start) <= _START
    except psutil.AccessDenied:  # it is there, and another user's
        return True
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False


@lru_cache(maxsize=1)
def _machine() -> str:
    parts = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            link = source.startswith("/proc/self")
            parts.append(os.readlink(source) if link else Path(source).read_text("ascii").strip())
        except OSError:  # not Linux: the host's name must do
            continue
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:10]
