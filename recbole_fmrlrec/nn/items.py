"""Item vectors: a projection of frozen features, a learned vector per item, or their sum."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.products import RankedItems
from recbole_fmrlrec.nn.projection import FeatureRows, project, split_table
from recbole_fmrlrec.nn.shards import RowShards
from recbole_fmrlrec.nn.tail import step_items

#: Id vectors that get their first values together.
INIT_ROWS = 2**16


class ItemVectors(nn.Module):
    """``items = W features + b (+ id vectors)``, ``(N+1, d)``.

    A network may be one itself, so that its item side's weights are named with its own.

    Args:
        width: d.
        feature_width: F, width of the concatenated frozen features; 0 for none.
        num_id_items: rows of the id embedding (padding row 0 included), 0 for none.

    Attributes:
        sizes: the sizes at which the items are ranked; d alone, unless a subclass says otherwise.

    Raises:
        ValueError: there are neither features nor ids.
    """

    def __init__(self, width: int, feature_width: int, num_id_items: int = 0) -> None:
        super().__init__()
        self.sizes: tuple[int, ...] = (width,)
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
        self,
        features: Tensor | FeatureRows | None,
        ids: Tensor | None = None,
        shards: RowShards | None = None,
    ) -> Tensor:
        """Item vectors.

        Args:
            features: ``(N+1, F)`` frozen features, row 0 zeros, in memory or elsewhere; None for
                a model of ids only.
            ids: rows wanted, on the CPU or with the weights; all when None.
            shards: the processes that project all rows together; None for this one alone.

        Returns:
            ``(N+1, d)``, or a row for each of ``ids``. Row 0 is the empty input.
        """
        table: Tensor | None = None
        if self.projector is not None and features is not None:
            if ids is None and shards is not None:
                table = shards.whole(partial(self._projected, features), features.shape[0])
            else:
                table = self._projected(features, ids)
        if self.id_embedding is not None:
            vectors = self.id_embedding.weight
            if ids is not None:
                vectors = self.id_embedding(send(ids, vectors.device))
            table = vectors if table is None else table + vectors
        if table is None:
            raise ValueError("a model of features needs the feature matrix")
        return table

    def _projected(
        self, features: Tensor | FeatureRows, ids: Tensor | slice | None = None
    ) -> Tensor:
        """``W features + b`` of all items, or of some."""
        assert self.projector is not None
        if not isinstance(features, Tensor):
            return project(features, self.projector.weight, self.projector.bias, ids)
        if isinstance(ids, Tensor):
            ids = send(ids, features.device)
        projected: Tensor = self.projector(features if ids is None else features[ids])
        return projected

    def step_items(
        self,
        features: Tensor | FeatureRows | None,
        ids: Tensor,
        positions: int,
        shards: RowShards | None = None,
    ) -> tuple[Tensor, Tensor | RankedItems]:
        """What a step of training reads of the items, and all of them as the loss ranks them.

        Args:
            features: ``(N+1, F)``, row 0 zeros; None for a model of ids only.
            ids: packed items ``(T,)`` that the sequences read.
            positions: the positions whose loss is wanted.
            shards: the processes that project all items together; None for this one alone.

        Returns:
            Item vectors ``(T, d)``, and items 1..N for `nested_cross_entropy`.
        """
        # What else than a product with features in memory makes items leaves no choice.
        if (
            self.projector is None
            or self.id_embedding is not None
            or not isinstance(features, Tensor)
        ):
            return split_table(self.item_table(features, shards=shards), ids)
        return step_items(features, self.projector, self.sizes, ids, positions, shards)
