"""The encoder of LRURec: post-norm blocks of a linear recurrence and a feed-forward layer.

Source: Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024
(arXiv 2310.02367), section 4; details that the paper leaves open are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.recurrence import LinearRecurrence

#: Complex numbers in the state for each number of an item vector.
STATES = 2


class LRUBlock(nn.Module):
    """``x = norm(x + dropout(recurrence(x)))``, then ``norm(x + dropout(ff(x)))``.

    The feed-forward layer is ``out(dropout(gelu(in(x))))``, 4d wide.

    Args:
        width: d; the state is `STATES` times as wide.
        dropout: rate inside and after the feed-forward layer.
        recurrence_dropout: rate after the recurrence.
        r_min: lower bound of the eigenvalues at the start.
        r_max: upper bound of the eigenvalues at the start.
    """

    def __init__(
        self, width: int, dropout: float, recurrence_dropout: float, r_min: float, r_max: float
    ) -> None:
        super().__init__()
        self.recurrence = LinearRecurrence((width,), r_min, r_max, STATES)
        self.norm_recurrence = nn.LayerNorm(width)
        self.expand, self.reduce = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.dropout, self.recurrence_dropout = Dropout(dropout), Dropout(recurrence_dropout)

    def forward(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """Map packed ``(T, d)`` to ``(T, d)``."""
        mixed = self.recurrence_dropout(self.recurrence(x, batch_sizes))
        x = self.norm_recurrence(mixed + x)
        inner = self.dropout(functional.gelu(self.expand(x)))
        result: Tensor = self.norm_feedforward(self.dropout(self.reduce(inner)) + x)
        return result


class LRURecEncoder(nn.Module):
    """Dropout and a norm of the item vectors, then `LRUBlock` after `LRUBlock`.

    Args:
        width: d.
        num_blocks: number of blocks.
        dropout: rate of the item vectors, and inside and after the feed-forward layers.
        recurrence_dropout: rate after the recurrences.
        r_min: lower bound of the eigenvalues at the start.
        r_max: upper bound of the eigenvalues at the start.
    """

    def __init__(
        self,
        width: int,
        num_blocks: int = 2,
        dropout: float = 0.0,
        recurrence_dropout: float = 0.0,
        r_min: float = 0.8,
        r_max: float = 0.99,
    ) -> None:
        super().__init__()
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            LRUBlock(width, dropout, recurrence_dropout, r_min, r_max) for _ in range(num_blocks)
        )
        init_weights(self)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Map packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        x = self.norm(self.dropout(x))
        for block in self.blocks:
            x = block(x, packing.batch_sizes)
        return x


@torch.no_grad()
def init_weights(module: nn.Module, std: float = 0.02) -> None:
    """Weights and biases, real and imaginary parts alike: normal within two standard deviations.

    Norms, the recurrence's nu, theta, gamma and the history's bias keep what they begin with.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            kept = name.endswith("_log") or name == "history_bias"
            if not isinstance(part, nn.LayerNorm) and not kept:
                nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
