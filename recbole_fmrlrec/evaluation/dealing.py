"""Each process of an evaluation ranks its share of the batches, and all know all ranks afterwards.

Whole batches are dealt, as one process makes them: a product of matrices may give other last bits
in another shape, and then two items of nearly the same score change places. So every process has
the very ranks, and the very metrics, of an evaluation in one process. With fewer batches than
processes some have nothing to do; a smaller ``eval_batch_size`` deals more evenly.

What is exchanged: a float64 for each row, size and kind of number (rank and candidates, with the
history and without it), at most 32 bytes a row and size.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec import torchrun


class _Every:
    """Every ``step``-th batch of a sampler, from ``first``."""

    def __init__(self, batches: Any, first: int, step: int) -> None:
        self.batches, self.first, self.step = batches, first, step

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.batches), self.first, None, self.step)

    def __len__(self) -> int:
        return len(range(self.first, len(self.batches), self.step))


class DealtLoader:
    """Mixin before a loader of RecBole's that does not shuffle: while `dealt`, it makes the
    batches of this process only."""

    is_dealt = False

    def __bool__(self) -> bool:
        """Whether there is anything to evaluate. RecBole's trainers ask by ``if not loader``, and
        a process without a batch takes part all the same."""
        return self.is_dealt or len(self) > 0  # type: ignore[arg-type]

    @property
    def _index_sampler(self) -> Any:
        batches = super()._index_sampler  # type: ignore[misc]
        return _Every(batches, torchrun.rank(), torchrun.size()) if self.is_dealt else batches


@contextmanager
def dealt(eval_data: Any) -> Iterator[None]:
    """Deal the batches of a loader to the processes meanwhile."""
    eval_data.is_dealt = True
    try:
        yield
    finally:
        eval_data.is_dealt = False


def first_row(eval_data: Any) -> int:
    """The row with which the first batch of this process begins."""
    return torchrun.rank() * int(eval_data.batch_size)


def rows_between(eval_data: Any) -> int:
    """Rows of the other processes between a batch and the next one of this process."""
    return (torchrun.size() - 1) * int(eval_data.batch_size)


def whole_columns(
    parts: Sequence[Sequence[Tensor]], starts: Sequence[int], shape: tuple[int, int, int]
) -> list[Tensor]:
    """Numbers of all rows, from those that each process has of its batches.

    Args:
        parts: of each batch the kinds of numbers, ``(K, B)`` each: mean ranks at even places.
        starts: the first row of each batch.
        shape: kinds, K, rows of all processes.

    Returns:
        A tensor ``(K, R)`` of each kind, of the types that one process would have.
    """
    whole = torch.zeros(shape, dtype=torch.float64)
    wide = False
    for start, kinds in zip(starts, parts, strict=True):
        for column, numbers in zip(whole, kinds, strict=True):
            column[:, start : start + numbers.shape[1]] = numbers
        wide = wide or kinds[0].dtype == torch.float64
    torchrun.add_up(whole)
    rank_type = torch.float64 if torchrun.any_of(wide) else torch.float32
    return [column.to(rank_type) if kind % 2 == 0 else column for kind, column in enumerate(whole)]


def shared(
    eval_data: Any, by_ranks: bool, evaluate: Callable[[], list[dict[str, float]]]
) -> list[dict[str, float]]:
    """The metrics of an evaluation, the same in all processes.

    Args:
        eval_data: its loader.
        by_ranks: whether they are those of ranks alone, which `RankCollector` finds together. The
            first process finds others alone, while the rest wait.
        evaluate: goes over the loader.
    """
    if torchrun.size() == 1:
        return evaluate()
    if by_ranks and isinstance(eval_data, DealtLoader):
        with dealt(eval_data):
            return evaluate()
    found = evaluate() if torchrun.is_first() else None
    told: list[dict[str, float]] = json.loads(torchrun.from_first(json.dumps(found)))
    return told
