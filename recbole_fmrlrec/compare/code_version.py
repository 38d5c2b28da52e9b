"""A hash of the code that decides the outcome of a run."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path

#: Parts of the package that take no part in training and ranking: a change in them leaves the
#: finished cells of a comparison as they are.
_NOT_IN_A_RUN: tuple[str, ...] = (
    "compare/",
    "deploy/",
    "tuning",
    "export",
    "cli.py",
    "help_text.py",
)
_NOT_IN_A_RUN += ("locks.py", "mend.py", "owner.py", "places.py", "prepare.py", "yaml_lines.py")
_NOT_IN_A_RUN += ("latency.py",)


@functools.cache
def code_version() -> str:
    """12 hexadecimal digits over the package's sources that a run executes, and RecBole's version.

    Properties and data are no part of it: they enter a cell's key by the configuration that they
    make and by their own hashes.
    """
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(importlib.metadata.version("recbole").encode())
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if not name.startswith(_NOT_IN_A_RUN):
            digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]
