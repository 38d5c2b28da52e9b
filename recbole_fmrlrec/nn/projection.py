"""Item tables of large catalogues: features projected in blocks, and one gradient of the table.

Knows no file format: whatever gives rows of features by item number serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.linear import working_dtype

#: Bytes of float32 features held at once when no block size is asked for.
BLOCK_BYTES = 32 * 2**20


class FeatureRows(Protocol):
    """Frozen features ``(N+1, F)``, row 0 zeros, that are not in memory as a whole."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N+1, F)."""

    @property
    def order(self) -> Tensor:
        """``(N+1,)`` all item numbers, in the order in which they are read fastest."""

    @property
    def block_size(self) -> int | None:
        """Rows held at once; None chooses by `block_rows`."""

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of items ``(n,)`` as float32 ``(n, F)`` on the CPU."""


def block_rows(width: int) -> int:
    """Rows of ``width`` float32 values that take about `BLOCK_BYTES`, at least 1."""
    return max(1, BLOCK_BYTES // (4 * width))


class _BlockProjection(torch.autograd.Function):
    """``features[ids] @ weight.T + bias``; the backward pass reads the features once more."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, features: FeatureRows, ids: Tensor | slice | None
    ) -> Tensor:
        ctx.features, ctx.ids = features, ids
        ctx.low, ctx.weight_dtype = working_dtype(weight), weight.dtype
        weight_t, low_bias = weight.to(ctx.low).t(), bias.to(ctx.low)
        out = weight_t.new_empty(_count(features, ids), len(bias))
        for place, rows in _blocks(features, ids, weight_t):
            out[place] = torch.addmm(low_bias, rows, weight_t)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0]
        grad_weight = None
        if ctx.needs_input_grad[0]:
            shape = grad.shape[1], ctx.features.shape[1]
            grad_weight = grad.new_zeros(shape, dtype=ctx.weight_dtype)
            for place, rows in _blocks(ctx.features, ctx.ids, grad.to(ctx.low)[:0]):
                grad_weight += grad[place].to(ctx.low).t() @ rows
        grad_bias = grad.sum(0, dtype=ctx.weight_dtype) if ctx.needs_input_grad[1] else None
        return grad_weight, grad_bias, None, None


def _count(features: FeatureRows, ids: Tensor | slice | None) -> int:
    if ids is None:
        return features.shape[0]
    return ids.stop - ids.start if isinstance(ids, slice) else len(ids)


def _blocks(
    features: FeatureRows, ids: Tensor | slice | None, like: Tensor
) -> Iterator[tuple[Tensor | slice, Tensor]]:
    """Blocks of features of the dtype and device of ``like``, and their places in the result."""
    step = features.block_size or block_rows(features.shape[1])
    wanted, first = features.order, 0
    if isinstance(ids, slice):
        first = ids.start
        wanted = wanted[(wanted >= first) & (wanted < ids.stop)]
    elif ids is not None:
        wanted = ids.cpu()
    for start in range(0, len(wanted), step):
        part = wanted[start : start + step]
        place: Tensor | slice = slice(start, start + len(part))
        if not isinstance(ids, Tensor):
            place = send(part - first, like.device)
        yield place, send(features.rows(part), like.device).to(like.dtype)


def project(
    features: FeatureRows, weight: Tensor, bias: Tensor, ids: Tensor | slice | None = None
) -> Tensor:
    """Item vectors ``W f + b``, of which no more than a block of f is ever held.

    Args:
        features: ``(N+1, F)``.
        weight: ``(d, F)``.
        bias: ``(d,)``.
        ids: item numbers ``(n,)``, or from where to where; all in their order when None.

    Returns:
        ``(n, d)``, or ``(N+1, d)``.
    """
    result: Tensor = _BlockProjection.apply(weight, bias, features, ids)
    return result


def project_reference(features: Tensor, weight: Tensor, bias: Tensor, ids: Tensor) -> Tensor:
    """`project` of a matrix ``(N+1, F)`` in memory: plain, for the tests."""
    return functional.linear(features[ids], weight, bias)


class _SplitTable(torch.autograd.Function):
    """Rows by number, and all rows but the first, with one dense gradient for both."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(ids)
        return table[ids], table[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        of_rows, of_items = grads
        (ids,) = ctx.saved_tensors
        grad = torch.cat([of_items.new_zeros(1, of_items.shape[1]), of_items])
        grad.index_add_(0, ids, of_rows.to(grad.dtype))
        return grad, None


def split_table(table: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What a batch reads of an item table ``(N+1, d)``, and the table that it ranks.

    The same as ``table[ids], table[1:]``, each of which would make a gradient of the table's size.

    Args:
        table: item vectors, row 0 the empty input.
        ids: items read ``(T,)``.

    Returns:
        ``(T, d)`` and ``(N, d)``.
    """
    result: tuple[Tensor, Tensor] = _SplitTable.apply(table, ids)
    return result


def split_table_reference(table: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """`split_table` by its definition, for the tests."""
    return table[ids], table[1:]
