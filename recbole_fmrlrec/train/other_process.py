"""What a process of a training does that is not the first one: it writes nothing, and says nothing.

Its run folder is that of the first process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.runs.folder import RunFolder
from recbole_fmrlrec.runs.result import RunResult
from recbole_fmrlrec.train.threads import Threads, use_threads

_WRITING = ("save_dataset", "save_dataloaders", "log_wandb", "show_progress")


class FollowedFolder(RunFolder):
    """The run folder of the first process, for the others: they only read it."""

    def begin(self, config: Any, threads: int | None = None, parent: Any = None) -> None:
        """Nothing: the first process does it."""

    def discard_unstarted(self) -> None:
        """Nothing."""

    def finish(self, result: RunResult) -> None:
        """Nothing."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing."""
        yield

    def logging(self, level: str | None) -> AbstractContextManager[None]:
        """Say nothing; errors end the process and are said where they are caught."""
        root = logging.getLogger()
        if not root.handlers:  # else logging itself would print warnings
            root.addHandler(logging.NullHandler())
        return nullcontext()


def folder_of_first(config: Any, folder: RunFolder | None) -> RunFolder:
    """The run folder in every process.

    Args:
        config: the configuration; in another process than the first it is told to write nothing.
        folder: the first process's; None in the others.

    Raises:
        UsageError: this process has another configuration or other data than the first one.
    """
    if torchrun.size() == 1:
        assert folder is not None
        return folder
    told = torchrun.from_first("" if folder is None else f"{folder.fingerprint} {folder.path}")
    if folder is not None:
        return folder
    fingerprint, path = told.split(" ", 1)
    own = FollowedFolder.at(Path(path), config)
    if own.fingerprint != fingerprint:
        raise UsageError(
            f"process {torchrun.rank()} has another configuration or other data than the first: "
            "all machines need the same command, files and folders"
        )
    for key in _WRITING:
        config[key] = False
    return own


def agreed_threads(take: Callable[[], Threads]) -> Threads:
    """The threads that the first process takes, in every process."""
    if torchrun.is_first():
        threads = take()
        torchrun.from_first(str(threads.count))
        return threads
    return Threads(use_threads(int(torchrun.from_first())), "as the first process")
