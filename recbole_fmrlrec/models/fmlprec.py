"""FMLP-Rec as a RecBole sequential recommender.

Source: Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022
(arXiv 2202.13556).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_fmrlrec.models.sequence_model import SequenceModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.fmlprec import FMLPRecNetwork


class FMLPRec(SequenceModel):
    """Blocks of a learned filter over the whole row and a feed-forward layer; no attention.

    Trains on RecBole's row per prefix at its last position, as the authors do: a filter reads the
    whole row, so at any other position the model would have seen the item that it is to predict.

    From the paper, section 3: item vectors with positions, the product with complex weights between
    two Fourier transforms, post-norm blocks. From the authors' code: rows padded on the left to one
    length, where the filter reads the padding too, whose item vector is a random one that is never
    trained; GELU, four times as wide; filters that start normal with deviation 0.02, as do all
    other weights.

    What differs: the authors' loss holds one drawn item against each target (a pairwise loss in the
    paper, binary cross-entropy in the code) and their paper ranks among 100 items. Here the loss is
    the softmax over all items, as in the figures that later work reports for the model; training
    rows and candidates are those of every other model.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary.

    Raises:
        ValueError: as `SequenceModel`.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width, std = int(settings["hidden_size"]), float(settings["initializer_range"])
        self.item_embedding = nn.Embedding(self.n_items, width)
        nn.init.normal_(self.item_embedding.weight, std=std)
        self.network = FMLPRecNetwork(
            width,
            self.max_seq_length,
            blocks=settings["num_blocks"],
            dropout=settings["hidden_dropout_prob"],
            init_std=std,
        )

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 the padding, or a row for each of ``ids``."""
        weight = self.item_embedding.weight
        return weight if ids is None else self.item_embedding(send(ids, weight.device))

    def encode_last(self, table: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded rows of ``table``, ``(B, L)``."""
        padding = self.item_embedding.weight[0].detach()
        return self.network.encode_last(table, padding, item_seq, item_seq_len)
