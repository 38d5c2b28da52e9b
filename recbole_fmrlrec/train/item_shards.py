"""Each process of a training projects its share of the items' features, and gets the others'.

The exact softmax ranks all items, so that a step needs the whole table of N + 1 item vectors.
Projecting them from F features costs ``4 N F d`` multiplications and additions, gradient included,
in every process; of W processes each does a W-th of that here. What is exchanged instead, for d
numbers of b bytes (4, or 2 under autocast):

- forward, the rows that the others made (all-gather): each sends and receives
  ``(W - 1) / W (N + 1) d b`` bytes;
- backward, the gradients of a process's own rows from all processes (reduce-scatter): as many, in
  each direction. Each adds up its own rows in the order of the processes, in float32, and takes
  the gradient through the projection; those of the weights are exchanged as ever;
- 8 bytes in each step for the positions of all, by which the processes weigh their losses before
  the backward pass, and 8 more where the network chooses by them what to project.

So 8 bytes a number of the table against 4 F operations in W processes: it pays where features are
wide, whatever N and d, and not where the processes' connection is slow. Measured with two processes
of one core each over gloo: it costs what it spares at F = 300 to 400.

What the projection draws (dropout and noise in UniSRec's) each process draws for its own rows, and
all then rank the same vectors, as one process does.

The reduce-scatter is an all-to-all and a sum: gloo has had none of its own for long, and in torch
2.13 it takes twice as long as this, which nccl can do, too. It needs room for one more table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.model_api.protocols import ShardedItems

#: From so many products a number on it pays on CPUs (`benchmarks distributed`).
LEAST_PRODUCTS = 512
#: Below so many numbers a table is made faster than processes speak to each other.
LEAST_NUMBERS = 2**20


def shard(length: int, rank: int, count: int) -> slice:
    """The rows of process ``rank`` of ``count``: the last ones have fewer, or none."""
    rows = -(-length // count)
    return slice(min(rank * rows, length), min((rank + 1) * rows, length))


class ItemShards:
    """All processes of torchrun, as `recbole_fmrlrec.nn.shards.RowShards`."""

    @property
    def count(self) -> int:
        """How many processes there are."""
        return torchrun.size()

    def whole(self, make: Callable[[slice], Tensor], length: int) -> Tensor:
        """The table ``(length, d)`` whose rows the processes make.

        Raises:
            RunError: another process has ended.
        """
        own = make(shard(length, torchrun.rank(), torchrun.size()))
        table: Tensor = _Gathered.apply(own, length)
        return table

    def most(self, number: int) -> int:
        """The largest of the processes' numbers.

        Raises:
            RunError: another process has ended.
        """
        found = torch.tensor([number])
        torchrun.add_up(found, largest=True)
        return int(found)


class _Gathered(torch.autograd.Function):
    """Own rows to all rows; a gradient of all rows to the sum of everybody's for the own rows."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, length: int) -> Tensor:
        count = torchrun.size()
        rows = -(-length // count)
        table = own.new_empty(count * rows, own.shape[1])
        padded = own.contiguous()
        if len(own) < rows:  # parts are gathered at one length
            padded = torch.cat([own, own.new_zeros(rows - len(own), own.shape[1])])
        torchrun.gathered(padded, list(table.split(rows)))
        return table[:length]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        count = torchrun.size()
        parts = [shard(len(grad), rank, count) for rank in range(count)]
        lengths = [part.stop - part.start for part in parts]
        each = torchrun.dealt_out(grad.contiguous(), lengths)
        each = each.view(count, lengths[torchrun.rank()], grad.shape[1])
        low = grad.dtype in (torch.bfloat16, torch.float16)
        return each.sum(0, dtype=torch.float32 if low else None).to(grad.dtype), None


def pays(model: ShardedItems, device: torch.device) -> bool:
    """Whether to make a model's items together unless the user says: where it was measured to pay.

    Nothing has been measured on several GPUs; a GPU projects so fast that only a fast connection
    between them could gain something.
    """
    products, numbers = model.item_products()
    return device.type == "cpu" and products >= LEAST_PRODUCTS and numbers >= LEAST_NUMBERS


def share_items(model: Any, wanted: bool | None, device: torch.device) -> bool:
    """Let a model make its items together with the other processes where that is wanted.

    Args:
        model: any; only `ShardedItems` that project all items in a step can.
        wanted: None for where it `pays`.
        device: that it is on.

    Returns:
        Whether it does from now on.
    """
    if torchrun.size() == 1 or not isinstance(model, ShardedItems) or not model.item_products()[0]:
        return False
    shared = pays(model, device) if wanted is None else wanted
    model.item_shards = ItemShards() if shared else None
    return shared
