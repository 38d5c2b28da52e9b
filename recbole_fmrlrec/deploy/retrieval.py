"""Finding the best items: exactly, or in two stages over one nested item table.

A search is called with outputs ``(B, s)`` and a count and returns ``(B, count)`` scores, falling,
and the table rows they belong to, 1..N; at equal scores the order is arbitrary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.errors import DeployError, check_count

Search = Callable[[Tensor, int], tuple[Tensor, Tensor]]

#: Bytes of scores or gathered vectors held at once.
BLOCK_BYTES = 64 * 2**20


class Shortlister(Protocol):
    """Something that finds likely rows by the first dimensions, as a faiss index does."""

    def __call__(self, heads: Tensor, count: int) -> Tensor:
        """Rows ``(B, count)``, 1..N or 0 for none, for outputs cut to the prefix ``(B, p)``."""


class ExactSearch:
    """Scores of all items, the best of them.

    Args:
        vectors: ``(N+1, s)`` item table; row 0 is not a candidate.
        divisors: ``(N+1,)`` numbers by which each item's scores are divided; by 1 when None.
    """

    def __init__(self, vectors: Tensor, divisors: Tensor | None = None) -> None:
        self.items = vectors[1:]
        self.divisors = None if divisors is None else divisors[1:]

    def __call__(self, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The best ``count`` items of each output."""
        step = max(1, BLOCK_BYTES // (4 * max(1, len(self.items))))
        parts = [self._scores(part).topk(count) for part in hidden.split(step)]
        return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts]) + 1

    def _scores(self, hidden: Tensor) -> Tensor:
        scores = hidden @ self.items.t()
        return scores if self.divisors is None else scores.div_(self.divisors)


class TwoStageSearch:
    """A shortlist by the first ``prefix`` dimensions, ranked again with all of them.

    Sizes are nested, so the first dimensions of the one table are the smaller model's own table:
    nothing need be stored twice. A copy of them, ``prefix / s`` of the table's bytes, is read
    several times faster, as its numbers lie side by side.

    Args:
        vectors: ``(N+1, s)`` item table.
        prefix: dimensions of the first stage, one of the nested sizes.
        shortlist: items that the first stage hands on.
        shortlister: takes the place of the full scan of the first stage.
        copy_prefix: keep a copy of the first dimensions.
    """

    def __init__(
        self,
        vectors: Tensor,
        prefix: int,
        shortlist: int,
        shortlister: Shortlister | None = None,
        copy_prefix: bool = False,
    ) -> None:
        self.vectors, self.prefix, self.shortlist = vectors, prefix, shortlist
        self.shortlister = shortlister
        heads = vectors[1:, :prefix].t()
        self._heads_t = heads.contiguous() if copy_prefix else heads

    def __call__(self, hidden: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The best ``count`` items of each output among its shortlist."""
        width = self.width(count)
        if count >= len(self.vectors) - 1:
            return ExactSearch(self.vectors)(hidden, count)
        largest = max(width * self.vectors.shape[1], len(self.vectors))
        parts = [
            self._search(part, width, count)
            for part in hidden.split(max(1, BLOCK_BYTES // (4 * largest)))
        ]
        return torch.cat([scores for scores, _ in parts]), torch.cat([rows for _, rows in parts])

    def width(self, count: int) -> int:
        """Length of the shortlist from which ``count`` items are taken."""
        return min(max(self.shortlist, count), len(self.vectors) - 1)

    def _search(self, hidden: Tensor, width: int, count: int) -> tuple[Tensor, Tensor]:
        head = hidden[:, : self.prefix]
        if self.shortlister is not None:
            rows = self.shortlister(head, width)
        else:
            rough = head @ self._heads_t
            rows = rough.topk(width, sorted=False).indices + 1
        scores = torch.bmm(self.vectors[rows], hidden[:, :, None]).squeeze(2)
        best = scores.masked_fill_(rows == 0, -torch.inf).topk(count)
        return best.values, rows.gather(1, best.indices)


@dataclass(frozen=True)
class Choice:
    """A two-stage setting and what it was measured to give.

    Attributes:
        prefix: dimensions of the first stage; None for exact search.
        shortlist: items handed on; None for exact search.
        recall: share of the exact top k that it finds, on the half of the queries that did not
            choose it; on all of them where that half needed a longer list.
        milliseconds: median time of one query.
        exact_milliseconds: the same for exact search.
    """

    prefix: int | None
    shortlist: int | None
    recall: float
    milliseconds: float
    exact_milliseconds: float


def measure_choices(
    vectors: Tensor,
    sizes: Sequence[int],
    queries: Tensor,
    recall: float = 0.99,
    k: int = 10,
    copy_prefix: bool = False,
) -> list[Choice]:
    """Settings that find the wanted share of the exact top k: exact search, then one a prefix.

    For each smaller size the shortlist is made as long as half of the queries need; the other half
    says what recall that gives. Each setting is timed, one query at a time.

    Args:
        vectors: ``(N+1, s)`` item table.
        sizes: nested sizes, the last one s.
        queries: ``(Q, s)`` outputs of real histories, 2 or more.
        recall: wanted share of the exact top k, above 0 and at most 1.
        k: length of the list.
        copy_prefix: time the two stages with a copy of the first dimensions.

    Raises:
        DeployError: an impossible recall or k, or too few queries.
    """
    if not (isinstance(recall, int | float) and 0 < recall <= 1):
        raise DeployError(f"recall must be above 0 and at most 1, not {recall!r}")
    check_count("k", k)
    if len(queries) < 2:
        raise DeployError("choosing a shortlist needs two sample histories or more")
    k = min(k, len(vectors) - 1)
    exact = ExactSearch(vectors)
    truth = exact(queries, k)[1]
    exact_time = median_milliseconds(exact, queries, k)
    choices = [Choice(None, None, 1.0, exact_time, exact_time)]
    for prefix in sizes[:-1]:
        depth = prefix_ranks(vectors, queries, truth, prefix)
        shortlist = max(k, _needed(depth[::2], recall))
        found = float((depth[1::2] <= shortlist).float().mean())
        if found < recall and shortlist < len(vectors) - 1:
            # The second half has a longer tail: what it needs as well is the honest length.
            shortlist = max(shortlist, _needed(depth, recall))
            found = float((depth <= shortlist).float().mean())
        search = TwoStageSearch(vectors, prefix, shortlist, copy_prefix=copy_prefix)
        spent = median_milliseconds(search, queries, k)
        choices.append(Choice(prefix, shortlist, found, spent, exact_time))
    return choices


def fastest(choices: Sequence[Choice]) -> Choice:
    """The one of least time for a query."""
    return min(choices, key=lambda choice: choice.milliseconds)


def prefix_ranks(vectors: Tensor, queries: Tensor, rows: Tensor, prefix: int) -> Tensor:
    """Rank ``(Q, k)``, 1 is best, that items have by the first ``prefix`` dimensions.

    Args:
        vectors: ``(N+1, s)`` item table.
        queries: ``(Q, s)`` outputs.
        rows: ``(Q, k)`` table rows.
        prefix: dimensions that count.
    """
    items = vectors[1:, :prefix]
    step = max(1, BLOCK_BYTES // (4 * len(items)))
    ranks = []
    for query, wanted in zip(queries[:, :prefix].split(step), rows.split(step), strict=True):
        scores = query @ items.t()
        own = scores.gather(1, wanted - 1)
        ranks.append(torch.stack([(scores > own[:, j, None]).sum(1) for j in range(own.shape[1])]))
    return torch.cat(ranks, dim=1).t() + 1


def _needed(depth: Tensor, recall: float) -> int:
    """The shortest list that holds the wanted share of the items at these ranks."""
    ordered = depth.flatten().sort().values
    return int(ordered[max(0, math.ceil(recall * len(ordered)) - 1)])


def median_milliseconds(search: Search, queries: Tensor, k: int, most: int = 30) -> float:
    """Median time of a search for one query, after two that do not count."""
    times = []
    for query in queries.split(1)[: most + 2]:
        started = time.perf_counter()
        search(query, k)
        times.append(time.perf_counter() - started)
    counted = sorted(times[2:] or times)
    return 1000 * counted[len(counted) // 2]
