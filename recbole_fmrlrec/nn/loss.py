"""The nested cross-entropy: the softmax loss over all items at every nested size at once.

Logits of a size are the running sum of the chunks' products, ``logits_k = logits_{k-1} +
h[:, chunk k] @ items[:, chunk k].T``, so that all sizes cost what the largest costs. The gradient
of chunk k is that of all sizes that read it, ``G_k = sum_{m >= k} dloss/dlogits_m``, summed from
the largest size down. Positions are worked through in blocks and their gradients are made in the
forward pass, so memory depends on the block and not on T x N x K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.nn.devices import at_once
from recbole_fmrlrec.nn.history_shift import HistoryShift
from recbole_fmrlrec.nn.products import ChunkProducts, ItemTable, RankedItems

#: Bytes of logits held at once when no block size is asked for. Products need a few hundred rows
#: to reach their full speed.
BLOCK_BYTES = 160 * 2**20

#: Bytes of one size's logits that pass through the element-wise steps together: they should stay
#: in the cache from one step to the next.
CACHED_BYTES = 4 * 2**20

#: Positions that a block has at least, whatever they take: each block reads the whole item table.
FEWEST_ROWS = 64

#: Rows of logits begin at multiples of this many numbers: a matrix product into rows that begin
#: anywhere takes half as long again.
ALIGNED = 32


def block_rows(
    num_items: int, num_sizes: int, positions: int, block_bytes: int = BLOCK_BYTES
) -> int:
    """Positions per block: so many that its logits take about ``block_bytes``, or `FEWEST_ROWS`."""
    fitting = max(FEWEST_ROWS, block_bytes // (4 * max(1, num_items) * num_sizes))
    blocks = -(-positions // fitting)
    return -(-positions // max(1, blocks))


class _Task(NamedTuple):
    """What a loss is asked for, apart from the tensors that learn by it."""

    items: RankedItems
    targets: Tensor
    sizes: tuple[int, ...]
    distillation: float
    rows: int
    bias: Tensor | None
    shift: HistoryShift | None


class _NestedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, task: _Task, hidden: Tensor, of_history: Tensor | None, *learned: Tensor
    ) -> Tensor:
        targets, rows, count = task.targets, task.rows, len(learned[0])
        products = task.items.products(hidden, task.sizes)
        logits = _Logits(products, count, task, min(rows, len(hidden)))
        scale = 1.0 / (len(task.sizes) * len(targets))
        needed = any(ctx.needs_input_grad)
        if needed:
            products.start_gradients(scale)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            total += logits.run(part, targets[part, None], needed)
            if needed:
                products.add_gradients(part, logits.gradients)
        if needed:
            of_hidden, *of_learned = products.gradients()
            shifts = None if of_history is None else logits.of_shifts.to(of_history) * scale
            ctx.save_for_backward(of_hidden, shifts, *of_learned)
        return (total * scale).to(_accumulator(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        upstream, found = grads[0], ctx.saved_tensors
        # A loss's own gradient is nearly always 1, and a look at it costs nothing on a CPU.
        if upstream.device.type != "cpu" or upstream.item() != 1.0:
            found = [None if grad is None else grad * upstream for grad in found]
        return None, *found


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


class _Logits:
    """Work space of one block of positions: logits, then probabilities, then gradients, in place.

    Attributes:
        gradients: after `run`, for each chunk the ``(n, N)`` gradient of the logits it adds to.
        of_shifts: the gradient of the history's shift at each size, ``(K,)``, over all runs.
    """

    def __init__(self, products: ChunkProducts, num_items: int, task: _Task, rows: int) -> None:
        self.products, self.num_items = products, num_items
        self.bias, self.shift = task.bias, task.shift
        count = len(products.lefts)
        self.distillation = task.distillation if count > 1 else 0.0
        dtype, device = _accumulator(products.lefts[0].dtype), products.lefts[0].device
        padded = -(-num_items // ALIGNED) * ALIGNED
        self.buffers = torch.empty((count, rows, padded), dtype=dtype, device=device)
        self.cached = rows
        if device.type == "cpu":
            self.cached = max(1, CACHED_BYTES // (padded * self.buffers.element_size()))
        self.gradients: list[Tensor] = []
        self.of_shifts = torch.zeros(count, dtype=torch.float64, device=device)

    def run(self, part: slice, column: Tensor, with_gradients: bool) -> Tensor:
        """Sum of the losses of the positions ``part`` with targets ``column`` ``(n, 1)``."""
        buffers = self.buffers[:, : len(column)]
        self._fill(part, buffers[:, :, : self.num_items])
        # Columns that only fill up a row: their probabilities are 0, and 0 times this is 0.
        buffers[:, :, self.num_items :] = torch.finfo(buffers.dtype).min / 2
        total = torch.zeros((), dtype=torch.float64, device=column.device)
        for start in range(0, len(column), self.cached):
            rows = slice(start, min(start + self.cached, len(column)))
            positions = slice(part.start + rows.start, part.start + rows.stop)
            total += self._reduce(buffers[:, rows], column[rows], positions, with_gradients)
        self.gradients = list(buffers[:, :, : self.num_items])
        return total

    def _fill(self, part: slice, buffers: Tensor) -> None:
        pairs = zip(self.products.lefts, self.products.rights, strict=True)
        for k, (left, right) in enumerate(pairs):
            rows, right_t = left[part], right.t()
            if rows.dtype != buffers.dtype:
                product = rows @ right_t
                torch.add(buffers[k - 1], product, out=buffers[k]) if k else buffers[0].copy_(
                    product
                )
            elif k == 0:
                torch.mm(rows, right_t, out=buffers[0])
            else:
                torch.addmm(buffers[k - 1], rows, right_t, out=buffers[k])

    def _reduce(
        self, buffers: Tensor, column: Tensor, positions: slice, with_gradients: bool
    ) -> Tensor:
        """From logits ``(K, n, N)`` to summed losses; gradients are left in their place."""
        total = torch.zeros((), dtype=torch.float64, device=column.device)
        teacher: Tensor | None = None
        above: Tensor | None = None
        for size in reversed(range(len(buffers))):
            block = buffers[size]
            if self.bias is not None:
                add_bias(block[:, : self.num_items], self.bias, column)
            if self.shift is not None:
                self.shift.add(block, positions, size)
            total += self._loss_and_softmax(block, column, teacher)
            soft = self.distillation if teacher is not None else 0.0
            if teacher is None and self.distillation > 0:
                teacher = block.clone()
            if not with_gradients:
                continue
            if soft and teacher is not None:
                block.sub_(teacher, alpha=soft)
            block.scatter_add_(1, column, block.new_full(column.shape, soft - 1.0))
            if self.shift is not None:
                self.of_shifts[size] += self.shift.gradient(block, positions)
            if above is not None:
                block += above
            above = block
        return total

    def _loss_and_softmax(self, block: Tensor, column: Tensor, teacher: Tensor | None) -> Tensor:
        """Turn logits into probabilities in place and return the sum of the losses."""
        expected = block.gather(1, column).squeeze(1)
        if teacher is not None:
            soft = torch.linalg.vecdot(teacher, block)
            expected = (1 - self.distillation) * expected + self.distillation * soft
        largest = block.amax(1)
        torch.softmax(block, dim=1, out=block)
        # The likeliest item has probability exp(0) / sum, which never underflows.
        log_total = largest - block.amax(1).log()
        return (log_total - expected).sum(dtype=torch.float64)


def add_bias(logits: Tensor, bias: Tensor, column: Tensor) -> None:
    """Add ``(N,)`` to rows ``(T, N)`` in place, except where ``column`` ``(T, 1)`` points."""
    hit = logits.gather(1, column)
    logits += bias
    logits.scatter_(1, column, hit)


def nested_cross_entropy(
    hidden: Tensor,
    items: Tensor | RankedItems,
    targets: Tensor,
    sizes: Sequence[int],
    self_distillation: float = 0.0,
    block_size: int | None = None,
    bias: Tensor | None = None,
    shift: HistoryShift | None = None,
) -> Tensor:
    """Mean over sizes and positions of the softmax cross-entropy over all items.

    With ``self_distillation = a`` the target below the largest size is (1 - a) times the one-hot
    target plus a times the largest size's softmax, taken as constant.

    Args:
        hidden: ``(T, d)`` outputs of the sequence encoder.
        items: ``(N, d)`` item table without padding, or what stands for it.
        targets: ``(T,)`` row of ``items`` that is next, 0..N-1.
        sizes: nested sizes, strictly ascending; d = sizes[-1].
        self_distillation: a, in [0, 1].
        block_size: positions worked through at once; chosen from the shapes when None.
        bias: ``(N,)`` constants added to the logits of every size, but not to that of a
            position's own target: see `recbole_fmrlrec.nn.sampled_loss`.
        shift: what is added to the logits of the items that a position has read, and learns.

    Returns:
        Scalar loss.

    Raises:
        ValueError: there is no position, or the items are not d wide.

    Source: Wang et al., fMRLRec, Findings of EMNLP 2024, section 3.4 (the sum over sizes).
    """
    ranked = ItemTable(items) if isinstance(items, Tensor) else items
    ranked.check_width(sizes)
    if not len(targets):
        raise ValueError("there is no position to train: the batch has no targets")
    shape = len(ranked.learned[0]), len(sizes), len(targets)
    rows = block_size or block_rows(*shape, at_once(BLOCK_BYTES, hidden.device))
    task = _Task(ranked, targets, tuple(sizes), float(self_distillation), rows, bias, shift)
    of_history = None if shift is None else shift.values
    result: Tensor = _NestedCrossEntropy.apply(task, hidden, of_history, *ranked.learned)
    return result


def nested_cross_entropy_reference(
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    sizes: Sequence[int],
    self_distillation: float = 0.0,
    bias: Tensor | None = None,
    shift: HistoryShift | None = None,
) -> Tensor:
    """`nested_cross_entropy` by its definition: slow, plain, for the tests."""
    onehot = functional.one_hot(targets, len(items)).to(hidden.dtype)
    added = torch.zeros_like(onehot) if bias is None else (1 - onehot) * bias
    read = torch.zeros_like(onehot)
    if shift is not None:
        for row, (columns, counted) in enumerate(zip(shift.columns, shift.counted, strict=True)):
            read[row, columns[counted > 0]] = 1.0
    shifts = torch.zeros(len(sizes)) if shift is None else shift.values
    teacher = torch.softmax(hidden @ items.t() + added + shifts[-1] * read, dim=1).detach()
    losses = []
    for size, value in zip(sizes, shifts, strict=True):
        soft = self_distillation if size != sizes[-1] else 0.0
        target = (1 - soft) * onehot + soft * teacher
        logits = hidden[:, :size] @ items[:, :size].t() + added + value * read
        losses.append(functional.cross_entropy(logits, target))
    return torch.stack(losses).mean()
