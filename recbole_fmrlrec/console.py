"""What is shown of a run while it lasts; everything else is in ``run.log`` only.

RecBole logs through the root logger: its lines, with the text of dataset and model, go to the file.
What is said here by `say`, and every warning, goes to standard error as well.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from recbole_fmrlrec.errors import UsageError

_LOGGER = "recbole_fmrlrec.console"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# How RecBole's trainers begin the lines in which they count epochs, from 0.
_EPOCH = re.compile(r"^(epoch |Finished training, best eval result in epoch )(\d+)")


def open_to_append(file: Path) -> IO[str]:
    """A text file to append to; it must be a plain file, not a link to one.

    Raises:
        UsageError: it is a link, a folder or a pipe.
    """
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise UsageError(
            f"{file}: a link or not a plain file; nothing is appended to it: remove it"
        )
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(file, flags, 0o666), "a", encoding="utf-8")


def say(line: str) -> None:
    """Show a line on the screen; it is in the log as well."""
    logging.getLogger(_LOGGER).info(line)


class LogFormatter(logging.Formatter):
    """Time, level, message without colours; epochs counted from 1."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        plain = _COLOUR.sub("", record.message)
        if record.name != _LOGGER:
            plain = _EPOCH.sub(lambda found: f"{found[1]}{int(found[2]) + 1}", plain)
        record.message = plain
        return super().formatMessage(record)


class _ScreenFormatter(logging.Formatter):
    """The message alone; warnings are marked as such."""

    def format(self, record: logging.LogRecord) -> str:
        message = _COLOUR.sub("", record.getMessage())
        if record.levelno < logging.WARNING:
            return message
        return f"{record.levelname.lower()}: {message}"


def _for_screen(record: logging.LogRecord) -> bool:
    return record.name == _LOGGER or record.levelno >= logging.WARNING


class _LogFile(logging.FileHandler):
    """A log that loses lines on a full disk, says so once, and never ends the run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self._said = False

    def _open(self) -> Any:
        """The file itself: a link in a stranger's run folder would append to another one."""
        return open_to_append(Path(self.baseFilename))

    def handleError(self, record: logging.LogRecord) -> None:
        """Say what went wrong, the first time."""
        if not self._said:
            self._said = True
            print(f"warning: {self.baseFilename}: {sys.exc_info()[1]}", file=sys.stderr)

    def close(self) -> None:
        """Close the file; what a full disk does not take is lost."""
        try:
            super().close()
        except OSError:
            self.stream = None


class _Screen(logging.StreamHandler):
    """Standard error, which may be a pipe whose reader has gone."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: there is nobody to tell."""


@contextmanager
def run_log(file: Path, level: str | None) -> Iterator[None]:
    """Log to ``file`` while the run lasts, and what users should see to standard error.

    Args:
        level: the least level that is logged; INFO when None.
    """
    root = logging.getLogger()
    before = root.level
    screen, log = _Screen(sys.stderr), _LogFile(file)
    screen.setFormatter(_ScreenFormatter())
    screen.addFilter(_for_screen)
    log.setFormatter(LogFormatter())
    root.addHandler(screen)
    root.addHandler(log)
    root.setLevel((level or "INFO").upper())
    try:
        yield
    finally:
        root.setLevel(before)
        for handler in (screen, log):
            root.removeHandler(handler)
            handler.close()
