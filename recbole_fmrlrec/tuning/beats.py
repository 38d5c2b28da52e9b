"""Signs of life of trials in storages that have none of their own: a shared journal, a gRPC proxy.

Optuna's databases keep a time for each running trial, and any worker can see that it is old. Its
other storages keep nothing: the trial of a machine that was switched off would run for ever. Here a
running trial changes an attribute of its own every `BEAT` seconds, and who has seen the same value
for `SILENCE` seconds by its own clock takes the trial for dead. No two machines' clocks are
compared.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial

#: The attribute of a trial in which it beats.
ATTRIBUTE = "beat"
#: Seconds between two beats, and without one until a trial counts as dead. A beat is a line of the
#: journal: fewer than a database has.
BEAT, SILENCE = 30, 120


def beat(trial: Trial) -> None:
    """Beat once; a beat that does not get through is followed by others."""
    try:
        trial.set_user_attr(ATTRIBUTE, uuid.uuid4().hex[:8])
    except Exception as error:
        # It was taken for dead, and `Study.tell` says so; or the folder does not answer.
        expected = isinstance(error, UpdateFinishedTrialError | KeyError | OSError)
        if not expected and not unreachable(error):
            raise


@contextmanager
def beating(trial: Trial) -> Iterator[None]:
    """Beat now, and every `BEAT` seconds from a thread as long as the block runs."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(BEAT):
            beat(trial)

    beat(trial)
    thread = threading.Thread(target=go_on, name="beats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Watch:
    """The beats that one process has seen, and when it saw each for the first time."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}

    def silent(self, running: Iterable[FrozenTrial]) -> set[int]:
        """The numbers of the running trials that have shown the same beat for too long.

        One that never beat is not judged: it may be a database's, whose own heartbeats are not seen
        through a proxy.
        """
        now, before, self._seen = time.monotonic(), self._seen, {}
        for trial in running:
            if (shown := trial.user_attrs.get(ATTRIBUTE)) is not None:
                last, since = before.get(trial.number, (shown, now))
                self._seen[trial.number] = (shown, since if last == shown else now)
        return {number for number, (_, since) in self._seen.items() if now - since > SILENCE}


def unreachable(error: BaseException | None) -> bool:
    """Whether an error comes from a gRPC proxy that does not answer, whatever was made of it."""
    while error is not None:
        kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
        if "grpc.RpcError" in kinds:
            return True
        error = error.__cause__ or error.__context__
    return False
