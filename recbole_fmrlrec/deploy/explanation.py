"""Why an item is recommended: what its score would be without each event of the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.results import Reason, one_line
from recbole_fmrlrec.nn.network import Block, FMRLRecNetwork
from recbole_fmrlrec.nn.recurrence import packed_scan


@dataclass(frozen=True)
class Explanation:
    """What each event of a history added to the score of one item.

    Attributes:
        id: the item.
        title: its title or None.
        score: its score after the whole history.
        events: ids of the history that the model knows, the oldest first.
        event_titles: a title or None for each.
        contributions: for each, ``score`` minus the score after the history without this event;
            0 for events that are too old to be read. They do not sum to the score: the model is
            not linear in its events.
        unknown: items of the history that the model does not know and that were skipped.
    """

    id: str
    title: str | None
    score: float
    events: list[str]
    event_titles: list[str | None]
    contributions: list[float]
    unknown: list[str] = field(default_factory=list)

    def reasons(self, count: int = 1) -> list[Reason]:
        """The events that added most, most first: at most ``count``, each item once, above 0."""
        rows = zip(self.events, self.event_titles, self.contributions, strict=True)
        ordered = sorted((Reason(*row) for row in rows), key=lambda reason: -reason.contribution)
        first: dict[str, Reason] = {}
        for reason in ordered:
            if reason.contribution > 0:
                first.setdefault(reason.id, reason)
        return list(first.values())[:count]

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        rows = zip(self.events, self.event_titles, self.contributions, strict=True)
        result = {
            "item_id": self.id,
            "title": self.title,
            "score": self.score,
            "events": [Reason(*row).to_json() for row in rows],
        }
        return {**result, **({"unknown": self.unknown} if self.unknown else {})}

    def __str__(self) -> str:
        """The item, then a line for each event: contribution, id, title."""
        width = max(map(len, self.events), default=0)
        rows = zip(self.events, self.event_titles, self.contributions, strict=True)
        lines = [f"{self.score:9.4f}  {self.id}  {self.title or ''}"]
        lines += [f"{added:+9.4f}  {item:{width}}  {title or ''}" for item, title, added in rows]
        return "\n".join(one_line(line.rstrip()) for line in lines)


def leave_one_out(
    network: FMRLRecNetwork, table: Tensor, older: Sequence[int], window: Sequence[int]
) -> Tensor:
    """Outputs ``(n, s)`` of a network of one block, each after the window without one event.

    What is left out has not happened: earlier events are one step nearer. With ``h_t`` the state
    after event t of the ``T`` events older + window, ``h_{t-1}`` that before it, both are sums
    ``h_t = sum_{r <= t} lam^(t-r) v_r`` with ``v = gamma (B x + b_B)``, so that without event t the
    last state is

        ``h_T - lam^(T-t) (h_t - h_{t-1})``

    and no event is read again. (``h_T - lam^(T-t) v_t`` would leave the time of event t as a gap,
    which no history gives, and which a second block would have no input for.) The output then needs
    that state and the last input alone; without the last event those of the event before it.

    Args:
        network: in evaluation mode, with one block.
        table: ``(N+1, s)`` item vectors.
        older: the event before the window as table rows, one or none: it moves up where one of the
            window is left out.
        window: n events, the oldest first, as table rows.
    """
    block = network.blocks[0]
    assert isinstance(block, Block) and len(network.blocks) == 1
    rows = [*older, *window]
    if len(rows) == 1:
        # Nothing is left, which is the empty input.
        return block.output(table[:1], block.input_projection(table[:1]))
    inputs = table[torch.tensor(rows)]
    decay = block.recurrence.decay()
    states = packed_scan(block.input_projection(inputs), decay, [1] * len(rows))
    before = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    steps = torch.cat([torch.ones_like(decay)[None], decay.expand(len(rows) - 1, -1)])
    powers = steps.cumprod(0).flip(0)
    without = (states[-1] - powers * (states - before))[len(older) :]
    last = inputs[-1:].repeat(len(window), 1)
    last[-1] = inputs[-2]
    return block.output(last, without)
