"""Sessions of the service: opened, fed, asked, exported, closed; several at once.

One thread works on them. What a request changes is written to the store before it is answered.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.serve.models import Key, Models, Served
from recbole_fmrlrec.serve.questions import shortened
from recbole_fmrlrec.serve.refused import Refused
from recbole_fmrlrec.serve.session_record import check_record, from_bytes, to_bytes
from recbole_fmrlrec.serve.session_shelf import Held, Shelf
from recbole_fmrlrec.serve.session_stores import Store, StoreError
from recbole_fmrlrec.serve.settings import Limits

#: Seconds between two looks for what has expired.
PURGE = 60.0


@dataclass(frozen=True)
class Ask:
    """What one request wants of one session.

    Attributes:
        do: ``"open"`` makes the session; ``"use"`` feeds ``items`` and, with a ``k``, asks.
        session: its id; empty for ``"open"``.
        model: of a session to open.
        record: an exported session to open again.
        options: of `Sessions.top`.
    """

    do: Literal["open", "use", "export", "close"]
    session: str = ""
    model: Key | None = None
    record: dict[str, Any] | None = None
    items: Sequence[str] = ()
    k: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Told:
    """What became of it.

    Attributes:
        replayed: events read again because the model was exchanged; 0 where it was not.
        gone: events that the exchanged model does not know any more.
        history: the latest events, for reasons.
    """

    session: str
    served: Served | None = None
    events: int = 0
    unknown: list[str] = field(default_factory=list)
    replayed: int = 0
    gone: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    top: Recommendations | None = None
    record: dict[str, Any] | None = None


@dataclass
class _Work:
    """One ask while it is worked on; `feed` are the known items that it reads."""

    at: int
    ask: Ask
    told: Told
    shelf: Shelf
    held: Held
    feed: list[str]


class SessionTable:
    """All sessions.

    Args:
        models: the models.
        store: where they are kept as well; None for memory only.
        limits: how many, how long.
        clock: seconds since 1970.

    Attributes:
        counts: opened, events, replayed, evicted, expired.
    """

    def __init__(
        self,
        models: Models,
        store: Store | None,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._models, self._store, self._limits, self._clock = models, store, limits, clock
        self._shelves: dict[Key, Shelf] = {}
        self._purged = clock()
        self.counts: Counter[str] = Counter()

    def in_memory(self) -> int:
        """Sessions in memory."""
        return sum(len(shelf.held) for shelf in list(self._shelves.values()))

    def work(self, asks: Sequence[Ask]) -> list[Told | Exception]:
        """Do what is asked, in order for each session; a result or a reason for each ask."""
        results: list[Told | Exception] = [Refused(500, "not reached")] * len(asks)
        waiting = list(enumerate(asks))
        while waiting:
            names: set[str] = set()
            now: list[tuple[int, Ask]] = []
            later: list[tuple[int, Ask]] = []
            for at, ask in waiting:
                # What comes before an ask about the same session comes first.
                (later if ask.session in names else now).append((at, ask))
                names |= {ask.session} - {""}
            for at, result in self._round(now):
                results[at] = result
            waiting = later
        return results

    def _round(self, asks: Sequence[tuple[int, Ask]]) -> list[tuple[int, Told | Exception]]:
        """Asks about different sessions."""
        self._go_over()
        try:
            self._purge()
            stored = self._read(ask for _, ask in asks)
        except StoreError as error:
            return [(at, Refused(503, str(error))) for at, _ in asks]
        done: list[tuple[int, Told | Exception]] = []
        works: list[_Work] = []
        for at, ask in asks:
            try:
                found = self._begin(at, ask, stored)
            except (Refused, DeployError) as error:
                done.append((at, error))
            except StoreError as error:
                done.append((at, Refused(503, str(error))))
            else:
                if isinstance(found, _Work):
                    works.append(found)
                else:
                    done.append((at, found))
        self._feed(works)
        wrong = self._tops(works)
        failure = self._write(works)
        for work in works:
            done.append((work.at, failure or wrong.get(work.at) or work.told))
        return done

    def _begin(self, at: int, ask: Ask, stored: dict[str, bytes]) -> _Work | Told:
        if ask.do == "close":
            return self._close(ask.session)
        record, name, key = ask.record, ask.session, ask.model
        if ask.do == "open":
            name = secrets.token_urlsafe(18)
            if record is not None:
                record = check_record(record)
        else:
            shelf, held = self._find(name)
            if shelf is not None and held is not None:
                return self._prepare(_Work(at, ask, Told(name), shelf, held, []), None)
            if name not in stored:
                raise Refused(404, "there is no such session, or it has expired")
            record = from_bytes(stored[name])
        if record is not None:
            key = record["model"], record["size"]
        assert key is not None
        work = _Work(at, ask, Told(name), self._shelf(key), self._new(record), [])
        return self._prepare(work, record)

    def _prepare(self, work: _Work, record: dict[str, Any] | None) -> _Work:
        """Give the session its place and say what it must read."""
        shelf, held, told, name = work.shelf, work.held, work.told, work.told.session
        if name not in shelf.held:
            gone = shelf.put(name, held)
            if gone is not None and self._store is None:
                self.counts["evicted"] += 1
        shelf.held.move_to_end(name)
        known, told.unknown = shelf.known(work.ask.items)
        if held.slot is None:
            kept, lost = shelf.known(held.history)
            held.history = deque(kept, self._limits.session_events)
            try:
                again = shelf.restore(held, record)
            except (Refused, DeployError):
                shelf.drop(name)
                raise
            if again:
                work.feed += kept
                told.replayed, told.gone = len(kept), lost
                self.counts["replayed"] += len(kept)
        work.feed += known
        held.history.extend(known)
        held.events += len(known)
        self.counts["events"] += len(known)
        if known:
            held.used = self._clock()
        self.counts["opened"] += work.ask.do == "open"
        told.served, told.events, told.history = shelf.served, held.events, list(held.history)
        return work

    def _feed(self, works: Sequence[_Work]) -> None:
        for shelf in self._shelves.values():
            shelf.feed([(work.held, work.feed) for work in works if work.shelf is shelf])
        for work in works:
            if work.ask.do == "export":
                work.told.record = work.shelf.record(work.held)

    def _tops(self, works: Sequence[_Work]) -> dict[int, Exception]:
        """Ask the sessions whose asks have a k; those that could not be answered."""
        groups: dict[Any, list[_Work]] = {}
        for work in works:
            if work.ask.k is not None:
                plain = set(work.ask.options) <= {"exclude_seen"}
                alike = tuple(work.ask.options.items()) if plain else work.at
                k = None if work.shelf.served.recommender.is_exact else work.ask.k
                groups.setdefault((id(work.shelf), alike, k), []).append(work)
        wrong: dict[int, Exception] = {}
        for group in groups.values():
            k = max(work.ask.k or 1 for work in group)
            found = group[0].shelf.top([work.held for work in group], k, group[0].ask.options)
            for work, top in zip(group, found, strict=True):
                if isinstance(top, Exception):
                    wrong[work.at] = top
                else:
                    work.told.top = shortened(top, work.ask.k or 1)
        return wrong

    def _write(self, works: Sequence[_Work]) -> Refused | None:
        """Store what has changed; what could not be stored is forgotten here too."""
        if self._store is None:
            return None
        changed = [work for work in works if work.feed or work.ask.do == "open"]
        records = {w.told.session: to_bytes(w.shelf.record(w.held)) for w in changed}
        failure = None
        try:
            if records:
                self._store.write(records, self._clock())
        except StoreError as error:
            failure = Refused(503, f"{error}; nothing was changed")
        for work in works if failure is not None or self._store.shared else ():
            work.shelf.drop(work.told.session)
        return failure

    def _close(self, session: str) -> Told:
        shelf, held = self._find(session)
        if shelf is not None:
            shelf.drop(session)
        stored = self._store is not None and self._store.delete(session)
        if held is None and not stored:
            raise Refused(404, "there is no such session, or it has expired")
        return Told(session)

    def _read(self, asks: Iterable[Ask]) -> dict[str, bytes]:
        """The records of sessions that are not in memory."""
        if self._store is None:
            return {}
        named = {ask.session for ask in asks if ask.do in ("use", "export")}
        missing = [name for name in named if self._find(name)[1] is None]
        return self._store.read(missing, self._clock()) if missing else {}

    def _find(self, session: str) -> tuple[Shelf | None, Held | None]:
        """Where a session is; one whose time is over has gone."""
        for shelf in self._shelves.values():
            held = shelf.held.get(session)
            if held is None:
                continue
            if self._is_over(held):
                shelf.drop(session)
                self.counts["expired"] += 1
                return None, None
            return shelf, held
        return None, None

    def _shelf(self, key: Key) -> Shelf:
        if key not in self._shelves:
            self._shelves[key] = Shelf(self._models.get(*key), self._limits.sessions)
        return self._shelves[key]

    def _go_over(self) -> None:
        """To models that were exchanged; only between rounds, so that a round sees one version."""
        for key, shelf in list(self._shelves.items()):
            try:
                served = self._models.get(*key)
            except Refused:  # its folder holds another size now
                del self._shelves[key]
                continue
            if shelf.served is not served:
                shelf.renew(served)

    def _new(self, record: dict[str, Any] | None) -> Held:
        most = self._limits.session_events
        if record is None:
            return Held(deque(maxlen=most), 0, self._clock())
        return Held(deque(record["history"], most), record["events"], self._clock())

    def _is_over(self, held: Held) -> bool:
        return self._clock() - held.used >= self._limits.session_seconds

    def _purge(self) -> None:
        now = self._clock()
        if now - self._purged < PURGE:
            return
        self._purged = now
        for shelf in self._shelves.values():
            for name in [name for name, held in shelf.held.items() if self._is_over(held)]:
                shelf.drop(name)
                self.counts["expired"] += 1
        if self._store is not None:
            self._store.purge(now)
