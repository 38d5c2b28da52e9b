"""Which of the best items are taken: varied ones, and not too many of one group."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.errors import DeployError, check_count
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.similarity import unit_rows
from recbole_fmrlrec.rules import is_number

#: Diversity chooses among this many of the best items, or this many times k if that is more.
POOL, POOL_TIMES = 100, 10

#: Table rows and scores, the best first.
Ranked = list[tuple[int, float]]


@dataclass(frozen=True)
class Selection:
    """How k items are taken from a ranking; the first k unless asked otherwise.

    With ``diversify = d`` by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998):
    next comes the item i with the largest

        ``(1 - d) * rel_i - d * max_{j taken} cos(e_i, e_j)``

    where ``rel_i`` is the score, moved and scaled so that the pool's best has 1 and its worst 0,
    and ``e_i`` is the item's vector at the size of the model. The pool is the best
    ``max(100, 10 k)`` items. Vectors of the model and not raw features are compared since a
    deployed folder holds them for every item, those of models of ids alone and those that were
    added later included, and features for none.

    Attributes:
        items: the item table.
        diversify: d, in [0, 1].
        max_per_group: items of one group at most; None for no limit. An item of several groups
            counts in each, and one of no group is never left out.
        group_by: the column of `ItemTable.columns` that has the groups.
    """

    items: ItemTable
    diversify: float = 0.0
    max_per_group: int | None = None
    group_by: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeployError: diversify outside [0, 1], a limit below 1, no such column, or one of limit
                and column without the other.
        """
        if not is_number(self.diversify) or not 0 <= self.diversify <= 1:
            raise DeployError(f"diversify must be a number from 0 to 1, not {self.diversify!r}")
        if (self.max_per_group is None) != (self.group_by is None):
            raise DeployError(
                "max_per_group and group_by belong together: how many items of a group, and the "
                "column of items that has the groups"
            )
        if self.group_by is not None:
            check_count("max_per_group", self.max_per_group)
            self.items.column(self.group_by)

    def depth(self, k: int) -> int:
        """How many items of a ranking are looked at first."""
        return max(POOL, POOL_TIMES * k) if self.diversify else k

    def take(self, ranked: Ranked, k: int) -> Ranked:
        """At most k of the ranked items, in the order in which they are to be shown."""
        if not self.diversify and self.group_by is None:
            return ranked[:k]
        return [ranked[at] for at in self._greedy(ranked, k)]

    def _greedy(self, ranked: Ranked, k: int) -> list[int]:
        gains = (1 - self.diversify) * _relevance(ranked)
        rows = [row for row, _ in ranked]
        directions = unit_rows(self.items.vectors[rows]) if self.diversify else None
        groups = self._groups(rows)
        closest = torch.full_like(gains, -torch.inf)
        free, held = torch.ones_like(gains, dtype=torch.bool), Counter[str]()
        taken: list[int] = []
        while len(taken) < k and bool(free.any()):
            lost = self.diversify * closest if taken and self.diversify else 0.0
            best = int((gains - lost).masked_fill(~free, -torch.inf).argmax())
            taken.append(best)
            free[best] = False
            held.update(set(groups[best]))
            if full := {name for name in groups[best] if held[name] == self.max_per_group}:
                free &= torch.tensor([full.isdisjoint(own) for own in groups])
            if directions is not None:
                closest = torch.maximum(closest, directions @ directions[best])
        return taken

    def _groups(self, rows: list[int]) -> list[tuple[str, ...]]:
        if self.group_by is None:
            return [()] * len(rows)
        column = self.items.column(self.group_by)
        return [column[row - 1] for row in rows]


def _relevance(ranked: Ranked) -> Tensor:
    """Scores ``(P,)`` moved and scaled to [0, 1]."""
    scores = torch.tensor([score for _, score in ranked], dtype=torch.float64)
    if not len(scores):
        return scores.float()
    low, high = scores.min(), scores.max()
    spread = torch.where(high > low, high - low, 1.0)
    return ((scores - low) / spread).float()
