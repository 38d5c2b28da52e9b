"""The best items of each row out of scores that come a block at a time, in a defined order.

The higher score comes first, and among equal scores the lower item id, so that a list depends on
the scores alone. RecBole takes what torch's top-k puts first among ties, which is not defined.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec.evaluation.counting import ScoreBlock
from recbole_fmrlrec.evaluation.history import HistoryBlocks

#: Scores that are searched at once.
SEARCHED = 2**22


class BestLists:
    """Keeps the best items of the rows of a batch: a `ScoreReader`.

    Items that are no candidates are in no list: the padding, ``unranked`` ones, and in the second
    kind of lists those of the history. A list that finds too few candidates ends with zeros.

    Args:
        length: items of a list, k.
        rows: rows of the batch, B.
        num_sizes: K.
        history: what the rows leave out; None makes one kind of lists only.
        unranked: ids of items that are no candidates of any row, ascending; None for none.
    """

    def __init__(
        self,
        length: int,
        rows: int,
        num_sizes: int = 1,
        history: HistoryBlocks | None = None,
        unranked: Tensor | None = None,
    ) -> None:
        self.history, self.unranked = history, unranked
        shape = num_sizes, rows, length
        self._kept = _Best(shape)
        self._masked = None if history is None else _Best(shape)

    def read(self, block: ScoreBlock) -> None:
        """Take a block of scores; they are the same afterwards."""
        scores, first = block.scores, block.first
        if not scores.dtype.is_floating_point:
            scores = scores.double()
        with _hidden(scores, self._no_candidates(block)):
            self._kept.read(scores, block.size, block.rows, first)
            if self.history is not None and self._masked is not None:
                inside = self.history.inside(block.rows, first, scores.shape[1])
                with _hidden(scores, inside):
                    self._masked.read(scores, block.size, block.rows, first)

    def _no_candidates(self, block: ScoreBlock) -> Any:
        """Where a block has scores of unranked items; None where it has none."""
        if self.unranked is None:
            return None
        ends = torch.tensor([block.first, block.first + block.scores.shape[1]])
        low, high = torch.searchsorted(self.unranked, ends.to(self.unranked.device)).tolist()
        return None if low == high else (slice(None), self.unranked[low:high] - block.first)

    def lists(self) -> Tensor:
        """Item ids ``(K, B, k)`` int32, the best first, the history kept."""
        return self._kept.items

    def masked_lists(self) -> Tensor:
        """Likewise with the history left out.

        Raises:
            ValueError: there was no history.
        """
        if self._masked is None:
            raise ValueError("lists without the history were not requested")
        return self._masked.items


@contextmanager
def _hidden(scores: Tensor, index: Any) -> Iterator[None]:
    """Some scores at minus infinity for a while: the caller goes on adding to the true ones."""
    if index is None:
        yield
        return
    held = scores[index]
    scores[index] = -torch.inf
    try:
        yield
    finally:
        scores[index] = held


class _Best:
    """The best items so far of each size and row."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.items = torch.zeros(shape, dtype=torch.int32)
        self._scores: Tensor | None = None

    def read(self, scores: Tensor, size: int, rows: slice, first: int) -> None:
        """Take the scores ``(b, c)`` of some rows and of the items from ``first`` on."""
        if self._scores is None:
            self.items = self.items.to(scores.device)
            self._scores = torch.full_like(self.items, -torch.inf, dtype=scores.dtype)
        step = max(1, SEARCHED // max(1, scores.shape[1]))
        for at in range(0, len(scores), step):
            part = scores[at : at + step]
            here = slice(rows.start + at, rows.start + at + len(part))
            self._merge(part, self._scores[size, here], self.items[size, here], first)

    @staticmethod
    def _merge(scores: Tensor, held: Tensor, items: Tensor, first: int) -> None:
        """Put what is better than what a row has into its list; both lists are written over."""
        changed = torch.nonzero(scores.amax(1) > held[:, -1]).flatten()
        if len(changed) == 0:
            return
        every = len(changed) == len(scores)
        found, columns = best(scores if every else scores[changed], items.shape[1])
        # Held ones come first: their ids are lower, and a stable sort leaves them before others.
        both = torch.cat([held[changed], found], dim=1)
        ids = torch.cat([items[changed], (columns + first).int()], dim=1)
        both, order = both.sort(dim=1, descending=True, stable=True)
        both, ids = both[:, : items.shape[1]], ids.gather(1, order[:, : items.shape[1]])
        held[changed] = both
        items[changed] = ids.masked_fill_(both == -torch.inf, 0)


def best(scores: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The best columns of each row, of equal ones those on the left: scores and columns ``(b, k)``.

    Args:
        scores: ``(b, c)`` floating point numbers.
        length: k; as many as there are columns, where there are fewer.
    """
    length = min(length, scores.shape[1])
    values, columns = scores.topk(min(length + 1, scores.shape[1]), dim=1)
    if values.shape[1] > length:
        last, next_one = values[:, length - 1], values[:, length]
        tied = torch.nonzero((last == next_one) & (last > -torch.inf)).flatten()
        columns = columns[:, :length]
        if len(tied):  # which of them torch takes is not defined
            columns[tied] = _leftmost(scores[tied], last[tied, None], length)
    columns = columns.sort(dim=1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _leftmost(scores: Tensor, bound: Tensor, length: int) -> Tensor:
    """Columns ``(b, k)`` above a bound ``(b, 1)``, and of those at it as many as there is room."""
    above, equal = scores > bound, scores == bound
    room = length - above.sum(1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(1) <= room))
    return torch.nonzero(chosen)[:, 1].view(-1, length)
