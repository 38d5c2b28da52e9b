"""The published formulation of fMRLRec: the yardstick of the benchmarks, not for use.

It is the plain model (`recbole_fmrlrec.nn.plain`: complex linear layers as full matrices with zeros
in them, the items of a sequence and the item table projected wherever they are used) with what the
authors' code is described to do beside: sequences padded on the left to a power of two, a recursive
doubling scan, and the logits of every size concatenated before one cross-entropy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.nn.plain import Block, PlainModel


def left_padded(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Move right-padded rows ``(B, L)`` to the right end of rows ``(B, 2^n)``, 2^n >= L."""
    width = 1 << (sequences.shape[1] - 1).bit_length()
    rows = sequences.new_zeros(len(sequences), width)
    for row, length in enumerate(lengths.tolist()):
        rows[row, width - length :] = sequences[row, :length]
    return rows


def doubling_scan(v: Tensor, decay: Tensor) -> Tensor:
    """Join neighbouring halves of 1, 2, 4, ... steps; each half knows its inner states.

    Args:
        v: ``(B, L, d)`` complex inputs, L a power of two.
        decay: ``(d,)`` complex.
    """
    batch, length, width = v.shape
    powers, half = decay[None], 1
    while half < length:
        halves = v.reshape(-1, 2, half, width)
        first, second = halves[:, 0], halves[:, 1]
        joined = second + powers * first[:, -1:]
        v = torch.cat([first, joined], dim=1).reshape(batch, length, width)
        powers = torch.cat([powers, powers * powers[-1]])
        half *= 2
    return v


class PublishedModel(PlainModel):
    """The whole model on left-padded rows whose width is a power of two."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.recurrence.scan = doubling_scan

    def loss(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over items 1..N, over sizes and the positions with a label."""
        logits = torch.cat([part[..., 1:].flatten(0, 1) for part in self(rows)])
        targets = labels.flatten().repeat(len(self.sizes)) - 1
        return functional.cross_entropy(logits, targets, ignore_index=-1)

    @torch.no_grad()
    def top_items(self, rows: Tensor, k: int) -> Tensor:
        """The best ``k`` items at every size for the last position of each row, ``(K, B, k)``."""
        return torch.stack([part[:, -1, 1:].topk(k).indices + 1 for part in self(rows)])
