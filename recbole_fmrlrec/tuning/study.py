"""The stored study: its definition, the slot of each trial, trials whose process has died."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dataset_tools.differences import changed_entries
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.process import is_here, is_running
from recbole_fmrlrec.tuning.beats import ATTRIBUTE as BEAT
from recbole_fmrlrec.tuning.beats import Watch
from recbole_fmrlrec.tuning.plan import FINGERPRINT, Plan

#: Seconds between two signs of life of a trial in a database, and without one until it is dead.
HEARTBEAT, GRACE = 15, 60
#: How often a trial is resumed: one that kills its process would never end.
MAX_RETRIES = 10

DEFINITION = "definition"


@contextmanager
def without_experimental_warnings() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats and the like may change; its version is pinned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def open_study(storage: BaseStorage, plan: Plan) -> optuna.Study:
    """The plan's study, made where there is none.

    Raises:
        UsageError: there is one of another definition; the message has the differences.
    """
    direction = StudyDirection.MAXIMIZE if plan.maximize else StudyDirection.MINIMIZE
    try:
        study = optuna.create_study(storage=storage, study_name=plan.study, direction=direction)
        with without_experimental_warnings():
            study.set_metric_names([plan.metric])
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=plan.study)
    stored, wanted = study.user_attrs.get(DEFINITION), plan.definition()
    if stored is None:
        study.set_user_attr(DEFINITION, wanted)
    elif _rounded(stored) != _rounded(wanted):
        found = differences(stored, wanted)
        # The fingerprint differs wherever anything does: it counts where nothing else is found.
        found = [line for line in found if not line.startswith(FINGERPRINT)] or found
        lines = "\n  ".join(found)
        raise UsageError(
            f"the study `{plan.study}` was made by another file:\n  {lines}\n"
            "Its trials cannot be compared with new ones: undo that, or give --study=NEW_NAME"
        )
    return study


def _rounded(value: Any) -> Any:
    """Numbers to 12 digits: studies were stored with ends such as 0.30000000000000004 for 0.3."""
    if isinstance(value, dict):
        return {key: _rounded(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(below) for below in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """A line for each entry in which two definitions differ."""
    changed = changed_entries(stored, wanted, lambda a, b: _rounded(a) == _rounded(b))
    return [f"{key}: {before} in the study, {now} now" for key, before, now in changed]


# Slots of the budget. Trials have numbers in the order in which they are made, which the database
# hands out one at a time; a trial that is resumed is a new one for Optuna. Its slot, stored in the
# attribute "place", is that of the first.


def slot_of(study: optuna.Study, trial: FrozenTrial) -> int:
    """How many other trials were begun before this one was begun for the first time."""
    if "place" in trial.user_attrs:
        return int(trial.user_attrs["place"])
    first = trial.system_attrs.get("failed_trial", trial.number)
    trials = study.get_trials(deepcopy=False)
    return sum(begun_first(other) and other.number < first for other in trials)


def numbered(study: optuna.Study, number: int) -> FrozenTrial:
    """The stored trial with Optuna's number ``number``."""
    return next(t for t in study.get_trials(deepcopy=False) if t.number == number)


def begun_first(trial: FrozenTrial) -> bool:
    """Whether a trial is neither a resumed one nor one beyond the budget."""
    return "failed_trial" not in trial.system_attrs and not trial.user_attrs.get("surplus")


def outcomes(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The latest trial of each slot, by slot."""
    found = {}
    for trial in sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number):
        if "place" in trial.user_attrs and not trial.user_attrs.get("surplus"):
            found[int(trial.user_attrs["place"])] = trial
    return dict(sorted(found.items()))


def best_of(study: optuna.Study, maximize: bool) -> tuple[int, FrozenTrial] | None:
    """Slot and trial of the best value, the earliest among equals."""
    return best_among(outcomes(study), maximize)


def best_among(trials: Mapping[int, FrozenTrial], maximize: bool) -> tuple[int, FrozenTrial] | None:
    """The same, of trials by slot."""
    sign = -1 if maximize else 1
    done = [
        (sign * trial.values[0], slot, trial)
        for slot, trial in trials.items()
        if trial.state == TrialState.COMPLETE
    ]
    return min(done, key=lambda item: item[:2])[1:] if done else None


# Dead trials.


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Put a trial whose process has died back in the queue, with its slot, values and curve."""
    kept = copy.copy(trial)
    # With the dead owner's name on it, the new trial would be taken for dead as soon as it runs.
    gone = ("owner", "error", BEAT)
    kept.user_attrs = {key: v for key, v in trial.user_attrs.items() if key not in gone}
    with without_experimental_warnings():
        RetryHeartbeatStaleTrialCallback(MAX_RETRIES, inherit_intermediate_values=True)(study, kept)


def _is_dead(trial: FrozenTrial) -> bool:
    """Whether the process of a running trial is known to be gone, without waiting for its pulse."""
    owner = trial.user_attrs.get("owner")
    if owner is None:  # perhaps killed before it could say who it was
        begun = trial.datetime_start
        return begun is not None and time.time() - begun.timestamp() > GRACE
    return is_here(owner) and not is_running(owner)


def requeue_dead(study: optuna.Study, watch: Watch) -> None:
    """Put trials that died back in the queue: processes of this machine, and silent ones."""
    with without_experimental_warnings():
        optuna.storages.fail_stale_trials(study)  # those of a database, by its own heartbeats
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    silent = watch.silent(running)
    for trial in running:
        if trial.number not in silent and not _is_dead(trial):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            continue  # another worker was faster, and queues it
        retry(study, trial)


def requeue_lost(study: optuna.Study) -> bool:
    """Queue trials that were marked as dead by a process that died before it could queue them.

    Only to be called when nothing runs. Returns whether there was one.
    """
    lost = [
        trial
        for trial in outcomes(study).values()
        if trial.state == TrialState.FAIL
        and "error" not in trial.user_attrs
        and len(trial.system_attrs.get("retry_history", [])) < MAX_RETRIES
    ]
    for trial in lost:
        retry(study, trial)
    return bool(lost)
