"""Remove unreadable files of an unfinished run, so that it can be continued."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation.list_record import TEST_LISTS, ListRecord
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS, RankRecord
from recbole_fmrlrec.runs.folder import BEST, CONFIG, LAST, RESULT, RunFolder
from recbole_fmrlrec.runs.result import RunResult


def remove_damaged(folder: Path) -> list[str]:
    """Remove what a crash, a full disk or a copy has left unreadable, and what depends on it.

    Then the run can be continued: from its last checkpoint, or from its beginning if a checkpoint
    was damaged. Only for a process that holds the run's lock.

    Args:
        folder: of the run; it need not be there.

    Returns:
        For each damaged file a warning that says what becomes of the run.

    Raises:
        Exception: a file could not be read for want of memory, or because the disk or its rights
            did not let it: that says nothing of its content, and nothing is removed.
    """
    readers: dict[str, Callable[[Path], Any]] = {
        CONFIG: lambda file: RunFolder.open(file.parent),
        RESULT: _load_result,
        TEST_RANKS: RankRecord.load,
        TEST_LISTS: ListRecord.load,
        BEST: _load_checkpoint,
        LAST: _load_checkpoint,
    }
    faults = {
        name: fault for name, read in readers.items() if (fault := _fault(folder, name, read))
    }
    for name in faults:
        _remove(folder, _with_dependents(name))
    goes_on = (folder / LAST).is_file()
    return [
        f"{folder / name}: damaged ({fault}); {_becomes(name, goes_on)}"
        for name, fault in faults.items()
    ]


def _with_dependents(name: str) -> Sequence[str]:
    """A file, and the others that are of no use without it."""
    if name == CONFIG:
        return [CONFIG]
    if name == TEST_LISTS:  # the trained model makes others
        return [TEST_LISTS]
    of_test = [RESULT, TEST_RANKS]
    return of_test if name in of_test else [*of_test, BEST, LAST]


def _becomes(name: str, goes_on: bool) -> str:
    if name == CONFIG:
        return "it is written again"
    if name == TEST_LISTS:
        return "they are made again"
    return "the test is run again" if goes_on else "the training starts from the beginning"


def _fault(folder: Path, name: str, read: Callable[[Path], Any]) -> str | None:
    file = folder / name
    if not file.is_file():
        return None
    try:
        read(file)
    except Exception as error:  # damaged bytes make a reader raise almost anything
        if _not_of_content(error.__cause__ or error.__context__ or error):
            raise
        if isinstance(error, RunError):
            return str(error).removeprefix(f"{file}: ")
        cause = error.__cause__ or error  # what we raise ourselves has advice for another command
        return f"{type(cause).__name__}: {cause}"
    return None


def _not_of_content(error: BaseException) -> bool:
    """Whether an error is the machine's; a wrong offset in damaged bytes is an invalid argument."""
    if isinstance(error, OSError):
        return error.errno not in (None, errno.EINVAL)
    return isinstance(error, MemoryError)


def _load_result(file: Path) -> None:
    RunResult.from_json(json.loads(file.read_text(encoding="utf-8")), file.parent)


def _load_checkpoint(file: Path) -> None:
    from recbole_fmrlrec.files.checkpoint import load_checkpoint

    load_checkpoint(file)


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
