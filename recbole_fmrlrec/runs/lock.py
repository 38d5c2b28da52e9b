"""Lock files for machines that share a folder, which survive the crash of their owner.

A lock is a file ``NAME.lock.N``; its owner touches it every few seconds. The owner of the highest N
owns the lock. Somebody who finds that owner dead creates N + 1, which the file system grants to one
only (O_EXCL); nobody ever removes or renames a file that might be another's live lock. An owner
that was asleep and wakes up sees the higher number and stops.

What holds on NFS, from version 3 on: O_CREAT | O_EXCL is atomic, and a request that is sent twice
succeeds once; unlink is atomic; a touch without a time sets the server's. There is no flock, which
NFS knows of late or not at all. What does not hold at once are listings and times of other
machines' files, which a client may keep for up to a minute. Hence: `STALE` is more than that and
`BEAT` together; who has created a file lists the folder again, and sees what is there, since a
change of its own makes a client ask; and who finds itself overtaken looks twice, since another one
that went by an old listing takes its file away again.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

from recbole_fmrlrec.files.process import is_here, is_running, this_process

#: Seconds between two touches of a lock by its owner.
BEAT = 15.0
#: Seconds between the two looks of an owner that finds itself overtaken.
AGAIN = 1.0
#: Seconds without a touch after which an owner on another machine counts as dead.
STALE = 180.0


@dataclass
class Lock:
    """The lock ``NAME.lock.N`` beside ``path``.

    Args:
        path: what is locked; the lock's files are beside it.
        stale: seconds without a touch after which another machine's lock is taken over.
    """

    path: Path
    stale: float = STALE
    number: int = field(default=0, init=False)
    _stop: Event = field(default_factory=Event, init=False)

    def acquire(self) -> bool:
        """Take the lock unless a live process has it.

        Returns:
            Whether it is ours now.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        highest = max(self._numbers(), default=0)
        if highest and self._alive(self._file(highest)):
            return False
        number = highest + 1
        try:
            handle = os.open(self._file(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(this_process(), file)
        # Between our look and our file others may have come and gone: look again.
        others = [other for other in self._numbers() if other != number]
        if any(other > number or self._alive(self._file(other)) for other in others):
            self._file(number).unlink(missing_ok=True)
            return False
        self.number = number
        return True

    def is_held(self) -> bool:
        """Whether a live process has the lock, this one included."""
        highest = max(self._numbers(), default=0)
        return bool(highest) and self._alive(self._file(highest))

    def still_ours(self) -> bool:
        """Whether this process still has the lock."""
        numbers = self._numbers()
        return self.number in numbers and max(numbers) == self.number

    def keep(self, lost: Callable[[], None], beat: float = BEAT) -> None:
        """Touch the lock from a thread until `release`; ``lost`` is called if another has it."""
        self._stop = Event()
        Thread(target=self._beats, args=(self._stop, lost, beat), daemon=True).start()

    def _beats(self, stop: Event, lost: Callable[[], None], beat: float) -> None:
        while not stop.wait(beat):
            try:
                ours = self.still_ours()
                if ours:
                    os.utime(self._file(self.number))
            except FileNotFoundError:
                ours = False
            except OSError:  # a shared folder that does not answer: perhaps at the next beat
                continue
            if not ours and not stop.wait(min(beat, AGAIN)) and not self.still_ours():
                lost()
                return

    def release(self) -> None:
        """Release the lock, and remove those of earlier owners that are dead."""
        self._stop.set()
        for number in sorted(self._numbers()):
            if number <= self.number:
                self._file(number).unlink(missing_ok=True)
        self.number = 0

    def owner(self) -> str:
        """Who has it, for a message."""
        owner = _read(self._file(max(self._numbers(), default=0)))
        return f"process {_word(owner.get('pid', '?'))} on {_word(owner.get('host', '?'))}"

    def _numbers(self) -> list[int]:
        pattern = re.compile(re.escape(self.path.name) + r"\.lock\.(\d+)")
        try:
            names = os.listdir(self.path.parent)
        except FileNotFoundError:
            return []
        return [int(found.group(1)) for name in names if (found := pattern.fullmatch(name))]

    def _file(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.lock.{number}")

    def _alive(self, file: Path) -> bool:
        owner = _read(file)
        if is_here(owner):
            return is_running(owner)
        try:
            touched = file.stat().st_mtime
        except FileNotFoundError:
            return False
        return self._now() - touched < self.stale

    def _now(self) -> float:
        """The time by the clock of the folder, not by this machine's."""
        probe = self.path.with_name(f".clock-{uuid.uuid4().hex}")
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:
            return time.time()
        finally:
            probe.unlink(missing_ok=True)


def _word(value: object) -> str:
    """A part of a lock for a message; the lock may be anybody's."""
    return "".join(letter for letter in str(value)[:100] if letter.isprintable())


def _read(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file():  # a pipe would be waited for
            return {}
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # gone, or its owner is just writing it
        return {}
    return content if isinstance(content, dict) else {}
