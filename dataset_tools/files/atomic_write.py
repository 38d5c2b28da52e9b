"""Writing files that appear whole or not at all.

`recbole_fmrlrec.files.atomic` is another writer by the same rule, and says why.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dataset_tools.errors import DiskFullError
from dataset_tools.files.unfinished import partial_path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file beside ``path`` and rename it to ``path`` when the block ends well.

    Text is UTF-8 with unchanged line ends. After an error the old file still stands.

    Raises:
        DiskFullError: the disk, or the user's share of it, is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    options: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(partial, mode, **options) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        if isinstance(error.__context__, DiskFullError):  # closing tried to write once more
            raise error.__context__ from None
        if error.errno in FULL:
            raise disk_full(path, partial) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def disk_full(path: Path, partial: Path | None = None, needed: int | None = None) -> DiskFullError:
    """The error for a file that there is no room for: what it needs, what there was."""
    written = partial.stat().st_size if partial is not None and partial.exists() else 0
    free = shutil.disk_usage(path.parent).free
    need = f"{needed:,} bytes are needed" if needed else f"more than {written:,} bytes are needed"
    return DiskFullError(
        f"{path}: not enough disk space: {need}, {free + written:,} are free there; free some "
        "space, or write to another place (the OUTPUT of a command, or its option --output)"
    )


@contextmanager
def needing(path: Path, size: int) -> Iterator[None]:
    """Say of a full disk how many bytes ``path`` needed, where they are known beforehand."""
    try:
        yield
    except DiskFullError as error:
        raise disk_full(path, needed=size) from error
