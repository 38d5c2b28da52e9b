"""What a training step of fMRLRec works on: sequences, their layout, and the targets.

The layout depends on the data: how many positions are valid, which have a target. To ask a GPU for
such a number is to wait until it has done all it was given before. So the loader lays a batch out
in the host's memory (`LaidOut`), and the model sends the layout to its device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_fmrlrec.data.window_rows import START_TARGET, TARGETS
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.packing import Packing


@dataclass(frozen=True)
class Batch:
    """Sequences ``(B, L)``, lengths ``(B,)`` and targets ``(T,)``, items 1..N.

    Windows are trained at every position, or at the packed ones ``trained`` ``(T,)``; rows of
    RecBole at their last one, and have no ``packing``.
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
        trained = torch.nonzero(targets).flatten()
        if len(trained) == len(targets):
            return cls(item_seq, lengths, targets, packing)
        return cls(item_seq, lengths, targets[trained], packing, trained)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return replace(
            self,
            item_seq=send(self.item_seq, device),
            lengths=send(self.lengths, device),
            targets=send(self.targets, device),
            packing=None if self.packing is None else self.packing.to(device),
            trained=None if self.trained is None else send(self.trained, device),
        )

    def trained_outputs(self, hidden: Tensor) -> Tensor:
        """Those of the packed outputs that have a target."""
        return hidden if self.trained is None else hidden.index_select(0, self.trained)


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


def lay_out(rows: Interaction, item_seq: str, lengths: str, starts: bool) -> Batch:
    """The layout of windows.

    Args:
        rows: columns of a training batch of windows.
        item_seq: name of the column of their items.
        lengths: name of the column of their lengths.
        starts: whether the first item of a history is trained, from the empty input.
    """
    columns = rows[item_seq], rows[lengths], rows[TARGETS]
    return Batch.of_windows(*(with_starts(*columns, rows[START_TARGET]) if starts else columns))


class LaidOut(Interaction):
    """A batch of windows with its layout, which stays in the host's memory.

    A column that is set again drops the layout. Numbers written into the tensor of a column do not
    reach it: to train on changed rows, set the column.

    Attributes:
        layout: of the rows as the loader made them; None where they were changed.
    """

    layout: Batch | None

    def __init__(self, columns: dict[str, Tensor], layout: Batch | None) -> None:
        super().__init__(columns)
        self.layout = layout

    def to(self, device: Any, selected_field: Any = None) -> LaidOut:
        """RecBole's ``to``; the layout stays where it is."""
        return LaidOut(super().to(device, selected_field).interaction, self.layout)

    def __setitem__(self, key: str, value: Tensor) -> None:
        super().__setitem__(key, value)
        self.layout = None

    def update(self, new_inter: Interaction) -> None:
        """RecBole's ``update``."""
        super().update(new_inter)
        self.layout = None

    def _reindex(self, index: Any) -> None:
        super()._reindex(index)
        self.layout = None
