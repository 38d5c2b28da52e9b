"""The key ``history_bias``: a learned number for the items that a sequence has read.

Not part of any of the papers; see `recbole_fmrlrec.nn.history_shift`.
"""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_fmrlrec.data.batch import Batch
from recbole_fmrlrec.nn.history_shift import HistoryShift

#: What is added is this many times what is learned: an optimizer that moves a number by about the
#: learning rate in a step takes it as far as logits go.
SCALE = 10.0


class HistoryBias:
    """A sequence model that may learn what is added to the scores of the history's items.

    Attributes:
        history_bias: ``(K,)``, by nested size; None for a model without.
    """

    history_bias: nn.Parameter | None
    ITEM_SEQ: str

    def add_history_bias(self, wanted: object, sizes: int = 1) -> None:
        """Make the parameter where it is wanted: 0, so that nothing is added at the start."""
        self.history_bias = nn.Parameter(torch.zeros(sizes)) if wanted else None

    def history_shifts(self) -> Tensor | None:
        """What is added, ``(K,)`` by nested size; None for nothing."""
        return None if self.history_bias is None else SCALE * self.history_bias

    def history_shift(self, batch: Batch) -> HistoryShift | None:
        """What is added to the scores of the items that each trained position has read."""
        if (values := self.history_shifts()) is None:
            return None
        if batch.packing is None:
            return HistoryShift.of_rows(batch.item_seq, values)
        return HistoryShift.of_positions(batch.item_seq, batch.packing, batch.trained, values)

    def shift_of(self, interaction: Interaction) -> HistoryShift | None:
        """What is added to the scores after the rows of a batch."""
        if (values := self.history_shifts()) is None:
            return None
        return HistoryShift.of_rows(interaction[self.ITEM_SEQ], values)
