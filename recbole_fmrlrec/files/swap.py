"""Folders that are replaced as a whole, for readers who look at them meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.atomic import is_being_written, is_left_behind, is_marked, writer_mark

_STAGE, _OLD = ".update", ".old"
# Of earlier versions, whose names say nothing of the process.
_UNMARKED = ".update-*"


@contextmanager
def staging(place: Path) -> Iterator[Path]:
    """A new folder in ``place``, to be written to and swapped in from; it goes when the block ends.

    What killed processes have left there is put right first, see `put_back`.
    """
    put_back(place)
    stage = place / f"{_STAGE}.{writer_mark()}"
    stage.mkdir()
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
    """Undo what killed processes had half done: of two renames the second is missing.

    Their stages are removed; the stage of a process that still runs is left alone.
    """
    marked = [stage for stage in place.glob(f"{_STAGE}.*") if is_marked(stage)]
    for stage in (*marked, *place.glob(_UNMARKED)):
        if is_being_written(stage):
            continue
        for old in stage.rglob(f"*{_OLD}"):
            target = place / old.name.removesuffix(_OLD)
            if not target.exists():
                os.rename(old, target)
        if is_marked(stage) and is_left_behind(stage):
            shutil.rmtree(stage, ignore_errors=True)
