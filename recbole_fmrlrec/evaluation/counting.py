"""Ranks counted out of scores that come a block at a time, with the history and without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from recbole_fmrlrec.errors import DIVERGED, RunError
from recbole_fmrlrec.evaluation.history import History, HistoryBlocks
from recbole_fmrlrec.nn.devices import at_once

#: Bytes of scores that are counted together, so that they stay in the cache.
CACHED_BYTES = 3 * 2**20

#: Up to so many items float32 holds every mean rank, halves included.
EXACT_ITEMS = 2**23


@dataclass(frozen=True)
class ScoreBlock:
    """Scores of some rows of a batch and some items, at one nested size.

    Attributes:
        size: place of the nested size, from 0; 0 for a model without sizes.
        rows: the rows of the batch.
        first: id of the item in column 0; the padding is 0, and has no score or -inf.
        scores: ``(b, c)``; the memory may be written over after the call.
        own: scores of the rows' targets, ``(b, 1)``.
        finite: no score is infinite.
    """

    size: int
    rows: slice
    first: int
    scores: Tensor
    own: Tensor
    finite: bool


class ScoreReader(Protocol):
    """What is shown the scores of a batch: every row's, of every item, at every size, once.

    Rows come in order, and for the same rows the blocks of items in order, within these the sizes.
    """

    def read(self, block: ScoreBlock) -> None:
        """Take what is needed of a block."""


class RankCounter:
    """Counts the mean ranks of the targets of a batch: a `ScoreReader`.

    A mean rank is 1 + better + ties / 2. Where the history is left out, it is the same number less
    those of the history's items that are better, and less half of those that tie.

    Args:
        targets: item ids, (B,).
        num_sizes: K.
        history: what the rows leave out; None counts one kind of ranks only.
        unranked: ids of items that are no candidates of any row, (U,), ascending; None for none. A
            target that is one of them is at the mean of the U places behind all candidates.
    """

    def __init__(
        self,
        targets: Tensor,
        num_sizes: int = 1,
        history: History | None = None,
        unranked: Tensor | None = None,
    ) -> None:
        self.targets = targets
        self.unranked = None if unranked is None else unranked.to(targets.device)
        self.history = None
        if history is not None:
            self.history = HistoryBlocks(history.to(targets.device), self.unranked)
        self._all, self._left_out = (_Counts.zero(num_sizes, targets) for _ in range(2))
        self._dtype = torch.float32
        self._scratch: Tensor | None = None

    def read(self, block: ScoreBlock) -> None:
        """Count a block of scores, of any number type.

        Raises:
            RunError: a score is NaN.
        """
        scores = block.scores
        if scores.dtype == torch.float64 or not scores.dtype.is_floating_point:
            self._dtype = torch.float64
        together = at_once(CACHED_BYTES, scores.device)
        at, rows = block.rows.start, max(1, together // (4 * max(1, scores.shape[1])))
        for part, own in zip(scores.split(rows), block.own.split(rows), strict=True):
            own = own.to(self._dtype)
            self._count(part.to(self._dtype), own, block, slice(at, at + len(part)))
            at += len(part)
        if self.unranked is not None:
            self._take_back(block, self.unranked)
        if self.history is not None:
            self._count_history(block, self.history)

    def _take_back(self, block: ScoreBlock, unranked: Tensor) -> None:
        """What `_count` has counted of items that are no candidates."""
        ends = torch.tensor([block.first, block.first + block.scores.shape[1]])
        low, high = torch.searchsorted(unranked, ends.to(unranked.device)).tolist()
        scores = block.scores[:, unranked[low:high] - block.first]
        place, counts = (block.size, block.rows), self._all
        counts.signs[place] -= (scores > block.own).sum(1) - (scores < block.own).sum(1)
        counts.columns[place] -= scores.shape[1]
        counts.absent[place] -= (scores == -torch.inf).sum(1)

    def _count(self, scores: Tensor, own: Tensor, block: ScoreBlock, rows: slice) -> None:
        place, counts = (block.size, rows), self._all
        counts.columns[place] += scores.shape[1]
        if self._scratch is None or self._scratch.shape[1:] != scores.shape[1:]:
            self._scratch = torch.empty_like(scores)
        scratch = self._scratch[: len(scores)]
        if block.finite:  # better less worse is a sum of signs
            counts.signs[place] += torch.sub(scores, own, out=scratch).sign_().sum(1)
            return
        if torch.isnan(scores).any():
            raise RunError(f"the model's scores hold NaN: {DIVERGED}")
        # Written as numbers: their sums run at memory speed, those of booleans do not.
        counts.signs[place] += torch.gt(scores, own, out=scratch).sum(1)
        counts.signs[place] -= torch.lt(scores, own, out=scratch).sum(1)
        counts.absent[place] += (scores == -torch.inf).sum(1)

    def _count_history(self, block: ScoreBlock, history: HistoryBlocks) -> None:
        rows, columns = history.inside(block.rows, block.first, block.scores.shape[1])
        scores, own = block.scores[rows, columns], block.own[rows, 0]
        place, counts = (block.size, block.rows), self._left_out
        counts.signs[place].index_add_(0, rows, (scores > own).double() - (scores < own).double())
        counts.columns[place].index_add_(0, rows, torch.ones_like(rows, dtype=torch.float64))
        counts.absent[place].index_add_(0, rows, (scores == -torch.inf).double())

    def mean_ranks(self) -> Tensor:
        """``(K, B)``, the history kept: float64 where scores or the number of items need it."""
        return self._ranks(self._all)

    def masked_mean_ranks(self) -> Tensor:
        """``(K, B)``, the history left out."""
        return self._ranks(self._all.less(self._left_out))

    def _ranks(self, counts: _Counts) -> Tensor:
        ranks = (counts.signs + counts.columns + 1) / 2
        if self.unranked is not None:
            behind = counts.present() + (len(self.unranked) + 1) / 2
            ranks = torch.where(torch.isin(self.targets, self.unranked), behind, ranks)
        return ranks if self._all.columns.max() > EXACT_ITEMS else ranks.to(self._dtype)

    def candidates(self) -> Tensor:
        """``(K, B)`` how many items a row ranks, as RecBole counts them: scores above -inf."""
        return self._all.present()

    def masked_candidates(self) -> Tensor:
        """``(K, B)`` how many of them are not in the history."""
        return self._all.less(self._left_out).present()


@dataclass(frozen=True)
class _Counts:
    """Of each size and row, (K, B): better less worse, columns, and those of them at -inf."""

    signs: Tensor
    columns: Tensor
    absent: Tensor

    @classmethod
    def zero(cls, num_sizes: int, targets: Tensor) -> _Counts:
        shape = num_sizes, len(targets)
        made = (torch.zeros(shape, dtype=torch.float64, device=targets.device) for _ in range(3))
        return cls(*made)

    def less(self, part: _Counts) -> _Counts:
        pairs = zip(vars(self).values(), vars(part).values(), strict=True)
        return _Counts(*(whole - of_it for whole, of_it in pairs))

    def present(self) -> Tensor:
        return (self.columns - self.absent).long()


def read_scores(reader: ScoreReader, scores: Tensor, targets: Tensor, size: int = 0) -> None:
    """Show a reader all scores of a batch, as a model of RecBole gives them.

    Args:
        scores: ``(B, N+1)``; what is no candidate, as the padding, is -inf.
        targets: ``(B,)`` columns.
        size: place of the nested size.
    """
    own = scores.gather(1, targets[:, None])
    reader.read(ScoreBlock(size, slice(0, len(scores)), 0, scores, own, finite=False))
