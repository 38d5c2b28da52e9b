"""From outputs of the encoder to recommendations: exclusion, candidates, filter, selection."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.errors import check_count
from recbole_fmrlrec.deploy.items import ItemTable, Unknown
from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.deploy.retrieval import ExactSearch, Search
from recbole_fmrlrec.deploy.selection import Ranked, Selection

Filter = Callable[[str], bool]


@dataclass(frozen=True)
class HistoryBias:
    """What is added to the scores of the items that each history holds.

    Attributes:
        value: the number.
        rows: table rows, a collection for each output.
    """

    value: float
    rows: Sequence[Collection[int]]


def rank_items(
    items: ItemTable,
    search: Search,
    hidden: Tensor,
    k: int,
    excluded: Sequence[Collection[int]],
    candidates: Sequence[object] | None = None,
    filter: Filter | None = None,
    unknown: Unknown = "skip",
    selection: Selection | None = None,
    history: HistoryBias | None = None,
) -> list[Recommendations]:
    """The best k items for each output ``(B, s)``; fewer where fewer are left.

    Args:
        items: the item table.
        search: over all of it; candidates are always searched exactly.
        hidden: outputs.
        k: 1 or more.
        excluded: table rows left out, a collection for each output.
        candidates: item ids to choose from; all when None.
        filter: says of an item id whether it may be recommended; asked down the ranking only as
            far as k items need.
        unknown: what to do with candidates that are not in the table.
        selection: how k items are taken from the ranking; the first k when None.
        history: what is added to some scores, which no search knows of.

    Raises:
        DeployError: k is below 1, or an unknown candidate with ``unknown="error"``.
    """
    check_count("k", k)
    total = len(items)
    if candidates is not None:
        rows = sorted(set(items.rows(candidates, unknown)[0]))
        search, total = _among(items.vectors, rows), len(rows)
    shifts = _Shifts(items.vectors, hidden, excluded, history, None if candidates is None else rows)
    selection = selection or Selection(items)
    results: list[Recommendations | None] = [None] * len(hidden)
    pending = list(range(len(hidden)))
    depths = [selection.depth(k)] * len(hidden)
    counts = [
        min(total, selection.depth(k) + len(own) + len(shifts.rows[at]))
        for at, own in enumerate(excluded)
    ]
    while pending:
        left = []
        for at, scores, rows_found in _searched(search, hidden, pending, counts):
            whole = counts[at] == total
            own_scores, own_rows = shifts.applied(at, scores, rows_found, whole)
            allowed = _allowed(items, own_rows, own_scores, excluded[at], filter)
            ranked = list(islice(allowed, depths[at]))
            deep = len(ranked) == depths[at]
            if not deep and counts[at] < total:
                left.append(at)
                continue
            picked = selection.take(ranked, k)
            results[at] = _named(items, picked)
            if deep and len(picked) < k:
                depths[at] *= 4
                left.append(at)
        pending = left
        for at in pending:
            counts[at] = min(total, 4 * counts[at])
    return [result for result in results if result is not None]


def _searched(
    search: Search, hidden: Tensor, pending: Sequence[int], counts: Sequence[int]
) -> Iterator[tuple[int, list[float], list[int]]]:
    """Scores and rows that each output has asked for; the same whatever the rest of the batch asks.

    A search whose answers depend on the count says by ``width`` which counts are as good as one.
    """
    width = getattr(search, "width", lambda count: 0)
    groups: dict[int, list[int]] = {}
    for at in pending:
        groups.setdefault(width(counts[at]), []).append(at)
    for places in groups.values():
        scores, found = search(hidden[places], max(counts[at] for at in places))
        for at, own_scores, own_rows in zip(places, scores.tolist(), found.tolist(), strict=True):
            yield at, own_scores[: counts[at]], own_rows[: counts[at]]


class _Shifts:
    """The history's bias put into what a search found.

    Args:
        vectors: the item table.
        hidden: outputs ``(B, s)``.
        excluded: rows that are left out anyway.
        history: the bias; None for none.
        candidates: the rows to choose from; all when None.

    Attributes:
        rows: of each output those whose scores are shifted.
    """

    def __init__(
        self,
        vectors: Tensor,
        hidden: Tensor,
        excluded: Sequence[Collection[int]],
        history: HistoryBias | None,
        candidates: Collection[int] | None,
    ) -> None:
        self.vectors, self.hidden = vectors, hidden
        self.value = 0.0 if history is None else history.value
        self.rows: list[set[int]] = [set() for _ in range(len(hidden))]
        if history is not None and history.value:
            pairs = zip(history.rows, excluded, strict=True)
            self.rows = [set(own).difference(out) for own, out in pairs]
            if candidates is not None:
                self.rows = [own.intersection(candidates) for own in self.rows]

    def applied(
        self, at: int, scores: list[float], rows: list[int], whole: bool
    ) -> tuple[list[float], list[int]]:
        """Scores and rows as they are with the bias, the best first.

        What scores below all that was found may be no better than what was not: it is left out,
        unless the ``whole`` ranking was found.
        """
        shifted = self.rows[at]
        if not shifted or not scores:
            return scores, rows
        own = dict(zip(rows, scores, strict=True))
        missing = sorted(shifted.difference(own))
        products = self.hidden[at] @ self.vectors[torch.tensor(missing, dtype=torch.int64)].t()
        own.update(zip(missing, products.tolist(), strict=True))
        for row in shifted:
            own[row] += self.value
        least = -math.inf if whole else scores[-1]
        ranked = sorted((row for row in own if own[row] >= least), key=lambda row: -own[row])
        return [own[row] for row in ranked], ranked


def _among(vectors: Tensor, rows: list[int]) -> Search:
    where = torch.tensor([0, *rows])
    exact = ExactSearch(vectors[where])

    def search(hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
        scores, found = exact(hidden, count)
        return scores, where[found]

    return search


def _allowed(
    items: ItemTable,
    rows: list[int],
    scores: list[float],
    excluded: Collection[int],
    filter: Filter | None,
) -> Iterator[tuple[int, float]]:
    for row, score in zip(rows, scores, strict=True):
        # Row 0 means none: an approximate index may find fewer than it was asked for.
        if row and row not in excluded and (filter is None or filter(items.ids[row - 1])):
            yield row, score


def _named(items: ItemTable, picked: Ranked) -> Recommendations:
    return Recommendations(
        [items.ids[row - 1] for row, _ in picked],
        [items.titles[row - 1] for row, _ in picked],
        [score for _, score in picked],
    )
