"""What computes cells: processes of the command, or jobs of a launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.compare.worker import BUSY, DONE, FAILED, description, work
from recbole_fmrlrec.console import open_to_append
from recbole_fmrlrec.launch.gpus import of_worker
from recbole_fmrlrec.launch.jobs import Call, Launcher, Submitted, own_path
from recbole_fmrlrec.launch.workers import Workers
from recbole_fmrlrec.train.threads import free_cpus

LOG = "worker.log"
#: Seconds between two looks at the command's own processes.
LOOK = 0.2
#: Seconds that a shared folder may take to show here what a job wrote on another machine.
SETTLES = 60.0
#: Jobs of one array at most.
_ARRAY = 1000


class Running(Protocol):
    """A cell that is being computed."""

    def poll(self) -> int | None:
        """Its exit code, as of `recbole_fmrlrec.compare.worker`; None while it is computed."""
        ...


class Runner(Protocol):
    """Computes cells."""

    @property
    def look(self) -> float:
        """Seconds between two looks at what runs."""
        ...

    @property
    def room(self) -> int:
        """How many cells can be begun now."""
        ...

    def start(self, cells: Sequence[Cell]) -> list[Running]:
        """Begin cells, not more than there is room for."""
        ...

    def stop(self) -> None:
        """End what still runs; waits until it has ended where it is this command's own."""
        ...


def runner(workers: Workers, folder: Path) -> Runner:
    """The runner that a command line asks for; jobs have their files in a folder."""
    launcher = workers.jobs_in(folder)
    return Pool(workers.here, workers.gpus) if launcher is None else Jobs(launcher, workers.count)


@dataclass
class Pool:
    """Processes of this command, on this machine; they end with it."""

    workers: int = 1
    gpus: tuple[str, ...] = ()
    look: float = LOOK
    _processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _cpus: int = field(default_factory=free_cpus, init=False)

    def _free(self) -> list[int]:
        ended = [at for at, process in self._processes.items() if process.poll() is not None]
        for at in ended:
            del self._processes[at]
        return [at for at in range(self.workers) if at not in self._processes]

    @property
    def room(self) -> int:
        """Workers that have nothing to do."""
        return len(self._free())

    def start(self, cells: Sequence[Cell]) -> list[Running]:
        """A process for each cell."""
        begun: list[Running] = []
        for cell, at in zip(cells, self._free(), strict=False):
            self._processes[at] = self._process(cell, at)
            begun.append(self._processes[at])
        return begun

    def _process(self, cell: Cell, worker: int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **of_worker(self.gpus, worker)}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, self._cpus // self.workers)))
        environment["PYTHONPATH"] = own_path()
        with open_to_append(cell.path / LOG) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "recbole_fmrlrec.compare.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )
        assert process.stdin is not None
        job = {**description(cell), "parent": os.getpid()}
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        return process

    def stop(self) -> None:
        """End them."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait()


@dataclass
class Job:
    """A cell that is a job; what became of it is in the cell's folder, whatever SLURM knows."""

    cell: Cell
    submitted: Submitted
    settles: float
    _ended: float | None = None

    def poll(self) -> int | None:
        """As of `Running`."""
        if not self.submitted.ended():
            return None
        if self.cell.finished:
            return DONE
        self._ended = time.monotonic() if self._ended is None else self._ended
        if time.monotonic() - self._ended < self.settles:
            return None
        return BUSY if self.cell.lock.is_held() else FAILED


@dataclass
class Jobs:
    """Jobs of a launcher: arrays of a cluster, where all cells are submitted at once."""

    launcher: Launcher
    workers: int | None = None
    _jobs: dict[int, Job] = field(default_factory=dict, init=False)
    _cpus: int = field(default_factory=free_cpus, init=False)
    _earlier: dict[str, Submitted] | None = field(default=None, init=False)

    @property
    def look(self) -> float:
        """As of `Runner`."""
        return self.launcher.look

    @property
    def _local(self) -> bool:
        return self.launcher.kind == "local"

    def _free(self) -> list[int]:
        self._jobs = {at: job for at, job in self._jobs.items() if job.poll() is None}
        most = (self.workers or 1) if self._local else len(self._jobs) + _ARRAY
        return [at for at in range(most) if at not in self._jobs]

    @property
    def room(self) -> int:
        """Jobs that can be submitted: on this machine one for each worker."""
        return len(self._free())

    def start(self, cells: Sequence[Cell]) -> list[Running]:
        """Submit the cells, but those that an earlier command has submitted."""
        if not cells:
            return []
        if self._earlier is None:
            self._earlier = self.launcher.open_jobs()
        slots = dict(zip((cell.key for cell in cells), self._free(), strict=False))
        new = {cell.key: self._call(cell) for cell in cells if cell.key not in self._earlier}
        places = [slots[key] for key in new]
        found = {**self._earlier, **self.launcher.submit(new, self.workers, places)}
        begun = {c.key: Job(c, found[c.key], 0.0 if self._local else SETTLES) for c in cells}
        for key, job in begun.items():
            self._earlier.pop(key, None)
            self._jobs[slots[key]] = job
        return list(begun.values())

    def _call(self, cell: Cell) -> Call:
        environment: dict[str, str | None] = {}
        if self._local and "OMP_NUM_THREADS" not in os.environ:
            threads = max(1, self._cpus // (self.workers or 1))
            environment["OMP_NUM_THREADS"] = str(threads)
        log = (cell.path / LOG).absolute()
        return Call(work, description(cell), environment, log)

    def stop(self) -> None:
        """Leave them, or end them."""
        self.launcher.leave([job.submitted for job in self._jobs.values()])
