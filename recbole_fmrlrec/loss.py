"""The nested cross-entropy: the softmax loss over all items at every nested size at once.

Logits of a size are the running sum of the chunks' products, ``logits_k = logits_{k-1} +
h[:, chunk k] @ items[:, chunk k].T``, so that all sizes cost what the largest costs. The gradient
of chunk k is that of all sizes that read it, ``G_k = sum_{m >= k} dloss/dlogits_m``, summed from
the largest size down. Positions are worked through in blocks and their gradients are made in the
forward pass, so memory depends on the block and not on T x N x K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.layers import chunk_bounds, working_dtype

#: Bytes of logits held at once when no block size is asked for: a block that stays in the cache
#: is worth more than fewer, larger products.
BLOCK_BYTES = 12 * 2**20

#: Below this probability of the target its logarithm is taken from the logits instead.
TINY = 1e-30


def block_rows(num_items: int, num_sizes: int, positions: int) -> int:
    """Positions per block, at least 16, so that a block's logits take about `BLOCK_BYTES`."""
    fitting = max(16, BLOCK_BYTES // (4 * max(1, num_items) * num_sizes))
    blocks = -(-positions // fitting)
    return -(-positions // max(1, blocks))


class _NestedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        targets: Tensor,
        sizes: tuple[int, ...],
        distillation: float,
        rows: int,
        bias: Tensor | None,
    ) -> Tensor:
        dtype = working_dtype(hidden)
        work = _Block(hidden.to(dtype), items.to(dtype), sizes, distillation, rows, bias)
        grads = None
        if any(ctx.needs_input_grad[:2]):
            grads = torch.empty_like(work.h), torch.zeros_like(items)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for start in range(0, len(targets), rows):
            total += work.run(slice(start, start + rows), targets, grads)
        scale = 1.0 / (len(sizes) * len(targets))
        if grads is not None:
            ctx.save_for_backward(grads[0].to(hidden.dtype).mul_(scale), grads[1].mul_(scale))
        return (total * scale).to(_accumulator(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_h, grad_e = ctx.saved_tensors
        return grad_h * grads[0], grad_e * grads[0], None, None, None, None, None


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


class _Block:
    """Work space of one block of positions: logits, then probabilities, then gradients, in place.

    Attributes:
        h: ``(T, d)`` outputs; e: ``(N, d)`` item table; both in the dtype of the products.
        bias: ``(N,)`` added to the logits of all items but the target; None for none.
    """

    def __init__(
        self,
        h: Tensor,
        e: Tensor,
        sizes: tuple[int, ...],
        distillation: float,
        rows: int,
        bias: Tensor | None,
    ) -> None:
        self.h, self.e, self.bias = h, e, bias
        self.chunks = list(enumerate(chunk_bounds(sizes)))
        self.distillation = distillation if len(sizes) > 1 else 0.0
        count = len(sizes) + (self.distillation > 0)
        shape = (count, min(rows, len(h)), len(e))
        self.buffers = torch.empty(shape, dtype=_accumulator(h.dtype), device=h.device)

    def run(self, part: slice, targets: Tensor, grads: tuple[Tensor, Tensor] | None) -> Tensor:
        """Sum of the losses of the positions ``part``; writes and adds their gradients."""
        h, column = self.h[part], targets[part, None]
        buffers = self.buffers[:, : len(h)]
        self._fill_logits(h, buffers, column)
        total = torch.zeros((), dtype=torch.float64, device=h.device)
        teacher: Tensor | None = None
        above: Tensor | None = None
        for k, (start, end) in reversed(self.chunks):
            block = buffers[k]
            total += self._loss_and_softmax(block, h[:, :end], column, teacher)
            if teacher is None and self.distillation > 0:
                teacher = buffers[-1].copy_(block)
            if grads is None:
                continue
            self._to_gradient(block, column, None if above is None else teacher)
            if above is not None:
                block += above
            above = block
            self._add_gradients(block, h, (start, end), grads[0][part], grads[1])
        return total

    def _fill_logits(self, h: Tensor, buffers: Tensor, column: Tensor) -> None:
        for k, (start, end) in self.chunks:
            h_chunk, e_chunk_t = h[:, start:end], self.e[:, start:end].t()
            if h.dtype != buffers.dtype:
                product = h_chunk @ e_chunk_t
                torch.add(buffers[k - 1], product, out=buffers[k]) if k else buffers[0].copy_(
                    product
                )
            elif k == 0:
                torch.mm(h_chunk, e_chunk_t, out=buffers[0])
            else:
                torch.addmm(buffers[k - 1], h_chunk, e_chunk_t, out=buffers[k])
            if k == 0 and self.bias is not None:
                add_bias(buffers[0], self.bias, column)

    def _loss_and_softmax(
        self, block: Tensor, h: Tensor, column: Tensor, teacher: Tensor | None
    ) -> Tensor:
        """Turn logits into probabilities in place and return the sum of the losses."""
        hit = block.gather(1, column)
        expected = (1 - self.distillation) * hit if teacher is not None else hit
        if teacher is not None:
            expected = expected + self.distillation * torch.linalg.vecdot(teacher, block)[:, None]
        torch.softmax(block, dim=1, out=block)
        probability = block.gather(1, column)
        log_total = hit - probability.log()
        lost = (probability < TINY).squeeze(1)
        if lost.any():
            logits = (h[lost] @ self.e[:, : h.shape[1]].t()).to(block.dtype)
            if self.bias is not None:
                add_bias(logits, self.bias, column[lost])
            log_total[lost] = torch.logsumexp(logits, dim=1, keepdim=True)
        return (log_total - expected).sum(dtype=torch.float64)

    def _to_gradient(self, block: Tensor, column: Tensor, teacher: Tensor | None) -> None:
        """Replace probabilities by ``softmax - target``."""
        soft = 0.0
        if teacher is not None:
            soft = self.distillation
            block.sub_(teacher, alpha=soft)
        block.scatter_add_(1, column, block.new_full(column.shape, soft - 1.0))

    def _add_gradients(
        self, block: Tensor, h: Tensor, chunk: tuple[int, int], grad_h: Tensor, grad_e: Tensor
    ) -> None:
        part = slice(*chunk)
        low = block.to(h.dtype)
        torch.mm(low, self.e[:, part], out=grad_h[:, part])
        if grad_e.dtype == low.dtype:
            grad_e[:, part].addmm_(low.t(), h[:, part])
        else:
            grad_e[:, part] += low.t() @ h[:, part]


def add_bias(logits: Tensor, bias: Tensor, column: Tensor) -> None:
    """Add ``(N,)`` to rows ``(T, N)`` in place, except where ``column`` ``(T, 1)`` points."""
    hit = logits.gather(1, column)
    logits += bias
    logits.scatter_(1, column, hit)


def nested_cross_entropy(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    sizes: Sequence[int],
    self_distillation: float = 0.0,
    block_size: int | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Mean over sizes and positions of the softmax cross-entropy over all items.

    With ``self_distillation = a`` the target below the largest size is (1 - a) times the one-hot
    target plus a times the largest size's softmax, taken as constant.

    Args:
        hidden: ``(T, d)`` outputs of the sequence encoder.
        items: ``(N, d)`` item table without padding.
        targets: ``(T,)`` row of ``items`` that is next, 0..N-1.
        sizes: nested sizes, strictly ascending; d = sizes[-1].
        self_distillation: a, in [0, 1].
        block_size: positions worked through at once; chosen from the shapes when None.
        bias: ``(N,)`` constants added to the logits of every size, but not to that of a
            position's own target: see `recbole_fmrlrec.sampled_loss`.

    Returns:
        Scalar loss.

    Source: Wang et al., fMRLRec, Findings of EMNLP 2024, section 3.4 (the sum over sizes).
    """
    rows = block_size or block_rows(len(items), len(sizes), len(targets))
    result: Tensor = _NestedCrossEntropy.apply(
        hidden, items, targets, tuple(sizes), float(self_distillation), rows, bias
    )
    return result


def nested_cross_entropy_reference(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    sizes: Sequence[int],
    self_distillation: float = 0.0,
    bias: Tensor | None = None,
) -> Tensor:
    """`nested_cross_entropy` by its definition: slow, plain, for the tests."""
    onehot = functional.one_hot(targets, len(items)).to(hidden.dtype)
    added = 0.0 if bias is None else (1 - onehot) * bias
    teacher = torch.softmax(hidden @ items.t() + added, dim=1).detach()
    losses = []
    for size in sizes:
        soft = self_distillation if size != sizes[-1] else 0.0
        target = (1 - soft) * onehot + soft * teacher
        logits = hidden[:, :size] @ items[:, :size].t() + added
        losses.append(functional.cross_entropy(logits, target))
    return torch.stack(losses).mean()
