"""Writing files that appear whole or not at all, their hashes, and progress."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from dataset_tools.errors import DiskFullError
from dataset_tools.owners import partial_path

CHUNK_BYTES = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
T = TypeVar("T")


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


def file_hash(path: Path, kind: str = "sha256") -> str:
    """The hash of a file's bytes, in hexadecimal digits; ``kind`` as `hashlib` names it."""
    digest = hashlib.new(kind)
    add_file(digest, path)
    return digest.hexdigest()


def add_file(digest: Any, path: Path) -> None:
    """Take a file's bytes into a hash of `hashlib`."""
    with open(path, "rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            digest.update(piece)


def progress(rows: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterable[T]:
    """Show a progress bar on standard error, or nothing where that is no terminal."""
    if not sys.stderr.isatty():
        return rows
    from tqdm import tqdm

    return tqdm(rows, desc=what, unit=f" {unit}", total=total, file=sys.stderr, leave=False)


@contextmanager
def needing(path: Path, size: int) -> Iterator[None]:
    """Say of a full disk how many bytes ``path`` needed, where they are known beforehand."""
    try:
        yield
    except DiskFullError as error:
        raise disk_full(path, needed=size) from error
