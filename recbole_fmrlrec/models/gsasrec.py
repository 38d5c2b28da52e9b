"""gSASRec as a RecBole sequential recommender."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from recbole_fmrlrec.models.learned_items import LearnedItems
from recbole_fmrlrec.models.own_negatives import OwnNegativesModel
from recbole_fmrlrec.models.sequence_model import CausalModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.gsasrec import GSASRecEncoder, init_weights
from recbole_fmrlrec.nn.negatives import gbce, gbce_beta
from recbole_fmrlrec.nn.packing import Packing


class gSASRec(LearnedItems, OwnNegativesModel):
    """SASRec trained by generalised binary cross-entropy against many negatives.

    Source: Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation
    Trained with Negative Sampling", RecSys 2023 (arXiv 2308.07192). From the paper: gBCE with the
    calibration ``gbce_t`` of 0.75 against 256 uniform negatives of each position. From the authors'
    code: SASRec's own transformer, positions counted from the end of a row (theirs are padded on
    the left), an output table apart from the input's, the first values.

    What differs: histories above the maximum length are trained in windows that overlap, where the
    authors train the latest one (``training_windows: latest``); negatives are at most all items but
    one; patience is 100 passes over the data, theirs 200 epochs of at most 100 batches; early
    stopping goes by all users, with their histories, theirs by 512 users without. (On Amazon Beauty
    validation NDCG@10 stays between 0.006 and 0.008 for the first epochs.)

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary.

    Raises:
        ValueError: ``n_heads`` does not divide ``hidden_size``, or as `SequenceModel`.
    """

    own_loss = "gBCE"
    loss_types: ClassVar[tuple[str, ...]] = ("gBCE", *CausalModel.loss_types)

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width = int(settings["hidden_size"])
        self.beta = gbce_beta(self.num_candidates, self.num_negatives, float(settings["gbce_t"]))
        self.item_embedding = nn.Embedding(self.n_items, width)
        self.output_embedding: nn.Embedding | None = None
        if not settings["reuse_item_embeddings"]:
            self.output_embedding = nn.Embedding(self.n_items - 1, width)
        self.encoder = GSASRecEncoder(
            width,
            self.max_seq_length,
            num_blocks=settings["n_layers"],
            heads=settings["n_heads"],
            dropout=settings["dropout_prob"],
        )
        init_weights(self)

    def output_items(self, vectors: Tensor, ids: Tensor | None = None) -> Tensor:
        """The vectors ``(C, d)`` that outputs are multiplied with: a table of their own."""
        if self.output_embedding is None:
            return vectors
        weight = self.output_embedding.weight
        return weight if ids is None else self.output_embedding(send(ids, weight.device) - 1)

    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed item vectors ``(T, d)`` to packed outputs ``(T, d)``, from left to right."""
        hidden: Tensor = self.encoder(x, packing)
        return hidden

    def loss_of_scores(self, scores: Tensor) -> Tensor:
        """gBCE of scores ``(T, 1 + k)``: a position's target, then its negatives."""
        return gbce(scores, self.beta)
