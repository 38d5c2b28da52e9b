"""BSARec as a RecBole sequential recommender.

Source: Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the
Self-Attention", AAAI 2024 (arXiv 2312.10325).
"""

from __future__ import annotations

from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.models.whole_row import WholeRowModel
from recbole_fmrlrec.nn.bsarec import BSARecNetwork
from recbole_fmrlrec.nn.whole_row import WholeRowNetwork


class BSARec(WholeRowModel):
    """Self-attention and a filter that rescales high frequencies, mixed in every block.

    Trains on RecBole's row per prefix at its last position, as the authors do: the filter reads a
    whole row, so at any other position the model would have seen the item that it is to predict.

    From the paper: the mix with the share ``alpha``, the filter with ``c`` and a learned
    beta for each dimension, the softmax over all items. From the authors' code: rows are padded on
    the left to one length, and the filter reads the padding too; post-norm blocks with a GELU layer
    four times as wide; all weights start normal with deviation 0.02.

    What differs: the authors also train the first item of a history, from a row of padding alone,
    take the targets from a user's last 50 items only, and keep the padding among the candidates,
    which trains its vector as that of an item that nobody takes; here it stays the random one that
    it starts as. They stop by NDCG@20 without the items of the histories. Here the rows and the
    candidates are those of every other model.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary.

    Raises:
        ValueError: ``alpha``, ``c`` or ``n_heads`` is none that the model can have, or as
            `SequenceModel`.
    """

    def make_network(self, settings: ModelSettings, width: int, std: float) -> WholeRowNetwork:
        """Its positions and blocks."""
        return BSARecNetwork(
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
