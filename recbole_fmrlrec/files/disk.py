"""What to say when a file cannot be written: no room, or a place that takes no files."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from recbole_fmrlrec.errors import RunError, UsageError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_FILES = {errno.EROFS, errno.EACCES, errno.EPERM}
# What is left of the system's answer in the words of libraries that write files by themselves:
# safetensors, torch (whose writer stumbles over its own position afterwards), sqlite.
_IN_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|os error (28|122|27)\b"
    r"|enforce fail at inline_container|PytorchStreamWriter failed|database or disk is full"
)


class NoRoom(RunError):
    """The disk, a quota or a limit leaves no room for a file."""


def is_no_room(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that there is no room on the disk."""
    for one in _chain(error):
        if isinstance(one, NoRoom) or (isinstance(one, OSError) and one.errno in _NO_ROOM):
            return True
        if isinstance(one, OSError) and one.errno is not None:
            continue
        if _IN_WORDS.search(str(one)):
            return True
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def write_error(path: Path, error: BaseException, needed: int | None) -> Exception | None:
    """The error to raise in place of another one, with which writing ``path`` has failed.

    Args:
        needed: bytes of the whole file, where they are known.

    Returns:
        None where the error is not one of the place.
    """
    if isinstance(error, NoRoom | UsageError):
        return None
    if is_no_room(error):
        return no_room(path, needed)
    if isinstance(error, OSError) and error.errno in _NO_FILES:
        return UsageError(
            f"cannot write {path.absolute()}: {error.strerror}; choose another folder "
            "(--checkpoint_dir, --data_path and --output set where files go)"
        )
    return None


def path_error(error: Exception) -> Exception | None:
    """What to say in place of an error of the system that names the file it stumbled over."""
    if not (isinstance(error, OSError) and isinstance(error.filename, str)):
        return None
    return write_error(Path(error.filename), error, None)


def no_room(path: Path, needed: int | None) -> NoRoom:
    """The error of a file for which there is no room, with what it needs and what is free."""
    need = f"it needs {readable(needed)}, " if needed else ""
    return NoRoom(f"{path.absolute()}: not enough disk space: {need}{_free(path.parent)}")


def _free(folder: Path) -> str:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "the disk is full"
    return f"{readable(free)} are free (a quota or a limit of file sizes may allow less)"


def readable(count: int) -> str:
    """Bytes in a readable unit: 999 bytes, 1.5 kB, 27.3 MB."""
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
