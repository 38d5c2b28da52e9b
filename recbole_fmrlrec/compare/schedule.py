"""Compute the cells of a comparison with several processes, beside other machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from recbole_fmrlrec.compare.cells import RESULT, Cell
from recbole_fmrlrec.compare.worker import BUSY

#: Seconds between two looks at the workers, and at cells that others compute.
LOOK, WAIT = 0.2, 5.0
_LOG = "worker.log"


@dataclass
class Schedule:
    """Unfinished cells and the processes at work on them.

    Args:
        cells: what is wanted.
        workers: processes at a time.
    """

    cells: Sequence[Cell]
    workers: int = 1
    failed: dict[str, str] = field(default_factory=dict, init=False)
    _running: dict[str, tuple[Cell, subprocess.Popen[bytes], float]] = field(
        default_factory=dict, init=False
    )

    def run(self) -> dict[str, str]:
        """Compute until every cell is finished or has failed.

        Returns:
            The reason by the label of each cell that failed.
        """
        waiting = {cell.key: cell for cell in self.cells if not cell.finished}
        done = len(self.cells) - len(waiting)
        said: set[str] = set()
        with tqdm(total=len(self.cells), initial=done, unit="cell", desc="compare") as bar:
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
                    bar.write(f"{cell.label}: {cell.lock.owner()} is at it", file=sys.stderr)
            elif len(self._running) < self.workers:
                del waiting[key]
                self._running[key] = (cell, self._start(cell), time.monotonic())
                bar.set_postfix_str(", ".join(c.label for c, _, _ in self._running.values()))

    def _start(self, cell: Cell) -> subprocess.Popen[bytes]:
        cell.path.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        package = str(Path(__file__).resolve().parents[2])  # a checkout need not be installed
        paths = [package, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        with (cell.path / _LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "recbole_fmrlrec.compare.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )
        assert process.stdin is not None
        job = {"cell": cell.to_json(), "root": str(cell.root), "parent": os.getpid()}
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        return process

    def _look(self, waiting: dict[str, Cell], bar: tqdm) -> None:
        for key, (cell, process, started) in list(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[key]
            if process.returncode == BUSY:
                waiting[key] = cell
                continue
            bar.update()
            bar.write(self._outcome(cell, process.returncode, started), file=sys.stderr)

    def _outcome(self, cell: Cell, code: int, started: float) -> str:
        if code == 0 and cell.finished:
            return f"{cell.label}: {time.monotonic() - started:.0f} s, {_score(cell)}"
        reason = f"killed by signal {-code}" if code < 0 else _last_line(cell.path / _LOG)
        self.failed[cell.label] = f"{reason} ({cell.path / _LOG})"
        return f"{cell.label}: failed, {self.failed[cell.label]}"

    def _stop_all(self) -> None:
        for _, process, _ in self._running.values():
            process.terminate()
        for _, process, _ in self._running.values():
            process.wait()


def _score(cell: Cell) -> str:
    result = json.loads((cell.path / RESULT).read_text(encoding="utf-8"))
    metrics = result["test"][-1]["metrics"]
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"
