"""Compute the cells of a comparison in several processes, and together with other machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from recbole_fmrlrec.compare.cell_files import read_result
from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.compare.worker import BUSY, WARNING
from recbole_fmrlrec.console import open_to_append
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.model_api import outside
from recbole_fmrlrec.train.threads import free_cpus

#: Seconds between two looks at the workers, and at cells that others compute.
LOOK, WAIT = 0.2, 5.0
_LOG = "worker.log"


class _Job(NamedTuple):
    """A process that computes a cell, its start, and where its part of the log begins."""

    cell: Cell
    process: subprocess.Popen[bytes]
    started: float
    log_from: int


@dataclass
class Schedule:
    """Unfinished cells and the processes that compute them.

    Args:
        cells: what is wanted; those of one key are one run, computed once.
        workers: processes at a time.
    """

    cells: Sequence[Cell]
    workers: int = 1
    failed: dict[str, str] = field(default_factory=dict, init=False)
    _running: dict[str, _Job] = field(default_factory=dict, init=False)
    _cpus: int = field(default_factory=free_cpus, init=False)

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
                    time.sleep(LOOK if self._running else WAIT if waiting else 0)
                    self._look(waiting, bar)
            finally:
                self._stop_all()
        return self.failed

    def _start_some(self, waiting: dict[str, Cell], bar: tqdm, said: set[str]) -> None:
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
            elif len(self._running) < self.workers:
                del waiting[key]
                self._running[key] = self._start(cell)
                bar.set_postfix_str(", ".join(job.cell.label for job in self._running.values()))

    def _start(self, cell: Cell) -> _Job:
        if cell.path.is_symlink():
            raise UsageError(f"{cell.path}: a link; a cell is a folder of its own: remove the link")
        cell.path.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(max(1, self._cpus // self.workers)))
        package = str(Path(__file__).resolve().parents[2])  # a checkout need not be installed
        paths = [package, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        with open_to_append(cell.path / _LOG) as log:
            log_from = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [sys.executable, "-m", "recbole_fmrlrec.compare.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )
        assert process.stdin is not None
        job = {"cell": cell.to_json(), "root": str(cell.root), "parent": os.getpid()}
        job["models"] = outside.specs()
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        return _Job(cell, process, time.monotonic(), log_from)

    def _look(self, waiting: dict[str, Cell], bar: tqdm) -> None:
        for key, job in list(self._running.items()):
            if job.process.poll() is None:
                continue
            del self._running[key]
            if job.process.returncode == BUSY:
                waiting[key] = job.cell
                continue
            bar.update()
            for line in (*warnings(job.cell.path / _LOG, job.log_from), self._outcome(job)):
                bar.write(f"{job.cell.label}: {line}", file=sys.stderr)

    def _outcome(self, job: _Job) -> str:
        cell, code, log = job.cell, job.process.returncode, job.cell.path / _LOG
        try:
            if code == 0 and cell.finished:
                return f"{time.monotonic() - job.started:.0f} s, {_score(cell)}"
            reason = f"killed by signal {-code}" if code < 0 else last_words(log, job.log_from)
        except RunError as error:
            reason = str(error)
        self.failed[cell.key] = f"{reason} ({log})"
        return "failed"

    def _stop_all(self) -> None:
        for job in self._running.values():
            job.process.terminate()
        for job in self._running.values():
            job.process.wait()


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
