"""Signs of life of trials in storages that have none of their own: a shared journal, a gRPC proxy.

Optuna's databases keep a time for each running trial, and any worker can see that it is old. Its
other storages keep nothing: the trial of a machine that was switched off would run for ever. Here a
running trial changes an attribute of its own every `BEAT` seconds, and who has seen the same value
for `SILENCE` seconds by its own clock takes the trial for dead. No two machines' clocks are
compared.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage
from optuna.storages._heartbeat import BaseHeartbeat  # public by no other name; pinned
from optuna.trial import FrozenTrial, TrialState

#: The attribute of a trial in which it beats.
ATTRIBUTE = "beat"
#: Seconds between two beats, and without one until a trial counts as dead. A beat is a line of the
#: journal: fewer than a database has.
BEAT, SILENCE = 30, 120

Callback = Callable[[optuna.Study, FrozenTrial], None]


class AttributeBeats(BaseHeartbeat, BaseStorage):
    """Optuna's heartbeats, kept in an attribute of each trial; before a storage that has none.

    Attributes:
        when_dead: is called with each trial that was found dead.
    """

    when_dead: Callback | None = None

    def record_heartbeat(self, trial_id: int) -> None:
        """Beat once; a beat that does not get through is followed by others."""
        try:
            self.set_trial_system_attr(trial_id, ATTRIBUTE, uuid.uuid4().hex[:8])
        except Exception as error:
            # It was taken for dead, and `Study.tell` says so; or the folder does not answer.
            expected = isinstance(error, UpdateFinishedTrialError | KeyError | OSError)
            if not expected and not unreachable(error):
                raise

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """The running trials that have been silent too long since this process first looked.

        One that never beat is not judged by beats: it may be another storage's, whose own
        heartbeats are not seen through a proxy.
        """
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        now, before, seen = time.monotonic(), self.__dict__.get("_seen", {}), {}
        for trial in running:
            if (beat := trial.system_attrs.get(ATTRIBUTE)) is not None:
                last, since = before.get(trial._trial_id, (beat, now))
                seen[trial._trial_id] = (beat, since if last == beat else now)
        self.__dict__["_seen"] = seen
        return [trial for trial, (_, since) in seen.items() if now - since > SILENCE]

    def get_heartbeat_interval(self) -> int:
        """Seconds between two beats."""
        return BEAT

    def get_heartbeat_stale_trial_callback(self) -> Callback | None:
        """What is done with a dead trial."""
        return self.when_dead


class BeatingJournal(AttributeBeats, JournalStorage):
    """A journal in a shared folder."""


class BeatingProxy(AttributeBeats, GrpcStorageProxy):
    """A client of a gRPC proxy."""


def begin_beating(study: optuna.Study, trial: optuna.Trial) -> None:
    """Beat before anything else is said of a trial: what has an owner has beaten."""
    if isinstance(study._storage, AttributeBeats):
        study._storage.record_heartbeat(trial._trial_id)


def without_beat(attributes: dict[str, Any]) -> dict[str, Any]:
    """System attributes that a resumed trial inherits: not the last beat of the dead one."""
    return {key: value for key, value in attributes.items() if key != ATTRIBUTE}


def unreachable(error: BaseException | None) -> bool:
    """Whether an error comes from a gRPC proxy that does not answer, whatever was made of it."""
    while error is not None:
        kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
        if "grpc.RpcError" in kinds:
            return True
        error = error.__cause__ or error.__context__
    return False
