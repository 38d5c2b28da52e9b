"""What a user had before a target, for rankings that leave it out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class History(NamedTuple):
    """Items that the rows of a batch leave out, H pairs: each item of a row once, no targets.

    As a pair it is an index of scores ``(B, N+1)``, as RecBole's loaders give one.

    Attributes:
        rows: row of the batch, (H,), ascending.
        items: item id, (H,), ascending within a row.
    """

    rows: Tensor
    items: Tensor

    def to(self, device: torch.device | str) -> History:
        """The same on a device."""
        return History(self.rows.to(device), self.items.to(device))


class Histories:
    """The items before each of R evaluated rows: stretches of one array, in any order.

    Args:
        items: item ids of all users, (M,); 0 is padding.
        start: the place in ``items`` of a row's first item, (R,).
        stop: the place after its last one, (R,).
    """

    def __init__(self, items: Tensor, start: Tensor, stop: Tensor) -> None:
        self.items, self.start, self.stop = items, start, stop
        self._base = int(items.max()) + 1 if len(items) else 1

    def __len__(self) -> int:
        return len(self.start)

    def pairs(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Row in the batch and item of everything before B of the rows, with all repetitions."""
        start, length = self.start[rows], self.stop[rows] - self.start[rows]
        row = torch.repeat_interleave(torch.arange(len(length)), length)
        shift = start - (length.cumsum(0) - length)
        return row, self.items[torch.arange(len(row)) + shift[row]]

    def of(self, rows: slice | Tensor, positive_rows: Tensor, positive_items: Tensor) -> History:
        """The history of a batch of rows.

        Args:
            rows: B of the rows.
            positive_rows: row in the batch of each target, (P,).
            positive_items: the targets, (P,): they stay candidates, wherever they occur.
        """
        row, items = self.pairs(rows)
        items = items.long()
        pairs = (row * self._base + items)[items > 0].unique()
        known = positive_items < self._base
        targets = (positive_rows * self._base + positive_items)[known]
        pairs = pairs[torch.isin(pairs, targets, invert=True)]
        return History(pairs // self._base, pairs % self._base)
