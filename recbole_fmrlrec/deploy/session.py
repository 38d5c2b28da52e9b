"""Streaming sessions: one event costs the same after 5 items or 5,000.

The linear recurrence keeps one complex state a block. A session holds that state, the output after
the last event, and the items seen; it reads every event, where `Recommender.recommend` reads the
latest ``max_history``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.items import ItemTable, Unknown
from recbole_fmrlrec.deploy.model_folder import PARAMETERS
from recbole_fmrlrec.deploy.ranking import Filter, HistoryBias, rank_items
from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.deploy.retrieval import Search
from recbole_fmrlrec.deploy.selection import Selection
from recbole_fmrlrec.rules import is_whole, shown


class Served(Protocol):
    """What a session needs of a `Recommender`."""

    description: Description
    items: ItemTable

    @property
    def size(self) -> int:
        """The size of the model."""

    @property
    def search(self) -> Search:
        """How the best items are found."""

    def step(self, vectors: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One event of several users: outputs and new states."""


_ARRAYS = ("state", "hidden")


class Sessions:
    """Sessions of many users at once.

    Args:
        recommender: the model.
        count: number of sessions, n.

    Attributes:
        state: ``(blocks, n, 2s)`` complex states, real parts first.
        hidden: ``(n, s)`` outputs after the last event; before the first one the model's start.
        events: ``(n,)`` events so far.
        seen: item ids of each session; None where they were not stored.
    """

    @torch.no_grad()
    def __init__(self, recommender: Served, count: int) -> None:
        if count < 1:
            raise DeployError(f"there must be at least 1 session, not {count}")
        self.recommender = recommender
        blocks, width = recommender.description.num_blocks, recommender.size
        self.state = torch.zeros(blocks, count, 2 * width)
        start, _ = recommender.step(recommender.items.vectors[:1], self.state[:, :1])
        self.hidden = start.expand(count, -1).clone()
        self.events = torch.zeros(count, dtype=torch.int64)
        self.seen: list[set[str] | None] = [set() for _ in range(count)]

    def __len__(self) -> int:
        return len(self.hidden)

    @torch.no_grad()
    def update(
        self,
        items: Sequence[str],
        sessions: Sequence[int] | None = None,
        unknown: Unknown = "skip",
    ) -> list[str]:
        """Add one event to each of the given sessions.

        Args:
            items: an item id for each session.
            sessions: which sessions, each at most once; all, in order, when None.
            unknown: ``"skip"`` ignores unknown items; ``"error"`` refuses the whole call.

        Returns:
            The unknown item ids that were ignored.

        Raises:
            DeployError: lengths differ, a session is named twice or does not exist, or an unknown
                item with ``unknown="error"``.
        """
        where = list(range(len(self))) if sessions is None else list(sessions)
        table = self.recommender.items
        _, missing = table.rows(items, unknown)
        if len(items) != len(where):
            raise DeployError(f"{len(items)} items for {len(where)} sessions")
        if len(set(where)) != len(where) or not all(0 <= at < len(self) for at in where):
            raise DeployError(f"sessions must be different numbers from 0 to {len(self) - 1}")
        names = [str(item) for item in items]
        pairs = [(at, name) for at, name in zip(where, names, strict=True) if name in table.row_of]
        if pairs:
            chosen = torch.tensor([at for at, _ in pairs])
            self._step(chosen, torch.tensor([table.row_of[name] for _, name in pairs]))
        for at, name in pairs:
            if (known := self.seen[at]) is not None:
                known.add(name)
        return missing

    def _step(self, chosen: Tensor, rows: Tensor) -> None:
        vectors, step = self.recommender.items.vectors, self.recommender.step
        if len(self) == 1:
            self.hidden, self.state = step(vectors[rows], self.state)
        else:
            hidden, state = step(vectors[rows], self.state[:, chosen])
            self.hidden[chosen], self.state[:, chosen] = hidden, state
        self.events[chosen] += 1

    @torch.no_grad()
    def top(
        self,
        k: int = 10,
        sessions: Sequence[int] | None = None,
        exclude_seen: bool = True,
        candidates: Sequence[str] | None = None,
        filter: Filter | None = None,
        unknown: Unknown = "skip",
        diversify: float = 0.0,
        max_per_group: int | None = None,
        group_by: str | None = None,
    ) -> list[Recommendations]:
        """The k items most likely to be next in each session; see `Recommender.recommend`.

        Raises:
            DeployError: as there; or seen items are to be left out, or have a bias of their own,
                and were not stored.
        """
        where = list(range(len(self))) if sessions is None else list(sessions)
        table = self.recommender.items
        bias = self.recommender.description.history_bias
        needed = exclude_seen or bias != 0
        seen = [self._seen_rows(at) if needed else set() for at in where]
        excluded = seen if exclude_seen else [set[int]() for _ in where]
        hidden = self.hidden if sessions is None else self.hidden[where]
        search = self.recommender.search
        selection = Selection(table, diversify, max_per_group, group_by)
        asked = candidates, filter, unknown, selection, HistoryBias(bias, seen)
        return rank_items(table, search, hidden, k, excluded, *asked)

    def _seen_rows(self, session: int) -> set[int]:
        seen, row_of = self.seen[session], self.recommender.items.row_of
        if seen is None:
            biased = self.recommender.description.history_bias != 0
            raise DeployError(
                "this session was stored without the items it has seen: "
                + ("" if biased else "pass exclude_seen=False, or ")
                + "store it with state_dict(seen=True)"
            )
        return {row_of[name] for name in seen if name in row_of}

    def state_dict(self, session: int, seen: bool = True) -> dict[str, Any]:
        """One session as plain values: what is needed to continue it later or elsewhere.

        Args:
            session: which one.
            seen: whether to store the ids of the items seen, which `top` leaves out; without them
                the length does not grow with the history.

        Returns:
            ``model`` (hashes of its parameters and of the vectors of its trained items), ``state``
            ``(blocks, 2s)`` and ``hidden`` ``(s,)`` as float32 arrays, ``events``, and ``seen`` (a
            sorted list, or None).
        """
        known = self.seen[session]
        return {
            "model": _model_hash(self.recommender),
            "state": self.state[:, session].numpy().copy(),
            "hidden": self.hidden[session].numpy().copy(),
            "events": int(self.events[session]),
            "seen": sorted(known) if seen and known is not None else None,
        }

    def load_state_dict(self, session: int, state: Mapping[str, Any]) -> None:
        """Restore a session from `state_dict`.

        Raises:
            DeployError: it belongs to another model, or is damaged.
        """
        own = self.state_dict(session, seen=False)
        if set(state) != set(own):
            raise DeployError(f"a session's state has {', '.join(own)}; got {', '.join(state)}")
        if state["model"] != own["model"]:
            raise DeployError(
                "this session's state belongs to another model, or to another version of this one: "
                "its parameters or item vectors are not the same; read the session's events again"
            )
        _check_plain(state)
        try:
            arrays = {name: np.asarray(state[name], dtype=np.float32) for name in _ARRAYS}
        except (ValueError, TypeError) as error:
            raise DeployError(f"a session's state and hidden are arrays ({error})") from None
        for name, array in arrays.items():
            if array.shape != own[name].shape or not np.isfinite(array).all():
                raise DeployError(f"a session's {name} must be {own[name].shape}, finite numbers")
        self.state[:, session] = torch.from_numpy(arrays["state"])
        self.hidden[session] = torch.from_numpy(arrays["hidden"])
        self.events[session] = int(state["events"])
        self.seen[session] = None if state["seen"] is None else set(state["seen"])


class Session:
    """The session of one user."""

    def __init__(self, recommender: Served) -> None:
        self._all = Sessions(recommender, 1)

    @property
    def events(self) -> int:
        """Events so far."""
        return int(self._all.events[0])

    @property
    def hidden(self) -> Tensor:
        """Output ``(s,)`` after the last event."""
        return self._all.hidden[0]

    def update(self, item: str, unknown: Unknown = "error") -> None:
        """Add one event; an unknown item is refused unless ``unknown="skip"``."""
        self._all.update([item], unknown=unknown)

    def top(self, k: int = 10, **options: Any) -> Recommendations:
        """The k items most likely to be next; options as in `Sessions.top`."""
        return self._all.top(k, **options)[0]

    def state_dict(self, seen: bool = True) -> dict[str, Any]:
        """The session as plain values; see `Sessions.state_dict`."""
        return self._all.state_dict(0, seen)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a session from `state_dict`; raises DeployError for that of another model."""
        self._all.load_state_dict(0, state)


def _check_plain(state: Mapping[str, Any]) -> None:
    events, seen = state["events"], state["seen"]
    if not is_whole(events) or events < 0:
        raise DeployError(
            f"a session's events must be an integer of at least 0, not {shown(events)}"
        )
    known = isinstance(seen, list | tuple | set) and all(isinstance(item, str) for item in seen)
    if seen is not None and not known:
        raise DeployError("a session's seen must be None or a list of item ids")


def _model_hash(recommender: Served) -> str:
    """Hashes of the parameters' file and of the trained items' vectors; empty for an unsaved model.

    A state is made of both. Items that are added later leave it as it is.
    """
    about = recommender.description
    parameters = str(about.files.get(PARAMETERS, {}).get("sha256", ""))[:16]
    if not parameters:
        return ""
    return f"{parameters}-{recommender.items.vectors_hash(about.trained_items)}"
