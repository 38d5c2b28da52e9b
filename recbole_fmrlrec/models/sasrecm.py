"""SASRecM: SASRec with this package's rows, loss and item side, as a control."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_fmrlrec.model_api.protocols import ShardedItems
from recbole_fmrlrec.models.feature_input import FeatureInput
from recbole_fmrlrec.models.sequence_model import CausalModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.attention import SASRecEncoder
from recbole_fmrlrec.nn.items import ItemVectors
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.products import RankedItems


class SASRecM(ShardedItems, FeatureInput, CausalModel):
    """RecBole's SASRec, trained on user windows; items are ids, features, or both.

    The control of comparisons with fMRLRec. Against RecBole's SASRec it shows what rows and loss
    give: the encoder is the same. Against fMRLRec with the same items it shows what the recurrence
    and the nested sizes give: item vectors come from the same projector. Against itself it shows
    what features give (``use_features``, ``use_id_embedding``).

    Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, in the form of
    RecBole's SASRec: item and position vectors are added, normed and dropped out; two post-norm
    blocks of attention and a feed-forward layer 4d wide with GELU; normal weights of 0.02; the
    score is the product with the item vector. Positions count from the start of a row. (The paper's
    own network is pre-norm, d wide in the feed-forward layer with ReLU, and counts positions from
    the end.)

    What differs from RecBole's: a target at every position of a window in place of a row for each
    prefix; the padding is no candidate of the softmax; batches of 128 windows, as RecTools has
    them, in place of 2,048 prefixes.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary and feature files.

    Raises:
        ValueError: RecBole's negative sampling is on, ``loss_type`` is none of ours, there are
            neither features nor ids, or ``n_heads`` does not divide ``hidden_size``.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width = int(settings["hidden_size"])
        ids = self.n_items if settings["use_id_embedding"] else 0
        self.items = ItemVectors(width, self.feature_width, ids)
        self.items.init_weights(settings["initializer_range"])
        self.encoder = SASRecEncoder(
            width,
            int(settings["MAX_ITEM_LIST_LENGTH"]),
            num_blocks=settings["n_layers"],
            heads=settings["n_heads"],
            inner=settings["inner_size"],
            dropout=settings["hidden_dropout_prob"],
            attention_dropout=settings["attn_dropout_prob"],
            eps=settings["layer_norm_eps"],
            std=settings["initializer_range"],
        )

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """Biases and norms."""
        return [p for p in self.parameters() if p.ndim < 2]

    def item_products(self) -> tuple[int, int]:
        """F for each of N d numbers, in a step with the exact loss."""
        return 0 if self.sampler else self.feature_width, self.n_items * self.items.sizes[-1]

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 the padding, or a row for each of ``ids``."""
        return self.items.item_table(self.features, ids, self.step_shards)

    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        hidden: Tensor = self.encoder(x, packing)
        return hidden

    def step_items(self, ids: Tensor, positions: int) -> tuple[Tensor, Tensor | RankedItems]:
        """What a step reads of the items ``(T, d)``, and all of them as the loss ranks them."""
        return self.items.step_items(self.features, ids, positions, self.step_shards)
