"""The layout of a batch of sequences of unequal length: only valid positions, all first ones first.

A batch is packed as `torch.nn.utils.rnn.pack_padded_sequence` packs it: sequences sorted by
falling length, all first positions, then all second positions, and so on. Every position-wise
operation then runs on the T valid positions only, and the scan over shrinking batches costs
nothing for padding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recbole_fmrlrec.nn.devices import send


@dataclass(frozen=True)
class Packing:
    """Where each packed position comes from.

    Attributes:
        index: ``(T,)`` position in the flattened right-padded ``(B * L)`` batch.
        batch_sizes: number of sequences that reach step 0, 1, 2, ...
        last: ``(B,)`` packed position of each sequence's last item, in the batch's own order.
        rank: ``(B,)`` place of each sequence among all, the longest first.
    """

    index: Tensor
    batch_sizes: list[int]
    last: Tensor
    rank: Tensor

    @classmethod
    def from_lengths(cls, lengths: Tensor, width: int) -> Packing:
        """Lay out right-padded sequences of the given lengths.

        Worked out on the CPU: lengths on a GPU cost one wait for it.

        Args:
            lengths: ``(B,)`` valid positions of each row, 1 to ``width``. The result is on their
                device.
            width: padded length L of the batch.

        Raises:
            ValueError: a length lies outside 1..width.
        """
        device, lengths = lengths.device, lengths.cpu()
        low, high = (int(lengths.min()), int(lengths.max())) if lengths.numel() else (1, 1)
        if low < 1 or high > width:
            raise ValueError(f"sequence lengths must lie in 1..{width}, got {low}..{high}")
        ordered, order = torch.sort(lengths, descending=True, stable=True)
        steps = torch.arange(high)
        reached = steps[:, None] < ordered[None, :]
        step, rank = reached.nonzero(as_tuple=True)
        counts = reached.sum(1)
        offsets = counts.cumsum(0) - counts
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        last = offsets[lengths - 1] + place
        return cls(order[rank] * width + step, counts.tolist(), last, place).to(device)

    def to(self, device: torch.device) -> Packing:
        """The same on another device."""
        return replace(
            self,
            index=send(self.index, device),
            last=send(self.last, device),
            rank=send(self.rank, device),
        )

    def pack(self, padded: Tensor) -> Tensor:
        """Gather ``(B, L, ...)`` into ``(T, ...)``."""
        return padded.flatten(0, 1)[self.index]

    def unpack(self, packed: Tensor, shape: tuple[int, int]) -> Tensor:
        """Scatter ``(T, ...)`` back into zeros of ``(B, L, ...)``."""
        padded = packed.new_zeros(shape[0] * shape[1], *packed.shape[1:])
        return padded.index_copy(0, self.index, packed).unflatten(0, shape)
