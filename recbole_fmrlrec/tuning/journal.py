"""A study as a journal: one file in a folder that all machines share, and no server.

Optuna appends a line for each change, under a lock file beside the journal that it makes with
O_CREAT | O_EXCL and releases by rename and unlink. NFS does all three atomically since version 3
(on NFS 2 it does not; that one is gone from today's kernels). Optuna's other lock, a symbolic link,
is not used: NFS may send the same request twice, and the second answer would say that somebody else
has the lock.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.writable import check_folder

#: How ``--storage`` begins for a journal of any name, and how a journal's name ends.
PREFIX, SUFFIXES = "journal:", (".journal", ".log")
_BEGINS = b'{"op_code":'


def journal_file(storage: str) -> Path | None:
    """The file of ``--storage=journal:PATH`` or ``PATH.journal``; None of another storage.

    Raises:
        UsageError: it names no file.
    """
    if storage.startswith(PREFIX):
        path = storage.removeprefix(PREFIX).removeprefix("//")
        if not path.strip() or path.endswith("/"):
            raise UsageError(f"--storage={storage} names no file, as journal:/shared/study.journal")
        return Path(path)
    return Path(storage) if "://" not in storage and storage.endswith(SUFFIXES) else None


def open_journal(file: Path, look_only: bool = False) -> JournalStorage:
    """The storage in a journal, which is made where there is none.

    Raises:
        UsageError: the file cannot be written, or is no journal.
    """
    if not look_only:
        check_folder(file.parent, "--storage")
    lock = JournalFileOpenLock(str(file))
    try:
        _need_journal(file)
        storage = JournalStorage(JournalFileBackend(str(file), lock))
        if not look_only:
            _drop_unfinished_line(file, lock)
    except OSError as error:
        raise UsageError(f"--storage={file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UsageError(
            f"--storage={file}: line {_first_fault(file)} is no entry of a journal of Optuna's; "
            "name another file, or remove that line if the file is one"
        ) from error
    return storage


def _need_journal(file: Path) -> None:
    """Raise ValueError where a file is there and is something else: nothing is added to it."""
    if file.exists():
        with file.open("rb") as stream:
            if not _BEGINS.startswith(stream.read(len(_BEGINS))):
                raise ValueError("it begins otherwise")


def _drop_unfinished_line(file: Path, lock: JournalFileOpenLock) -> None:
    """Remove the half of a last line that a machine wrote when it died; nobody has read it.

    The next line would be written behind it, and no process could read on from there.
    """
    if _unfinished(file) == 0:
        return
    lock.acquire()
    try:
        if length := _unfinished(file):  # nobody is just writing it: we have the lock
            os.truncate(file, file.stat().st_size - length)
    finally:
        lock.release()


def _unfinished(file: Path) -> int:
    """Bytes after the last line's end, if they are the beginning of an entry."""
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size == 0:
            return 0
        stream.seek(size - 1)
        if stream.read(1) == b"\n":
            return 0
        stream.seek(0)
        tail = stream.read().rpartition(b"\n")[2]
    return len(tail) if tail.startswith(_BEGINS) or _BEGINS.startswith(tail) else 0


def _first_fault(file: Path) -> int:
    """The number of the first line that is no entry, from 1."""
    number = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                if "op_code" not in json.loads(line):
                    return number
            except (ValueError, TypeError):
                return number
    return number
