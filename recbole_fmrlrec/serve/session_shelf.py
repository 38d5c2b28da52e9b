"""The sessions of one model in memory: a fixed number of places, the least recently used goes."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.serve.models import Served
from recbole_fmrlrec.serve.session_record import record_of, state_of


@dataclass
class Held:
    """A session in memory.

    Attributes:
        history: the latest events that the model knows, the oldest first.
        events: events so far.
        used: time of the last event, seconds since 1970.
        slot: its place in the model's states; None while its events must be read again.
    """

    history: deque[str]
    events: int
    used: float
    slot: int | None = None


class Shelf:
    """All sessions of one model and size.

    States lie in one block of memory that is allocated once, so that it does not grow.

    Args:
        served: the model.
        capacity: places.
    """

    def __init__(self, served: Served, capacity: int) -> None:
        self.capacity = capacity
        self.held: OrderedDict[str, Held] = OrderedDict()
        self.renew(served)

    def renew(self, served: Served) -> None:
        """Go over to a new version: every session reads its events again when it is next used."""
        self.served = served
        self._sessions = served.recommender.sessions(self.capacity)
        self._sessions.seen = [None] * self.capacity  # `history` is what is known
        self._blank = self._sessions.state_dict(0, seen=False)
        self._free = list(range(self.capacity))
        for held in self.held.values():
            held.slot = None

    def put(self, name: str, held: Held) -> str | None:
        """Take in a session; the name of the one that had to go, if one had to."""
        gone = next(iter(self.held)) if len(self.held) >= self.capacity else None
        if gone is not None:
            self.drop(gone)
        self.held[name] = held
        return gone

    def drop(self, name: str) -> bool:
        """Let a session go; whether it was there."""
        held = self.held.pop(name, None)
        if held is not None and held.slot is not None:
            self._free.append(held.slot)
        return held is not None

    def restore(self, held: Held, record: Mapping[str, Any] | None) -> bool:
        """Give a session its place: from its record, or to read its events again.

        Returns:
            Whether its events are to be read again.

        Raises:
            Refused: the record's arrays are not those of this model.
            DeployError: its numbers are impossible.
        """
        state = dict(self._blank)
        # The version covers the item table as well, which the events were read with.
        fits = record is not None and record["version"] == self.served.version
        # Packages of an earlier version wrote another hash for the same model.
        fits = fits and record is not None and record["parameters"] == self._blank["model"]
        if record is not None and fits:
            state = state_of(record, self._blank)
        slot = self._free[-1]
        self._sessions.load_state_dict(slot, {**state, "seen": None})
        held.slot = self._free.pop()
        return not fits

    def known(self, items: Sequence[str]) -> tuple[list[str], list[str]]:
        """Items of the model, as the very texts that its table holds, and the others."""
        table = self.served.recommender.items
        rows, missing = table.rows(items, "skip")
        return [table.ids[row - 1] for row in rows], missing

    def feed(self, events: Sequence[tuple[Held, Sequence[str]]]) -> None:
        """Read known items into sessions, each at most once in the list, all side by side."""
        for step in range(max((len(items) for _, items in events), default=0)):
            now = [(held.slot, items[step]) for held, items in events if step < len(items)]
            slots = [slot for slot, _ in now if slot is not None]
            self._sessions.update([item for _, item in now], slots, unknown="error")

    def top(self, held: Sequence[Held], k: int, options: Mapping[str, Any]) -> list[Any]:
        """Recommendations for some sessions, or the DeployError that there is in their place."""
        slots = [one.slot for one in held if one.slot is not None]
        for one, slot in zip(held, slots, strict=True):
            self._sessions.seen[slot] = set(one.history)
        try:
            found: list[Recommendations] = self._sessions.top(k, sessions=slots, **options)
            return found
        except DeployError as error:
            return [error] * len(held)
        finally:
            for slot in slots:
                self._sessions.seen[slot] = None

    def record(self, held: Held) -> dict[str, Any]:
        """The record of a session that has its place."""
        assert held.slot is not None
        state = self._sessions.state_dict(held.slot, seen=False)
        state["events"] = held.events
        return record_of(self.served.says(), held.history, state)
