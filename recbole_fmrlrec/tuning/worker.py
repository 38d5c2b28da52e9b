"""A worker: a process that takes trials of one study until its budget is used up."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from recbole_fmrlrec import compat
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.tuning.beats import Watch, unreachable
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.sampler import SlotSampler, make_pruner
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.study import (
    begun_first,
    numbered,
    open_study,
    outcomes,
    requeue_dead,
    requeue_lost,
    retry,
)
from recbole_fmrlrec.tuning.trial import Objective, drop_checkpoints

#: So many failures, and nothing else, end a command.
FAILURES = 3
_OPEN = (TrialState.RUNNING, TrialState.WAITING)


@dataclass(frozen=True)
class Job:
    """What a worker needs to know; it travels to another process."""

    plan: Plan
    url: str
    command: str
    debug: bool = False
    models: tuple[str, ...] = ()


def work(job: Job, worker: int = 0) -> None:
    """Take trials until the budget is used up and no trial is open any more.

    Raises:
        RunError: the first trials all failed, or the proxy of the storage does not answer.
        KeyboardInterrupt: interrupted; the open trial is back in the queue.
    """
    try:
        _work(job, worker)
    except Exception as error:
        if not unreachable(error):
            raise
        raise RunError(
            f"--storage={job.url} does not answer any more; the same command continues the study"
        ) from error


def _work(job: Job, worker: int) -> None:
    compat.apply()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(job.url)
    study, watch = open_study(storage, job.plan), Watch()
    study.sampler = SlotSampler(job.plan, study)
    study.pruner = make_pruner(job.plan.pruner, job.plan.epochs)
    beats = not isinstance(storage, RDBStorage)  # that has heartbeats of its own
    objective = Objective(job.plan, study, job.command, worker, job.debug, beats)
    failures = 0
    while True:
        requeue_dead(study, watch)
        if may_begin(study, job.plan):
            trial = _run_one(study, objective)
            _tell(study, job.plan, trial)
            failures += trial.state == TrialState.FAIL and "error" in trial.user_attrs
            _stop_if_all_fail(study, failures, trial)
        elif study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            time.sleep(1)  # another worker's: should that die, its trial is for this one
        elif not requeue_lost(study):
            return


def may_begin(study: optuna.Study, plan: Plan) -> bool:
    """Whether a trial waits or the budget has room for one."""
    trials = study.get_trials(deepcopy=False)
    if any(trial.state == TrialState.WAITING for trial in trials):
        return True
    if plan.trials is not None and sum(map(begun_first, trials)) >= plan.trials:
        return False
    return plan.hours is None or hours_used(study) < plan.hours


def hours_used(study: optuna.Study) -> float:
    """Hours of training of all trials together."""
    return sum(t.user_attrs.get("seconds", 0.0) for t in outcomes(study).values()) / 3600


def finished(study: optuna.Study, plan: Plan) -> bool:
    """Whether the budget is used up and no trial is open."""
    return not may_begin(study, plan) and not study.get_trials(deepcopy=False, states=_OPEN)


def _run_one(study: optuna.Study, objective: Objective) -> FrozenTrial:
    objective.number = None
    try:
        study.optimize(objective, n_trials=1, catch=(Exception,))
    except (KeyboardInterrupt, SystemExit):  # a job that is stopped ends by the latter
        if objective.number is not None:
            hand_back(study, objective.number)
        raise
    except (ValueError, UpdateFinishedTrialError):
        # This process was silent for too long (a laptop that slept), and the trial was taken from
        # it; its new owner continues from its last checkpoint.
        if objective.number is None or not numbered(study, objective.number).state.is_finished():
            raise
    assert objective.number is not None
    return numbered(study, objective.number)


def hand_back(study: optuna.Study, number: int) -> None:
    """Put this process's own trial back in the queue: it ends before the trial does."""
    trial = numbered(study, number)
    if trial.state == TrialState.RUNNING:
        trial = study.tell(number, state=TrialState.FAIL)
    if trial.state == TrialState.FAIL:
        retry(study, trial)


def _tell(study: optuna.Study, plan: Plan, trial: FrozenTrial) -> None:
    """Say on standard error how a trial ended, and free the disk of what is not needed."""
    if trial.user_attrs.get("surplus"):
        return
    best = drop_checkpoints(plan, study)
    value = f"{plan.metric} {trial.values[0]:.4f}" if trial.values else "no value"
    parts = [f"trial {trial.user_attrs['place']}: {trial.state.name.lower()}, {value}"]
    parts.append(f"best {best[1].values[0]:.4f}, trial {best[0]}" if best else "none complete yet")
    if "error" in trial.user_attrs:
        parts.append(trial.user_attrs["error"])
    parts.append(
        ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in plan.space.tidy(trial.params).items()
        )
    )
    tqdm.write("; ".join(parts), file=sys.stderr)


def _stop_if_all_fail(study: optuna.Study, failures: int, trial: FrozenTrial) -> None:
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    if failures >= FAILURES and not study.get_trials(deepcopy=False, states=done):
        raise RunError(
            f"{failures} trials failed and none succeeded; the last: "
            f"{trial.user_attrs['error']}. When the cause is gone, --retry_failed runs them again"
        )
