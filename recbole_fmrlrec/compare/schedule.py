"""Compute the cells of a comparison in several processes, and together with other machines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from recbole_fmrlrec.compare.cell_files import read_result
from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.compare.runners import LOG, Pool, Runner, Running
from recbole_fmrlrec.compare.worker import BUSY, WARNING
from recbole_fmrlrec.console import open_to_append
from recbole_fmrlrec.errors import RunError, UsageError

#: Seconds between two looks at cells that others compute.
WAIT = 5.0


class _Job(NamedTuple):
    """What computes a cell, its start, and where its part of the log begins."""

    cell: Cell
    process: Running
    started: float
    log_from: int


@dataclass
class Schedule:
    """Unfinished cells and the processes that compute them.

    Args:
        cells: what is wanted; those of one key are one run, computed once.
        runner: computes them.
    """

    cells: Sequence[Cell]
    runner: Runner = field(default_factory=Pool)
    failed: dict[str, str] = field(default_factory=dict, init=False)
    _running: dict[str, _Job] = field(default_factory=dict, init=False)

    def run(self) -> dict[str, str]:
        """Compute until every cell is finished or has failed.

        Returns:
            The reason by the key of each cell that failed.
        """
        runs: dict[str, Cell] = {}
        for cell in self.cells:
            runs.setdefault(cell.key, cell)
        waiting = {key: cell for key, cell in runs.items() if not cell.finished}
        done = len(runs) - len(waiting)
        said: set[str] = set()
        with tqdm(total=len(runs), initial=done, unit="cell", desc="compare", disable=None) as bar:
            try:
                while waiting or self._running:
                    self._start_some(waiting, bar, said)
                    time.sleep(self.runner.look if self._running else WAIT if waiting else 0)
                    self._look(waiting, bar)
            finally:
                self.runner.stop()
        return self.failed

    def _start_some(self, waiting: dict[str, Cell], bar: tqdm, said: set[str]) -> None:
        room = self.runner.room
        chosen: list[Cell] = []
        for key, cell in list(waiting.items()):
            if cell.finished:  # by another machine
                bar.write(f"{cell.label}: finished elsewhere", file=sys.stderr)
                bar.update()
                del waiting[key]
            elif cell.lock.is_held():
                if key not in said:
                    said.add(key)
                    bar.write(
                        f"{cell.label}: {cell.lock.owner()} is already computing it",
                        file=sys.stderr,
                    )
            elif len(chosen) < room:
                del waiting[key]
                chosen.append(cell)
        if chosen:
            self._start(chosen)
            bar.set_postfix_str(_labels([job.cell for job in self._running.values()]))

    def _start(self, cells: Sequence[Cell]) -> None:
        begins = [_log_end(cell) for cell in cells]
        processes = self.runner.start(cells)
        for cell, process, begin in zip(cells, processes, begins, strict=True):
            self._running[cell.key] = _Job(cell, process, time.monotonic(), begin)

    def _look(self, waiting: dict[str, Cell], bar: tqdm) -> None:
        for key, job in list(self._running.items()):
            if (code := job.process.poll()) is None:
                continue
            del self._running[key]
            if code == BUSY:
                waiting[key] = job.cell
                continue
            bar.update()
            for line in (*warnings(job.cell.path / LOG, job.log_from), self._outcome(job, code)):
                bar.write(f"{job.cell.label}: {line}", file=sys.stderr)

    def _outcome(self, job: _Job, code: int) -> str:
        cell, log = job.cell, job.cell.path / LOG
        try:
            if code == 0 and cell.finished:
                return f"{time.monotonic() - job.started:.0f} s, {_score(cell)}"
            reason = f"killed by signal {-code}" if code < 0 else last_words(log, job.log_from)
        except RunError as error:
            reason = str(error)
        self.failed[cell.key] = f"{reason} ({log})"
        return "failed"


def _log_end(cell: Cell) -> int:
    """Where the next part of a cell's log begins, after the cell has a folder and a log.

    Raises:
        UsageError: the folder or the log is a link.
    """
    if cell.path.is_symlink():
        raise UsageError(f"{cell.path}: a link; a cell is a folder of its own: remove the link")
    cell.path.mkdir(parents=True, exist_ok=True)
    with open_to_append(cell.path / LOG) as log:
        return log.seek(0, os.SEEK_END)


def _labels(cells: Sequence[Cell], most: int = 3) -> str:
    """Some names of cells, and how many more there are."""
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return ", ".join(cell.label for cell in cells[:most]) + more


def _score(cell: Cell) -> str:
    """The test of the largest size that the tables show."""
    rows = read_result(cell)["test"]
    row = next((row for row in reversed(rows) if row["size"] in cell.shown), rows[-1])
    size = f"size {row['size']}: " if row["size"] else ""
    return size + ", ".join(f"{name} {value:.4f}" for name, value in row["metrics"].items())


def last_words(log: Path, start: int = 0) -> str:
    """The whole message with which a worker ended, however many lines it has; else its last line.

    Args:
        start: where in the log, in bytes, the worker began.
    """
    text = _since(log, start).strip()
    _, error, message = f"\n{text}".rpartition("\nerror: ")
    if not text:
        return "it printed nothing"
    return message.strip() if error else text.splitlines()[-1]


def warnings(log: Path, start: int = 0) -> list[str]:
    """What a worker wants said beside its outcome; ``start`` as in `last_words`."""
    return [line for line in _since(log, start).splitlines() if line.startswith(WARNING)]


def _since(log: Path, start: int) -> str:
    return log.read_bytes()[start:].decode("utf-8", errors="replace")
