"""Workers of one study together: processes of the command, or jobs of a launcher."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.files.process import end_with
from recbole_fmrlrec.launch.gpus import of_worker
from recbole_fmrlrec.launch.jobs import Call, Launcher, Submitted, environment
from recbole_fmrlrec.launch.workers import Workers
from recbole_fmrlrec.model_api import outside
from recbole_fmrlrec.train.threads import free_cpus, wait_passively
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.study import open_study, outcomes
from recbole_fmrlrec.tuning.worker import Job, finished, work

#: Where jobs of a launcher have their files, below the study's folder.
JOBS = "jobs"


def work_together(job: Job, workers: Workers) -> None:
    """Run workers, each a process or a job; returns when all have ended.

    Raises:
        RunError: none of them came to its end.
        KeyboardInterrupt: interrupted; they have put their trials back.
    """
    launcher = workers.jobs_in(job.plan.output / JOBS)
    if launcher is not None:
        return work_as_jobs(job, workers.here, launcher)
    if workers.here == 1:
        os.environ.update(of_worker(workers.gpus, 0))
        return work(job)
    job = _for_others(job, workers.here)
    context = multiprocessing.get_context("spawn")
    processes: list[Any] = [
        context.Process(target=_child, args=(job, worker), name=f"worker {worker}")
        for worker in range(workers.here)
    ]
    _run_all(processes, workers.gpus)
    for process in processes:
        if process.exitcode < 0:
            tqdm.write(f"{process.name} was killed by signal {-process.exitcode}", file=sys.stderr)
    if all(process.exitcode for process in processes):
        raise RunError("no worker finished; run the same command again to continue the study")


def _for_others(job: Job, workers: int) -> Job:
    """The job as other processes of this machine need it."""
    return replace(_with_threads(job, workers), models=tuple(outside.specs()))


def _with_threads(job: Job, workers: int) -> Job:
    """The job with the machine's threads shared out, where nothing says how many."""
    if "num_threads" in job.plan.settings:
        return job
    threads = max(1, free_cpus() // workers)
    settings = {**job.plan.settings, "num_threads": threads}
    return replace(job, plan=replace(job.plan, settings=settings))


def _run_all(processes: Sequence[Any], gpus: tuple[str, ...] = ()) -> None:
    """Start processes and wait for them; whatever ends the waiting ends them too."""
    try:
        for worker, process in enumerate(processes):
            with environment(**of_worker(gpus, worker)):  # before anything there is imported
                process.start()
        for process in processes:
            process.join()
    except BaseException:
        begun = [process for process in processes if process.pid is not None]
        for process in begun:
            process.terminate()
        for process in begun:
            process.join()
        raise


def _child(job: Job, worker: int) -> None:
    # The terminal sends Ctrl-C to all; one interruption, the parent's, is enough.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    parent = multiprocessing.parent_process()
    assert parent is not None
    end_with(parent.is_alive)
    try:
        _work_there(job, worker)
    except KeyboardInterrupt:
        sys.exit(130)
    except RunError as error:
        tqdm.write(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _work_there(job: Job, worker: int) -> None:
    from recbole_fmrlrec.config.model_names import model_name

    for spec in job.models:
        model_name(spec)
    work(job, worker)


# Workers as jobs.


def work_as_jobs(job: Job, count: int, launcher: Launcher) -> None:
    """Submit workers, but those that an earlier command has submitted, and wait for them.

    Raises:
        KeyboardInterrupt: interrupted; the jobs are left, or ended.
    """
    local = launcher.kind == "local"
    job = _for_others(job, count) if local else replace(job, models=tuple(outside.specs()))
    earlier = launcher.open_jobs()
    names = [f"worker {number}" for number in range(count)]
    calls = {
        name: Call(work_in_job, (job, number))
        for number, name in enumerate(names)
        if name not in earlier
    }
    slots = [names.index(name) for name in calls]
    jobs = {**earlier, **launcher.submit(calls, slots=slots)}
    study = open_study(open_storage(job.url), job.plan)
    try:
        _wait_for(jobs, study, job.plan, launcher.look)
    except BaseException:
        launcher.leave(list(jobs.values()))
        raise
    for name, submitted in jobs.items():
        if not submitted.ended():
            submitted.cancel()  # it waits in a queue, or has just found nothing left to do
        elif not finished(study, job.plan):
            tqdm.write(f"{name} ended; see {submitted.stderr}", file=sys.stderr)


def _wait_for(jobs: Mapping[str, Submitted], study: optuna.Study, plan: Plan, look: float) -> None:
    """Show how far the study is until it is finished, or no job is left."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    with tqdm(total=plan.trials, unit="trial", desc=plan.study, disable=None) as bar:
        while True:
            left = any(not submitted.ended() for submitted in jobs.values())
            done = [trial for trial in outcomes(study).values() if trial.state in ended]
            bar.update(len(done) - bar.n)
            if not left or finished(study, plan):
                return
            time.sleep(max(look, 1.0))


def work_in_job(argument: tuple[Job, int]) -> None:
    """A worker that is a job of its own.

    Raises:
        RunError: the first trials all failed.
    """
    wait_passively()
    _work_there(*argument)
