"""Folders that are replaced as a whole, for readers who look at them meanwhile."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_fmrlrec.errors import UsageError

_STAGE, _OLD = ".update-", ".old"


@contextmanager
def staging(place: Path) -> Iterator[Path]:
    """A new folder in ``place``, to be written to and swapped in from; it goes when the block ends.

    A replaced folder that a killed process has not put back is put back first.
    """
    put_back(place)
    stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=place))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def swap_in(staged: Path, target: Path) -> None:
    """Put a finished folder in the place of another one.

    Two renames: a reader finds the old folder, for an instant none, then the new one, never one
    that is half-written. What was there is removed with the stage.

    Raises:
        UsageError: the folder cannot be renamed.
    """
    old = staged.with_name(staged.name + _OLD)
    try:
        os.chmod(staged, target.stat().st_mode)
        os.rename(target, old)
    except OSError as error:
        raise UsageError(
            f"{target}: cannot be replaced: {error.strerror}; where it is mounted by itself, mount "
            "the folder above it"
        ) from error
    try:
        os.rename(staged, target)
    except OSError:
        os.rename(old, target)
        raise


def put_back(place: Path) -> None:
    """Undo what a killed process had half done: of its two renames the second is missing."""
    for old in place.glob(f"{_STAGE}*/**/*{_OLD}"):
        target = place / old.name.removesuffix(_OLD)
        if not target.exists():
            os.rename(old, target)
