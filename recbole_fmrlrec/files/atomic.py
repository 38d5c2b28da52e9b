"""Files that are written whole or not at all.

`dataset_tools.files` has a writer of its own, though the rule is the same: what deploys needs this
one and goes without `dataset_tools`, which in turn knows nothing of this package, and a third
package for a page of code would be more to install and to keep apart than to read twice. Names of
unfinished files differ, so each leaves the other's alone for a day.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from recbole_fmrlrec.files.disk import write_error
from recbole_fmrlrec.files.process import is_running, this_process

#: Seconds after its last change at which a partial file counts as left behind where its writer
#: cannot be looked for: it is of another machine, or its name says nothing of a writer.
FORGOTTEN = 24 * 3600.0

# `.NAME.PLACE-PID-START-RANDOM.partial`: which process writes it, and where its number counts.
_MARK = re.compile(r"\.([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{6}(?:\.partial)?$")


@contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[Path]:
    """A path beside ``path`` to write to; it is renamed to ``path`` when the block ends well.

    What killed processes have left half-written in the same folder is cleared away.

    Args:
        needed: about how many bytes the file will have, for the message when there is no room.

    Raises:
        NoRoom: the disk is full.
        UsageError: the folder takes no files.
    """
    partial = path.with_name(f".{path.name}.{writer_mark()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_partial_files(path.parent)
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except Exception as error:
        better = write_error(path, error, needed)
        if better is None:
            raise
        raise better from error
    finally:
        _unlink(partial)


def clear_partial_files(folder: Path) -> None:
    """Remove partial files of `replacing` whose writer is dead, or has long forgotten them."""
    for file in folder.glob(".*.partial"):
        if is_left_behind(file):
            _unlink(file)


def writer_mark() -> str:
    """The end of the name of something unfinished: who writes it, and a random part."""
    return f"{_mark()}-{uuid.uuid4().hex[:6]}"


def is_marked(path: Path) -> bool:
    """Whether a name ends in a `writer_mark`."""
    return _MARK.search(path.name) is not None


def is_being_written(path: Path) -> bool | None:
    """Whether the process that a name's mark names still runs; None where it cannot be known."""
    found = _MARK.search(path.name)
    if found is None or found[1] != _number_space():
        return None
    return is_running({"pid": int(found[2]), "started": int(found[3]) / 100})


def is_left_behind(file: Path) -> bool:
    """Whether something unfinished will not be finished: its writer is dead, or it is forgotten."""
    if (running := is_being_written(file)) is not None:
        return not running
    try:
        return time.time() - file.stat().st_mtime > FORGOTTEN
    except OSError:  # renamed meanwhile
        return False


def _unlink(file: Path) -> None:
    # In a folder that takes no files, or has gone, there is nothing to clear away.
    with suppress(OSError):
        file.unlink(missing_ok=True)


def _mark() -> str:
    return _mark_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _mark_of(pid: int) -> str:
    """The mark of this process; ``pid`` makes a forked process get its own."""
    return f"{_number_space()}-{pid}-{round(this_process()['started'] * 100)}"


@functools.cache
def _number_space() -> str:
    return hashlib.sha256(this_process()["place"].encode()).hexdigest()[:8]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    content = text.encode("utf-8")
    with replacing(path, len(content)) as partial:
        partial.write_bytes(content)


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write JSON; NaN and infinity, which it does not know, are refused with a ValueError."""
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
