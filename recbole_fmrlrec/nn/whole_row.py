"""The ends of networks that read a whole row at once: what comes in, and the last position alone.

Such a network mixes the positions of a row without regard to which comes first. The output of a
position is then no prediction from the items up to it; only the last one's is, which has nothing
after it. So rows are padded on the left to one length, and all end at the same position.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.feed_forward import EPSILON
from recbole_fmrlrec.nn.left_padding import left_padded


class WholeRowNetwork(nn.Module):
    """Positions and a norm before blocks, which a subclass adds; it gives `at_last` too.

    Args:
        width: d.
        length: L, the positions of a row.
        dropout: rate.
    """

    def __init__(self, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.positions = nn.Embedding(length, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=EPSILON), Dropout(dropout)

    def start(self, x: Tensor) -> Tensor:
        """What enters the first block, of item vectors ``(B, L, d)``."""
        started: Tensor = self.dropout(self.norm(x + self.positions.weight))
        return started

    @abstractmethod
    def at_last(self, x: Tensor, valid: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last position.

        Args:
            x: ``(B, L, d)`` item vectors.
            valid: ``(B, L)`` where there is an item.
        """

    def encode_last(
        self, table: Tensor, padding: Tensor, item_seq: Tensor, lengths: Tensor
    ) -> Tensor:
        """Outputs ``(B, d)`` at the last item.

        Args:
            table: ``(n, d)`` item vectors.
            padding: ``(d,)`` the vector where there is no item.
            item_seq: ``(B, l)`` rows of ``table``, padded on the right.
            lengths: ``(B,)`` how many of a row they are.
        """
        rows, valid = left_padded(item_seq, lengths, self.length)
        x = torch.where(valid[..., None], functional.embedding(rows, table), padding)
        return self.at_last(x, valid)
