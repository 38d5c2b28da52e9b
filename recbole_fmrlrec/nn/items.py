"""Item vectors: a projection of frozen features, a learned vector per item, or their sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.projection import FeatureRows, project

#: Id vectors that get their first values together.
INIT_ROWS = 2**16


class ItemVectors(nn.Module):
    """``items = W features + b (+ id vectors)``, ``(N+1, d)``.

    A network may be one itself, so that its item side's weights are named with its own.

    Args:
        width: d.
        feature_width: F, width of the concatenated frozen features; 0 for none.
        num_id_items: rows of the id embedding (padding row 0 included), 0 for none.

    Raises:
        ValueError: there are neither features nor ids.
    """

    def __init__(self, width: int, feature_width: int, num_id_items: int = 0) -> None:
        super().__init__()
        if feature_width < 1 and num_id_items < 1:
            raise ValueError("the model needs item features, an id embedding, or both")
        self.projector = nn.Linear(feature_width, width) if feature_width else None
        self.id_embedding = nn.Embedding(num_id_items, width) if num_id_items else None

    @torch.no_grad()
    def init_weights(self, std: float = 0.02) -> None:
        """Truncated normal values within two standard deviations; biases of zero."""
        if self.projector is not None:
            nn.init.trunc_normal_(self.projector.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(self.projector.bias)
        if self.id_embedding is not None:
            # torch draws all of a tensor again until no number is outside, in copies of it.
            for rows in self.id_embedding.weight.split(INIT_ROWS):
                nn.init.trunc_normal_(rows, std=std, a=-2 * std, b=2 * std)

    def item_table(
        self, features: Tensor | FeatureRows | None, ids: Tensor | None = None
    ) -> Tensor:
        """Item vectors.

        Args:
            features: ``(N+1, F)`` frozen features, row 0 zeros, in memory or elsewhere; None for
                a model of ids only.
            ids: rows wanted, on the CPU or with the weights; all when None.

        Returns:
            ``(N+1, d)``, or a row for each of ``ids``. Row 0 is the empty input.
        """
        table: Tensor | None = None
        if self.projector is not None and features is not None:
            if isinstance(features, Tensor):
                rows = features if ids is None else features[send(ids, features.device)]
                table = self.projector(rows)
            else:
                table = project(features, self.projector.weight, self.projector.bias, ids)
        if self.id_embedding is not None:
            vectors = self.id_embedding.weight
            if ids is not None:
                vectors = self.id_embedding(send(ids, vectors.device))
            table = vectors if table is None else table + vectors
        if table is None:
            raise ValueError("a model of features needs the feature matrix")
        return table
