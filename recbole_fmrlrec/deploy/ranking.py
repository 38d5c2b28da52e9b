"""From outputs of the encoder to recommendations: exclusion, candidates, filter, selection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.errors import check_count
from recbole_fmrlrec.deploy.items import ItemTable, Unknown
from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.deploy.retrieval import ExactSearch, Search
from recbole_fmrlrec.deploy.selection import Ranked, Selection

Filter = Callable[[str], bool]


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

    Raises:
        DeployError: k is below 1, or an unknown candidate with ``unknown="error"``.
    """
    check_count("k", k)
    total = len(items)
    if candidates is not None:
        rows = sorted(set(items.rows(candidates, unknown)[0]))
        search, total = _among(items.vectors, rows), len(rows)
    selection = selection or Selection(items)
    results: list[Recommendations | None] = [None] * len(hidden)
    pending = list(range(len(hidden)))
    depths = [selection.depth(k)] * len(hidden)
    counts = [min(total, selection.depth(k) + len(own)) for own in excluded]
    while pending:
        left = []
        for at, own_scores, own_rows in _searched(search, hidden, pending, counts):
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
