"""What a training step of fMRLRec works on: sequences, their layout, and the targets.

The layout depends on the data: how many positions are valid, which have a target. To ask a GPU for
such a number is to wait until it has done all it was given before. So a batch is laid out from the
rows in the host's memory, which `HostedInteraction` keeps, and then sent to the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.packing import Packing


class HostedInteraction(Interaction):
    """RecBole's Interaction, of which `host_rows` finds the rows after `to` has sent them."""

    def to(self, device: Any, selected_field: Any = None) -> Interaction:
        """RecBole's ``to``, but the host does not wait for a GPU."""
        chosen = [selected_field] if isinstance(selected_field, str) else selected_field
        moved = Interaction(
            {
                name: send(column, torch.device(device))
                if chosen is None or name in chosen
                else column
                for name, column in self.interaction.items()
            }
        )
        arrived = dict(moved.interaction)
        moved.host = _Host(self, arrived, _versions(arrived))
        return moved


class _Host(NamedTuple):
    """The rows that were sent, and what arrived: its tensors, and how often each was written to."""

    rows: Interaction
    arrived: dict[str, Tensor]
    versions: list[int]

    def is_true_of(self, columns: dict[str, Tensor]) -> bool:
        """Whether these are the columns that arrived, and nobody has written to them."""
        same = columns.keys() == self.arrived.keys()
        same = same and all(columns[name] is tensor for name, tensor in self.arrived.items())
        return same and _versions(self.arrived) == self.versions


def _versions(columns: dict[str, Tensor]) -> list[int]:
    return [0 if tensor.is_inference() else tensor._version for tensor in columns.values()]


def host_rows(interaction: Interaction) -> Interaction:
    """The rows of a batch in the host's memory.

    Returns:
        The batch itself where it was not sent from there, or was changed since.
    """
    host = vars(interaction).get("host")  # getattr would find a column of that name
    if host is None or not host.is_true_of(interaction.interaction):
        return interaction
    rows: Interaction = host.rows
    return rows


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
