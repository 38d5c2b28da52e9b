"""The item side of a training step with few positions: the last dimensions are never projected.

``h_k @ (W_k F).T``, the logits of chunk k, may be had as ``(h_k @ W_k) @ F.T`` as well. That costs
more for each position and spares the projection of the whole catalogue, so that it pays for the
widest chunks of a small batch (one of 32 users has fewer than 200 positions). `step_items` chooses;
network, loss and model need not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.linear import chunk_bounds, working_dtype
from recbole_fmrlrec.nn.products import ChunkProducts, RankedItems
from recbole_fmrlrec.nn.projection import split_table
from recbole_fmrlrec.nn.shards import RowShards, whole_table


def table_width(
    positions: int, sizes: Sequence[int], feature_width: int, processes: int = 1
) -> int:
    """How many leading dimensions of the items to project into a table.

    A chunk of c dimensions costs ``N (2 F c + 3 T c)`` multiplications with the table (projection,
    logits, three gradients) and ``2 N T F`` without. All chunks behind the result are cheaper
    without. Of the projection W processes that share it do a W-th each.

    Args:
        positions: T.
        sizes: nested sizes.
        feature_width: F.
        processes: W.
    """
    width = sizes[-1]
    for start, end in reversed(chunk_bounds(sizes)):
        projection = 2 * feature_width / processes
        if (end - start) * (projection + 3 * positions) <= 2 * positions * feature_width:
            break
        width = start
    return width


def step_items(
    features: Tensor,
    projector: nn.Linear,
    sizes: Sequence[int],
    ids: Tensor,
    positions: int,
    shards: RowShards | None = None,
) -> tuple[Tensor, Tensor | RankedItems]:
    """What a step reads of the items, and all of them as the loss ranks them.

    Args:
        features: ``(N+1, F)``, row 0 zeros.
        projector: from F to d.
        sizes: nested sizes.
        ids: items read ``(T,)``.
        positions: positions whose loss is wanted.
        shards: the processes that make the table together; None for this one alone.

    Returns:
        Item vectors ``(T, d)``, and the items for `recbole_fmrlrec.nn.loss.nested_cross_entropy`.
    """
    count = 1 if shards is None else shards.count
    if shards is not None:  # all have to choose the same
        positions = shards.most(positions)
    width = table_width(positions, sizes, features.shape[1], count)
    if width == sizes[-1]:
        table = whole_table(lambda part: projector(features[part]), len(features), shards)
        return split_table(table, ids)
    head, tail = projector.weight[:width], projector.weight[width:]
    bias = projector.bias[:width]
    table = whole_table(
        lambda part: functional.linear(features[part], head, bias),
        len(features),
        shards if width else None,
    )
    first, ranked = split_table(table, ids)
    last = functional.linear(features[ids], tail, projector.bias[width:])
    return torch.cat([first, last], dim=1), TailedItems(ranked, tail, features[1:])


@dataclass(frozen=True)
class TailedItems:
    """Items as a table of their first w dimensions and a product that is never formed.

    The product has no bias: one number added to all logits of a position leaves the softmax as is.

    Attributes:
        table: ``(N, w)``, w one of the sizes or 0.
        weight: ``(d - w, F)``.
        features: ``(N, F)``, constant.
    """

    table: Tensor
    weight: Tensor
    features: Tensor

    @property
    def learned(self) -> tuple[Tensor, ...]:
        """Table and weight."""
        return self.table, self.weight

    def full(self) -> Tensor:
        """The table that these stand for, ``(N, d)``."""
        return torch.cat([self.table, self.features @ self.weight.t()], dim=1)

    def check_width(self, sizes: Sequence[int]) -> None:
        """Refuse other widths than the sizes ask for with a ValueError."""
        width = self.table.shape[1]
        if width + len(self.weight) != sizes[-1] or width not in (0, *sizes):
            raise ValueError(
                f"the table is {width} wide and together with its tail {width + len(self.weight)}: "
                f"it must end at one of the sizes {list(sizes)}, and both together at the last"
            )

    def products(self, hidden: Tensor, sizes: Sequence[int]) -> ChunkProducts:
        """Their products with outputs ``(T, d)``."""
        return _TailedProducts(hidden, self, sizes)


class _TailedProducts(ChunkProducts):
    """Behind the table, ``h W`` ``(T, F)`` is the left operand and the features the right one."""

    def __init__(self, hidden: Tensor, items: TailedItems, sizes: Sequence[int]) -> None:
        width, low = items.table.shape[1], working_dtype(hidden)
        bounds = chunk_bounds(sizes)
        behind = [(start, end) for start, end in bounds if end > width]
        super().__init__(hidden, items.table, bounds[: len(bounds) - len(behind)])
        self.dtype, weight, h = items.weight.dtype, items.weight.to(low), hidden.to(low)
        self.outputs = [h[:, start:end] for start, end in behind]
        self.weights = [weight[start - width : end - width] for start, end in behind]
        pairs = zip(self.outputs, self.weights, strict=True)
        self.lefts += [output @ part for output, part in pairs]
        self.rights += [items.features.to(low)] * len(behind)

    def add_gradients(self, part: slice, of_logits: Sequence[Tensor]) -> None:
        """Take in ``(n, N)`` gradients of each chunk's logits at the positions ``part``."""
        super().add_gradients(part, of_logits)
        for k in range(len(self.bounds), len(self.lefts)):
            low = of_logits[k].to(self.rights[k].dtype)
            torch.mm(low, self.rights[k], out=self.grad_lefts[k][part])

    def gradients(self) -> tuple[Tensor, ...]:
        """Gradients of the outputs ``(T, d)``, the table and the weight."""
        count = len(self.bounds)
        inside, behind = self.grad_lefts[:count], self.grad_lefts[count:]
        inside = inside + [g @ part.t() for g, part in zip(behind, self.weights, strict=True)]
        of_weight = [output.t() @ g for output, g in zip(self.outputs, behind, strict=True)]
        grad_weight = torch.cat(of_weight).to(self.dtype).mul_(self.scale)
        return self.of_hidden(inside), self.grad_items, grad_weight
