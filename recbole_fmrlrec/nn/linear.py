"""The nested layers: every output of a chunk reads only inputs inside its own nested size.

Dimension letters (DESIGN vocabulary, used in the whole package): T valid positions of a batch,
d the largest size, K the number of sizes, N items without padding, F feature width. "Chunk k" of
a vector is positions ``sizes[k-1]:sizes[k]``, with ``sizes[-1] = 0`` for the first.

Source: Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", Findings of EMNLP 2024, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout

#: Chunks up to this width are computed as one masked block: below it a matrix product is cheaper
#: than the call that starts it.
MERGED_WIDTH = 128


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the nested sizes as a tuple.

    Raises:
        ValueError: sizes are empty, not whole numbers of 1 or more, or not strictly ascending.
    """
    checked = tuple(sizes)
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in checked)
    if not checked or not whole or checked[0] < 1:
        raise ValueError(f"sizes must be whole numbers of 1 or more, got {list(checked)}")
    if any(low >= high for low, high in pairwise(checked)):
        raise ValueError(f"sizes must be strictly ascending, got {list(checked)}")
    return checked


def chunk_bounds(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Start and end of each chunk: ``[(0, s_1), (s_1, s_2), ...]``."""
    return list(zip([0, *sizes[:-1]], sizes, strict=True))


def nested_mask(sizes: Sequence[int], out_copies: int = 1, in_copies: int = 1) -> Tensor:
    """Boolean ``(out_copies * d, in_copies * d)``: True where an input may reach an output."""
    level = torch.repeat_interleave(
        torch.arange(len(sizes)), torch.tensor([end - start for start, end in chunk_bounds(sizes)])
    )
    return (
        level.repeat_interleave(out_copies)[:, None] >= level.repeat_interleave(in_copies)[None, :]
    )


def _mm_into(out: Tensor, x: Tensor, weight_t: Tensor, bias: Tensor | None) -> None:
    """Write ``x @ weight_t + bias`` into ``out``, a column slice of a larger matrix."""
    if bias is None:
        torch.mm(x, weight_t, out=out)
    else:
        torch.addmm(bias, x, weight_t, out=out)


class _NestedLinear(torch.autograd.Function):
    """Block-lower-triangular ``x @ W.T + b``, one product a row block, no zero block multiplied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, *weights: Tensor) -> Tensor:
        low = working_dtype(x)
        x_low, weights_low = x.to(low), [weight.to(low) for weight in weights]
        bias_low = bias.to(low)
        out = x_low.new_empty(x.shape[0], bias.shape[0])
        start = 0
        for weight in weights_low:
            rows, cols = weight.shape
            end = start + rows
            _mm_into(out[:, start:end], x_low[:, :cols], weight.t(), bias_low[start:end])
            start = end
        ctx.save_for_backward(x_low, *weights_low)
        ctx.in_dtype = x.dtype
        ctx.weight_dtype = weights[0].dtype
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        grad = grads[0].to(x.dtype).contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weights: list[Tensor | None] = [None] * len(weights)
        end = grad.shape[1]
        # The last row block reads every input, so it initialises grad_x and the others add to it.
        for index in range(len(weights) - 1, -1, -1):
            weight = weights[index]
            rows, cols = weight.shape
            part = grad[:, end - rows : end]
            if grad_x is not None:
                if index == len(weights) - 1:
                    torch.mm(part, weight, out=grad_x)
                else:
                    grad_x[:, :cols].addmm_(part, weight)
            if ctx.needs_input_grad[2 + index]:
                grad_weights[index] = (part.t() @ x[:, :cols]).to(ctx.weight_dtype)
            end -= rows
        grad_bias = grad.sum(0, dtype=ctx.weight_dtype) if ctx.needs_input_grad[1] else None
        return (None if grad_x is None else grad_x.to(ctx.in_dtype), grad_bias, *grad_weights)


def working_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which matrix products run: autocast's where it is on, else that of ``x``."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


class MatryoshkaLinear(nn.Module):
    """Linear layer whose output chunk k reads input positions ``0..s_k`` only.

    The weight is block-lower-triangular (about 2/3 of a full one when sizes double) and is kept
    as a few row blocks, so that neither memory nor work goes to the zeros. ``out_copies=2`` makes
    a complex output of a real input, ``in_copies=2`` a real output of a complex input, with the
    real and the imaginary part of a position side by side: a chunk stays a contiguous range.

    Args:
        sizes: nested sizes, strictly ascending; d = sizes[-1].
        out_copies: numbers per output position.
        in_copies: numbers per input position.
    """

    def __init__(self, sizes: Sequence[int], out_copies: int = 1, in_copies: int = 1) -> None:
        super().__init__()
        self.sizes = check_sizes(sizes)
        self.out_copies, self.in_copies = out_copies, in_copies
        ends = [s for s in self.sizes if s <= MERGED_WIDTH][-1:]
        ends += [s for s in self.sizes if s > MERGED_WIDTH]
        self.weights = nn.ParameterList(
            torch.empty((end - start) * out_copies, end * in_copies)
            for start, end in chunk_bounds(ends)
        )
        self.bias = nn.Parameter(torch.zeros(self.sizes[-1] * out_copies))
        self.merged_mask: Tensor | None
        merged = nested_mask([s for s in self.sizes if s <= ends[0]], out_copies, in_copies)
        self.register_buffer(
            "merged_mask", None if merged.all() else merged.to(torch.float32), persistent=False
        )
        self.reset_parameters()

    def reset_parameters(self, std: float = 0.02) -> None:
        """Truncated normal weights (two standard deviations), zero bias."""
        with torch.no_grad():
            for weight in self.weights:
                nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
            if self.merged_mask is not None:
                self.weights[0] *= self.merged_mask
            self.bias.zero_()

    def row_blocks(self) -> list[Tensor]:
        """The weight as row blocks, with the entries that are no parameters held at zero."""
        blocks = list(self.weights)
        if self.merged_mask is not None:
            blocks[0] = blocks[0] * self.merged_mask
        return blocks

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(T, in_copies * d)`` to ``(T, out_copies * d)``."""
        result: Tensor = _NestedLinear.apply(x, self.bias, *self.row_blocks())
        return result

    def full_weight(self) -> Tensor:
        """The weight as a full ``(out_copies * d, in_copies * d)`` matrix with its zeros."""
        width = self.weights[-1].shape[1]
        blocks = self.row_blocks()
        return torch.cat([functional.pad(b, (0, width - b.shape[1])) for b in blocks])

    @torch.no_grad()
    def load_full(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a full weight matrix and a bias, for example those of a larger layer."""
        start = 0
        for block in self.weights:
            rows, cols = block.shape
            block.copy_(weight[start : start + rows, :cols])
            start += rows
        if self.merged_mask is not None:
            self.weights[0] *= self.merged_mask
        self.bias.copy_(bias)

    def zero_count(self) -> int:
        """Entries held in the weight blocks that are zeros and no parameters."""
        mask = self.merged_mask
        return 0 if mask is None else int(mask.numel() - mask.sum())

    def extra_repr(self) -> str:
        return f"sizes={list(self.sizes)}, copies={self.in_copies}->{self.out_copies}"


def matryoshka_linear_reference(
    x: Tensor, weight: Tensor, bias: Tensor, sizes: Sequence[int], out_copies: int, in_copies: int
) -> Tensor:
    """`MatryoshkaLinear` as one masked full product: slow, plain, for the tests."""
    return functional.linear(x, weight * nested_mask(sizes, out_copies, in_copies), bias)


class MatryoshkaLayerNorm(nn.Module):
    """An ordinary layer norm on each chunk by itself.

    Args:
        sizes: nested sizes, strictly ascending; d = sizes[-1].
        eps: added to the variance.
    """

    def __init__(self, sizes: Sequence[int], eps: float = 1e-5) -> None:
        super().__init__()
        self.sizes = check_sizes(sizes)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(self.sizes[-1]))
        self.bias = nn.Parameter(torch.zeros(self.sizes[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(T, d)``, chunk by chunk."""
        chunks = [
            functional.layer_norm(
                x[:, start:end],
                (end - start,),
                self.weight[start:end],
                self.bias[start:end],
                self.eps,
            )
            for start, end in chunk_bounds(self.sizes)
        ]
        return torch.cat(chunks, dim=1)


class MatryoshkaFeedForward(nn.Module):
    """``down(dropout(silu(gate(x)) * up(x)))`` with nested linear layers of width d."""

    def __init__(self, sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.gate = MatryoshkaLinear(sizes)
        self.up = MatryoshkaLinear(sizes)
        self.down = MatryoshkaLinear(sizes)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(T, d)`` to ``(T, d)``."""
        hidden = functional.silu(self.gate(x)) * self.up(x)
        result: Tensor = self.down(self.dropout(hidden))
        return result
