"""eSASRec as a RecBole sequential recommender."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from recbole_fmrlrec.models.learned_items import LearnedItems
from recbole_fmrlrec.models.own_negatives import OwnNegativesModel
from recbole_fmrlrec.models.sequence_model import CausalModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.esasrec import ESASRecEncoder, init_weights
from recbole_fmrlrec.nn.negatives import own_softmax
from recbole_fmrlrec.nn.packing import Packing


class eSASRec(LearnedItems, OwnNegativesModel):
    """SASRec's objective with LiGR layers and a softmax over the target and 256 negatives.

    Source: Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations in a Modular
    Fashion", RecSys 2025 (arXiv 2508.06450). From the paper: next item at every position, LiGR
    layers, sampled softmax. From the authors' code and RecTools 0.13, which it builds on: negatives
    uniform for each position and not corrected for, the same vectors for input and output, of which
    each step drops the same numbers in both, positions counted from the end of a row,
    Xavier-normal first values, no norm after the last layer.

    What differs: histories above the maximum length are trained in windows that overlap, where the
    authors train the latest one (``training_windows: latest``); negatives are at most all items but
    one; early stopping goes by NDCG@10, theirs by Recall@10 without the items of the histories
    (``valid_metric: masked_Recall@10``).

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary.

    Raises:
        ValueError: ``n_heads`` does not divide ``hidden_size``, or as `SequenceModel`.
    """

    own_loss = "sampled_softmax"
    loss_types: ClassVar[tuple[str, ...]] = ("sampled_softmax", *CausalModel.loss_types)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width = int(settings["hidden_size"])
        self.item_embedding = nn.Embedding(self.n_items, width)
        self.item_dropout = Dropout(settings["item_dropout_prob"])
        self.encoder = ESASRecEncoder(
            width,
            self.max_seq_length,
            num_blocks=settings["n_layers"],
            heads=settings["n_heads"],
            inner=settings["inner_size"],
            dropout=settings["dropout_prob"],
        )
        init_weights(self)

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """As `LearnedItems`; in training with dropout, drawn once for the input and the output."""
        vectors: Tensor = self.item_dropout(super().item_vectors(ids))
        return vectors

    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed item vectors ``(T, d)`` to packed outputs ``(T, d)``, from left to right."""
        hidden: Tensor = self.encoder(x, packing)
        return hidden

    def loss_of_scores(self, scores: Tensor) -> Tensor:
        """Softmax of scores ``(T, 1 + k)``: a position's target, then its negatives."""
        return own_softmax(scores)
