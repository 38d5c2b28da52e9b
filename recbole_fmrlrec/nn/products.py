"""The products behind the nested logits: chunk k of the outputs times chunk k of every item.

The loss (`recbole_fmrlrec.nn.loss`) sums them up, from one size to the next, and hands back the
gradients of the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from recbole_fmrlrec.nn.linear import chunk_bounds, working_dtype

#: Chunks below this width take their gradients the other way round, ``(c, N) @ (N, n)``: on a CPU
#: products with so few columns are several times slower than those with so few rows, and less
#: exact.
NARROW = 16


class ChunkProducts:
    """The operands of each chunk's logits, ``left @ right.T``, and the gradients of what made them.

    Args:
        hidden: ``(T, d)`` outputs of the sequence encoder.
        items: ``(N, d)`` item table.
        bounds: where each chunk begins and ends.

    Attributes:
        lefts: ``(T, c)`` outputs for each chunk.
        rights: ``(N, c)`` items for each chunk.
    """

    def __init__(self, hidden: Tensor, items: Tensor, bounds: Sequence[tuple[int, int]]) -> None:
        low = working_dtype(hidden)
        self.hidden, self.items, self.bounds = hidden, items, bounds
        h, table = hidden.to(low), items.to(low)
        self.lefts = [h[:, start:end] for start, end in bounds]
        self.rights = [table[:, start:end] for start, end in bounds]

    def start_gradients(self, scale: float) -> None:
        """Make room; ``scale`` multiplies every gradient."""
        self.scale = scale
        self.grad_lefts = [torch.empty_like(left) for left in self.lefts]
        self.grad_items = torch.zeros_like(self.items)

    def add_gradients(self, part: slice, of_logits: Sequence[Tensor]) -> None:
        """Take in ``(n, N)`` gradients of each chunk's logits at the positions ``part``."""
        for k, (start, end) in enumerate(self.bounds):
            low = of_logits[k].to(self.rights[k].dtype)
            columns, left = self.grad_items[:, start:end], self.lefts[k][part]
            if end - start < NARROW:
                self.grad_lefts[k][part] = (self.rights[k].t() @ low.t()).t()
                columns.add_((left.t() @ low).t(), alpha=self.scale)
                continue
            torch.mm(low, self.rights[k], out=self.grad_lefts[k][part])
            if columns.dtype == low.dtype:
                columns.addmm_(low.t(), left, alpha=self.scale)
            else:
                columns.add_(low.t() @ left, alpha=self.scale)

    def gradients(self) -> tuple[Tensor, ...]:
        """Gradients of the outputs ``(T, d)`` and of each tensor of the items that learns."""
        return self.of_hidden(self.grad_lefts), self.grad_items

    def of_hidden(self, of_chunks: Sequence[Tensor]) -> Tensor:
        """The gradient of the outputs from that of each of their chunks, not scaled yet."""
        return torch.cat(list(of_chunks), dim=1).to(self.hidden.dtype).mul_(self.scale)


class RankedItems(Protocol):
    """Items that a loss ranks, in whatever form: a table, or what stands for one."""

    @property
    def learned(self) -> tuple[Tensor, ...]:
        """The tensors that learn; the first has a row for each of the N items."""

    def check_width(self, sizes: Sequence[int]) -> None:
        """Raise ValueError where these items are not as wide as the largest size."""

    def products(self, hidden: Tensor, sizes: Sequence[int]) -> ChunkProducts:
        """Their products with outputs ``(T, d)``."""


@dataclass(frozen=True)
class ItemTable:
    """All items as one table ``(N, d)``."""

    table: Tensor

    @property
    def learned(self) -> tuple[Tensor, ...]:
        """The table."""
        return (self.table,)

    def check_width(self, sizes: Sequence[int]) -> None:
        """Refuse a table of another width with a ValueError."""
        if self.table.shape[1] != sizes[-1]:
            raise ValueError(
                f"the item table is {self.table.shape[1]} wide: it must end at the last of the "
                f"sizes {list(sizes)}"
            )

    def products(self, hidden: Tensor, sizes: Sequence[int]) -> ChunkProducts:
        """Their products with outputs ``(T, d)``."""
        return ChunkProducts(hidden, self.table, chunk_bounds(sizes))
