"""Gradients of tables of which a batch touched few rows: numbers of rows and rows, not the table.

A learned vector per item has a gradient of N rows, of which a sampled loss makes a few thousand
that are not zero. Each process tells the others how many it has (8 bytes a table and process), and
if m is the most of any, all of them send m rows with their numbers, ``m (d b + 4)`` bytes for d
numbers of b bytes. A ring of W processes passes each block on W - 1 times; of the whole table each
would send ``2 (W - 1) / W`` times its bytes. What is fewer is sent, decided by m alone and so alike
in all processes.

Every process adds the blocks in the order of the processes: the sums are the same bits in each, and
those of the whole tables to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_fmrlrec import torchrun

_INDEX = torch.int32


def add_up_rows(tables: list[Tensor]) -> list[Tensor]:
    """Replace tables ``(N, d)`` of few rows, in place, by their sums over all processes.

    Args:
        tables: contiguous gradients, as many and of the same shapes in every process.

    Returns:
        Those of which it is less to send them whole; nothing was done to them.

    Raises:
        RunError: another process has ended.
    """
    if torchrun.size() == 1 or not tables:
        return list(tables)
    rows = [_touched(table) for table in tables]
    counts = torch.zeros(torchrun.size(), len(tables), dtype=torch.int64, device=tables[0].device)
    counts[torchrun.rank()] = torch.tensor([len(some) for some in rows])
    torchrun.add_up(counts)
    whole = []
    for table, own, each in zip(tables, rows, counts.t().tolist(), strict=True):
        if is_less(table.shape, table.element_size(), max(each), torchrun.size()):
            _add(table, own, each)
        else:
            whole.append(table)
    return whole


def is_less(shape: torch.Size | tuple[int, ...], size: int, rows: int, processes: int) -> bool:
    """Whether a ring sends fewer bytes for rows than for the whole table.

    Args:
        shape: (N, d).
        size: bytes of a number.
        rows: m, the most that any process has.
        processes: W.
    """
    length, width = shape
    return processes * rows * (width * size + _INDEX.itemsize) < 2 * length * width * size


def _touched(table: Tensor) -> Tensor:
    """Numbers of the rows that are not zero; NaN is not."""
    return torch.linalg.vector_norm(table, ord=float("inf"), dim=1).nonzero().flatten()


def _add(table: Tensor, own: Tensor, counts: list[int]) -> None:
    most = max(counts)
    if most == 0:
        return
    numbers = own.new_zeros(most, dtype=_INDEX)
    numbers[: len(own)] = own
    values = table.new_zeros(most, table.shape[1])
    values[: len(own)] = table[own]
    table.index_fill_(0, own, 0)
    blocks = zip(torchrun.gathered(numbers), torchrun.gathered(values), counts, strict=True)
    for at, rows, count in blocks:
        table.index_add_(0, at[:count].long(), rows[:count])  # no row twice: in a fixed order
