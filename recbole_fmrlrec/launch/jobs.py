"""Work as jobs of submitit: arrays on a SLURM cluster, or the same way on this machine.

A job calls a function of this package with plain values; submitit writes down their names and
values, and no code. Where SLURM stops a job at its limit of time or for a more urgent one, submitit
queues it again, and the function is called again: cells and trials continue after their last epoch.
Jobs outlive the command that submitted them. It notes which ones there are, and the command given
again waits for those that still wait or run.
"""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recbole_fmrlrec.console import open_to_append
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.files.process import identity, is_here, is_running
from recbole_fmrlrec.launch.gpus import VISIBLE, of_worker
from recbole_fmrlrec.launch.options import for_executor

#: States in which SLURM's accounts have a job that has not ended; of an unknown one they say none.
_OPEN = {"PENDING", "RUNNING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "COMPLETING", "SUSPENDED"}
_OPEN |= {"PREEMPTED", "RESIZING", "READY"}
#: What was submitted, beside submitit's files.
_RECORD = "submitted.json"


@dataclass
class Call:
    """A function of a module and what it is called with, in a process of its own.

    Args:
        function: submitit stores its name.
        environment: variables of the process; None takes one away. torch must not be imported yet.
        log: takes what the process prints, beside submitit's own files where None.
    """

    function: Callable[[Any], Any]
    argument: Any
    environment: dict[str, str | None] = field(default_factory=dict)
    log: Path | None = None

    def __call__(self) -> None:
        """Do the work."""
        for name, value in self.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self.log is not None:
            print(f"everything else goes to {self.log}", flush=True)
            with open_to_append(self.log) as log:
                for stream in (1, 2):
                    os.dup2(log.fileno(), stream)
        self.function(self.argument)

    def checkpoint(self) -> Any:
        """What submitit queues where the job is stopped: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class Submitted:
    """A job that waits, runs or has ended; ``job`` is submitit's, None for one found again."""

    id: str
    stderr: Path
    job: Any = None
    owner: Mapping[str, Any] | None = None

    def ended(self) -> bool:
        """Whether it has: submitit asks SLURM now and then."""
        if self.job is not None:
            return bool(self.job.done())
        return self.owner is None or not is_running(self.owner)

    def cancel(self) -> None:
        """End it."""
        if self.job is not None:
            self.job.cancel(check=False)


@dataclass(frozen=True)
class Launcher:
    """Submits calls.

    Args:
        kind: ``local`` or ``slurm``.
        options: from `checked_options`.
        folder: of submitit's files and of what was submitted; all machines see it.
        gpus: devices to deal, for ``local`` alone.
        visible: what the user's environment shows of the GPUs.
    """

    kind: str
    options: Mapping[str, Any]
    folder: Path
    gpus: tuple[str, ...] = ()
    visible: str | None = field(default_factory=lambda: os.environ.get(VISIBLE))

    @property
    def look(self) -> float:
        """Seconds between two looks at the jobs."""
        return 0.2 if self.kind == "local" else 5.0

    def submit(
        self, calls: Mapping[str, Call], at_once: int | None = None, slots: Sequence[int] = ()
    ) -> dict[str, Submitted]:
        """Submit calls, several as one array; returns the jobs by the same names.

        Args:
            calls: what is to be done, by names that are found again by `open_jobs`.
            at_once: so many jobs of the array at a time; None for no limit.
            slots: of each call, the worker whose device it gets.
        """
        import submitit
        from submitit.helpers import clean_env

        if not calls:
            return {}
        places = slots or range(len(calls))
        for call, slot in zip(calls.values(), places, strict=True):
            call.environment.update(self._devices(slot))
        # A new folder each time: jobs execute what lies there under their number.
        folder = self.folder / f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        folder.mkdir(parents=True)
        executor = submitit.AutoExecutor(
            folder,
            cluster=self.kind,
            **{f"{self.kind}_max_num_timeout": self.options["max_num_timeout"]},
        )
        limit = {} if at_once is None else {"slurm_array_parallelism": at_once}
        executor.update_parameters(**{**for_executor(self.options), **limit})
        with clean_env(), environment(PYTHONPATH=own_path(), **{VISIBLE: self.visible}):
            jobs = executor.submit_array(list(calls.values()))
        found = {
            name: Submitted(job.job_id, job.paths.stderr, job)
            for name, job in zip(calls, jobs, strict=True)
        }
        self._record(found, folder)
        ids = list(dict.fromkeys(job.id.partition("_")[0] for job in found.values()))
        print(
            f"submitted {len(found)} job{'s' * (len(found) > 1)} ({self.kind} {', '.join(ids)}); "
            f"their files are in {folder}",
            file=sys.stderr,
        )
        return found

    def _devices(self, slot: int) -> dict[str, str | None]:
        """submitit's local jobs see no GPU but those that they ask for by ``gpus_per_node``."""
        if self.kind != "local" or "gpus_per_node" in self.options:
            return {}
        return {VISIBLE: self.visible, **of_worker(self.gpus, slot)}

    def _record(self, found: Mapping[str, Submitted], folder: Path) -> None:
        local = self.kind == "local"
        jobs = {
            name: {"id": job.id, "owner": identity(int(job.id)) if local else None}
            for name, job in found.items()
        }
        write_json(folder / _RECORD, {"kind": self.kind, "jobs": jobs})

    def open_jobs(self) -> dict[str, Submitted]:
        """Jobs that an earlier command submitted and that still wait or run, by their names.

        Raises:
            UsageError: the record of them is damaged.
        """
        found = {}
        for file in sorted(self.folder.glob(f"*/{_RECORD}")):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                entries = content["jobs"].items() if content["kind"] == self.kind else []
                still = {name: self._again(entry, file.parent) for name, entry in entries}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(
                    f"{file}: damaged ({type(error).__name__}: {error}); remove it, if no job of "
                    "that command runs any more"
                ) from error
            found.update({name: job for name, job in still.items() if job is not None})
        return found

    def _again(self, entry: Mapping[str, Any], folder: Path) -> Submitted | None:
        """A recorded job, if it has not ended."""
        if self.kind == "local":
            here = entry["owner"] is not None and is_here(entry["owner"])
            if not here or not is_running(entry["owner"]):
                return None
            return Submitted(entry["id"], folder, owner=entry["owner"])
        from submitit.slurm.slurm import SlurmJob

        if not re.fullmatch(r"\d+(_\d+)?", entry["id"]):  # a word of a command
            raise ValueError(f"{entry['id']!r} is not a job number")
        job: Any = SlurmJob(folder, entry["id"], [0])
        if job.state.partition(" ")[0] not in _OPEN:
            return None
        return Submitted(entry["id"], job.paths.stderr, job)

    def leave(self, jobs: Sequence[Submitted]) -> None:
        """After an interruption: local jobs end with the command, those of a cluster go on."""
        still = [job for job in jobs if not job.ended()]
        if self.kind == "local":
            for job in still:
                job.cancel()
        elif still:
            print(
                f"{len(still)} jobs go on; the same command waits for them again, and "
                f"`scancel {' '.join(sorted({job.id.partition('_')[0] for job in still}))}` ends "
                "them",
                file=sys.stderr,
            )


def own_path() -> str:
    """``PYTHONPATH`` with this package: a checkout need not be installed."""
    package = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(path for path in (package, os.environ.get("PYTHONPATH")) if path)


@contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Variables of this process, which jobs inherit; None takes one away."""
    before = {name: os.environ.get(name) for name in values}

    def put(wanted: Mapping[str, str | None]) -> None:
        for name, value in wanted.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    put(values)
    try:
        yield
    finally:
        put(before)
