"""Item tables that several processes make together, each of them some of the rows.

How the parts are exchanged is the trainer's business (`recbole_fmrlrec.train.item_shards`); the
item side knows only what it asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class RowShards(Protocol):
    """The processes that make a table together. All call the same, in the same order."""

    @property
    def count(self) -> int:
        """How many processes there are."""

    def whole(self, make: Callable[[slice], Tensor], length: int) -> Tensor:
        """A table ``(length, d)`` of which ``make`` gives consecutive rows, here only this
        process's; ``d`` is at least 1. Its gradient is the sum over all processes."""

    def most(self, number: int) -> int:
        """The largest of the processes' numbers."""


def whole_table(make: Callable[[slice], Tensor], length: int, shards: RowShards | None) -> Tensor:
    """All rows of a table, made here or together with others.

    Args:
        make: the rows of a slice without step, ``(n, d)``.
        length: how many rows there are.
        shards: the processes that make it together; None makes it here.
    """
    return make(slice(0, length)) if shards is None else shards.whole(make, length)
