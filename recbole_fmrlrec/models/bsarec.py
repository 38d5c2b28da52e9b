"""BSARec as a RecBole sequential recommender.

Source: Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the
Self-Attention", AAAI 2024 (arXiv 2312.10325).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_fmrlrec.models.sequence_model import SequenceModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.bsarec import BSARecNetwork
from recbole_fmrlrec.nn.devices import send


class BSARec(SequenceModel):
    """Self-attention and a filter that rescales high frequencies, mixed in every block.

    Trains on RecBole's row per prefix at its last position, as the authors do: the filter reads a
    whole row, so at any other position the model would have seen the item that it is to predict.

    From the paper: the mix with the share ``alpha``, the filter with ``c`` and a learned
    beta for each dimension, the softmax over all items. From the authors' code: rows are padded on
    the left to one length, and the filter reads the padding too; its item vector is a random one
    that is never trained; post-norm blocks with a GELU layer four times as wide; all weights start
    normal with deviation 0.02.

    What differs: the authors also train the first item of a history, from a row of padding alone,
    take the targets from a user's last 50 items only, and keep the padding among the candidates.
    Here the rows and the candidates are those of every other model.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary.

    Raises:
        ValueError: ``alpha``, ``c`` or ``n_heads`` is none that the model can have, or as
            `SequenceModel`.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width, std = int(settings["hidden_size"]), float(settings["initializer_range"])
        self.item_embedding = nn.Embedding(self.n_items, width)
        nn.init.normal_(self.item_embedding.weight, std=std)
        self.network = BSARecNetwork(
            width,
            self.max_seq_length,
            blocks=settings["n_layers"],
            heads=settings["n_heads"],
            alpha=settings["alpha"],
            c=settings["c"],
            dropout=settings["hidden_dropout_prob"],
            attention_dropout=settings["attn_dropout_prob"],
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
