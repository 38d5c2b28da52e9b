"""Items that are rows of one learned table."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_fmrlrec.nn.devices import send


class LearnedItems:
    """The item side of a model whose ``item_embedding`` has a row for each item.

    A base class before `SequenceModel` or one of its subclasses; the model makes the table.
    """

    item_embedding: nn.Embedding

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 the padding, or a row for each of ``ids``."""
        weight = self.item_embedding.weight
        return weight if ids is None else self.item_embedding(send(ids, weight.device))
