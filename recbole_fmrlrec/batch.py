"""What a training step of fMRLRec works on: sequences, their layout, and the targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_fmrlrec.recurrence import Packing


@dataclass(frozen=True)
class Batch:
    """Sequences ``(B, L)``, lengths ``(B,)`` and targets ``(T,)``, items 1..N.

    Windows are trained at every position, or at those of ``trained`` among the packed ones; rows
    of RecBole at their last one, and have no ``packing``.
    """

    item_seq: Tensor
    lengths: Tensor
    targets: Tensor
    packing: Packing | None = None
    trained: Tensor | None = None

    @classmethod
    def of_windows(cls, item_seq: Tensor, lengths: Tensor, target_seq: Tensor) -> Batch:
        """Windows with ``(B, L)`` targets, 0 where a position is not trained."""
        packing = Packing.from_lengths(lengths, item_seq.shape[1])
        targets = packing.pack(target_seq)
        trained = targets > 0
        if trained.all():
            return cls(item_seq, lengths, targets, packing)
        return cls(item_seq, lengths, targets[trained], packing, trained)

    def trained_outputs(self, hidden: Tensor) -> Tensor:
        """Those of the packed outputs that have a target."""
        return hidden if self.trained is None else hidden[self.trained]


def with_starts(
    item_seq: Tensor, lengths: Tensor, target_seq: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Add a sequence of the one empty input (item 0) for each row that begins a history.

    Args:
        item_seq: ``(B, L)`` items.
        lengths: ``(B,)``.
        target_seq: ``(B, L)`` next items.
        first: ``(B,)`` the first item of the history that a row begins, else 0.

    Returns:
        The three with a row more for each history that begins.
    """
    starts = first[first > 0]
    empty = item_seq.new_zeros(len(starts), item_seq.shape[1])
    start_targets = empty.clone()
    start_targets[:, 0] = starts
    return (
        torch.cat([item_seq, empty]),
        torch.cat([lengths, torch.ones_like(starts)]),
        torch.cat([target_seq, start_targets]),
    )
