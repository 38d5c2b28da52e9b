"""A learned number for the items that a sequence has read already.

The score of item i after the items x_1 .. x_t is, at the nested size k,

    <h_t[:s_k], e_i[:s_k]> + b_k [i in {x_1, ..., x_t}]

Whether people come back to what they had, or never do, is a property of the data that a product of
two vectors cannot say: items like those of the history score high, and most alike are the history's
own. One number a size says it. It learns a negative one where nothing is repeated, and a positive
one where repeats are more frequent than the vectors make them.

Positions and items are held as a dense table: each of the T positions names the L items before it,
so that nothing depends on values that a GPU would have to be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recbole_fmrlrec.nn.packing import Packing


@dataclass(frozen=True)
class HistoryShift:
    """What is added to the scores ``(T, N)`` of T positions.

    Attributes:
        columns: ``(T, L)`` items 0..N-1 that a position has read; where ``counted`` is 0, any.
        counted: ``(T, L)`` 1 for each different item once, else 0.
        values: ``(K,)`` b, by nested size.
    """

    columns: Tensor
    counted: Tensor
    values: Tensor

    @classmethod
    def of_rows(cls, item_seq: Tensor, values: Tensor) -> HistoryShift:
        """After whole rows ``(B, L)`` of items 1..N, padded with 0."""
        counted = first_occurrences(item_seq).to(values.dtype)
        return cls((item_seq - 1).clamp(min=0), counted, values)

    @classmethod
    def of_positions(
        cls, item_seq: Tensor, packing: Packing, trained: Tensor | None, values: Tensor
    ) -> HistoryShift:
        """After each packed position of rows ``(B, L)``, or after those that are trained."""
        width = item_seq.shape[1]
        index = packing.index if trained is None else packing.index[trained]
        row, place = index // width, index % width
        read = torch.arange(width, device=item_seq.device) <= place[:, None]
        counted = (first_occurrences(item_seq)[row] & read).to(values.dtype)
        return cls((item_seq[row] - 1).clamp(min=0), counted, values)

    def increments(self) -> HistoryShift:
        """What each size adds to the scores of the size before it."""
        before = torch.cat([torch.zeros_like(self.values[:1]), self.values[:-1]])
        return replace(self, values=self.values - before)

    def among(self, items: Tensor) -> HistoryShift:
        """The same for the scores of some items ``(C,)`` of 0..N-1, ascending."""
        place = torch.searchsorted(items, self.columns).clamp_(max=len(items) - 1)
        found = items[place] == self.columns
        return replace(self, columns=place, counted=self.counted * found)

    def inside(self, rows: slice, first: int, width: int) -> HistoryShift:
        """The same for a block of rows, and of the columns from ``first`` on, ``width`` of them."""
        columns = self.columns[rows] - first
        found = (columns >= 0) & (columns < width)
        columns, counted = columns.clamp(0, width - 1), self.counted[rows] * found
        return replace(self, columns=columns, counted=counted)

    def add(self, scores: Tensor, rows: slice, size: int) -> None:
        """Add to the scores ``(n, N)`` of some positions at the size in place ``size``."""
        shift = (self.counted[rows] * self.values[size]).to(scores.dtype)
        scores.scatter_add_(1, self.columns[rows], shift)

    def gradient(self, of_scores: Tensor, rows: slice) -> Tensor:
        """The gradient of b from that of the scores ``(n, N)`` of some positions: a scalar."""
        read = of_scores.gather(1, self.columns[rows])
        return torch.sum(read * self.counted[rows], dtype=torch.float64)

    def of(self, items: Tensor, size: int) -> Tensor:
        """What is added to the scores of a position's items ``(T,)`` or ``(T, C)`` of 0..N-1."""
        asked = (items if items.dim() == 2 else items[:, None]).contiguous()
        read = torch.where(self.counted > 0, self.columns, -1).sort(dim=1).values
        place = torch.searchsorted(read, asked).clamp_(max=read.shape[1] - 1)
        found = (read.gather(1, place) == asked).to(self.values.dtype)
        return found.view_as(items) * self.values[size]


def first_occurrences(item_seq: Tensor) -> Tensor:
    """Where an item of a row ``(B, L)`` stands for the first time, as ``(B, L)`` booleans; not 0.

    The first t of a row hold the same different items as those of its first t that are true.
    """
    ordered, place = item_seq.sort(dim=1, stable=True)
    new = ordered > 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(new).scatter_(1, place, new)
