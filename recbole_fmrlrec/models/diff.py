"""DIFF as a RecBole sequential recommender.

Source: Kim et al., "DIFF: Dual Side-Information Filtering and Fusion for Sequential
Recommendation", SIGIR 2025 (arXiv 2505.13974).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.data.side_information import load_side_information
from recbole_fmrlrec.models.sequence_model import SequenceModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.diff import DIFFNetwork, alignment_loss
from recbole_fmrlrec.nn.feed_forward import normal_start


class DIFF(SequenceModel):
    """Sequences of items and of their attributes, filtered by frequency, fused in two ways.

    Attributes are columns of tokens of the items (``selected_features``), as RecBole's SASRecF and
    FDSA read them: categories, brand. A column's tokens have vectors of their own, and those of an
    item are pooled. An item that lacks a column has the zero vector there; a run says how many do.

    Trains on RecBole's row per prefix at its last position, as the authors do: filters and the
    fusion of scores read a whole row, so at any other position the model would have seen the item
    that it is to predict.

    From the paper, section 3: the filters with a learned weight of the high frequencies, the early
    fusion and that of attention scores, ``alpha``, the alignment of ids with attributes. From the
    authors' code: rows padded on the right; attributes are filtered from their own vectors
    in every block; one feed-forward layer for both sequences of a block; no dropout and no norm of
    attributes and positions before the first block; one beta for all dimensions; the alignment's
    temperature of 0.1, its softmax over a row's padding too, and its mean over all positions.

    What differs: the authors keep the padding among the candidates of the softmax, here they are
    the items alone, and the padding's vector stays the random one that it starts as. Vectors of
    attributes are trained, as the paper has it, and start as all others do: in the authors' code no
    optimiser sees them, and they stay what torch draws for a table, of deviation 1. There items
    without a brand share such a vector where the column is of type token, and so does the padding;
    items have the same attributes where their tokens are the same, which the authors find by a
    cosine of 1. They stop by NDCG@20.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary and the columns of its items.

    Raises:
        UsageError: ``selected_features`` names what is no column of tokens, or finds none.
        ValueError: ``alpha``, ``c``, ``fusion_type`` or ``n_heads`` is none that the model can
            have, or as `SequenceModel`.
    """

    #: Which items have the same attributes, ``(N+1,)``; 0 for those without any.
    kinds: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width, std = int(settings["hidden_size"]), float(settings["initializer_range"])
        self.width, self.pooling = width, str(settings["pooling_mode"])
        self.alignment_weight = float(settings["alignment_weight"])
        self.alignment_temperature = float(settings["alignment_temperature"])
        side = load_side_information(settings, dataset)
        self.attributes = list(side.tokens)
        for number, tokens in enumerate(side.tokens.values()):
            self.register_buffer(f"tokens_{number}", tokens, persistent=False)
        self.register_buffer("kinds", side.kinds, persistent=False)
        self.item_embedding = nn.Embedding(self.n_items, width)
        tables = (nn.Embedding(side.counts[name], width) for name in self.attributes)
        self.attribute_embeddings = nn.ModuleList(tables)
        normal_start(self, std)
        self.network = DIFFNetwork(
            width,
            self.max_seq_length,
            len(self.attributes),
            blocks=settings["n_layers"],
            heads=settings["n_heads"],
            inner_width=settings["inner_size"],
            c=settings["c"],
            alpha=settings["alpha"],
            fusion=settings["fusion_type"],
            dropout=settings["hidden_dropout_prob"],
            attention_dropout=settings["attn_dropout_prob"],
            init_std=std,
        )

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """``(C, (1+m) d)``: vectors of all items or of ``ids`` beside those of each attribute."""
        weight = self.item_embedding.weight
        if ids is not None:
            ids = send(ids, weight.device)
        parts = [weight if ids is None else self.item_embedding(ids)]
        for number, table in enumerate(self.attribute_embeddings):
            tokens = getattr(self, f"tokens_{number}")
            tokens = tokens if ids is None else tokens[ids]
            assert isinstance(table, nn.Embedding)
            pooled = functional.embedding_bag(
                tokens, table.weight, mode=self.pooling, padding_idx=0
            )
            parts.append(pooled)
        return torch.cat(parts, dim=1)

    def output_items(self, vectors: Tensor, ids: Tensor | None = None) -> Tensor:
        """The items' own vectors ``(C, d)``: attributes are not ranked."""
        return vectors[:, : self.width]

    def encode_last(self, table: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded rows of ``table``, ``(B, L)``."""
        ids, *attributes = self._sequences(table, item_seq, item_seq_len)
        return self.network(ids, attributes, item_seq_len, only_last=True)[:, 0]

    def _sequences(self, table: Tensor, item_seq: Tensor, lengths: Tensor) -> list[Tensor]:
        """``(B, L, d)`` of items and of each attribute; where there is no item, the padding's."""
        padding = self.item_embedding.weight[0].detach()
        return self._spread(table.split(self.width, dim=1), padding, item_seq, lengths)

    def _spread(
        self, tables: Sequence[Tensor], padding: Tensor, item_seq: Tensor, lengths: Tensor
    ) -> list[Tensor]:
        """``(B, L, d)`` of each table; where there is no item, the padding of the first, else 0."""
        more = self.max_seq_length - item_seq.shape[1]  # the filters are of the full length
        place, none = torch.arange(self.max_seq_length, device=item_seq.device), len(tables[0])
        rows = torch.where(place < lengths[:, None], functional.pad(item_seq, (0, more)), none)
        paddings = [padding, *(torch.zeros_like(padding) for _ in tables[1:])]
        return [
            functional.embedding(rows, torch.cat([table, empty[None]]), padding_idx=none)
            for table, empty in zip(tables, paddings, strict=True)
        ]

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The loss over items, plus the weighted alignment of a batch's items with attributes."""
        loss = super().calculate_loss(interaction)
        if not self.attributes or not self.alignment_weight:
            return loss
        item_seq, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        read, place = item_seq.unique(return_inverse=True)
        vectors, *attributes = self.item_vectors(read).split(self.width, dim=1)
        padding = functional.normalize(self.item_embedding.weight[0].detach(), dim=0)
        tables = [functional.normalize(x) for x in (vectors, torch.stack(attributes).sum(0))]
        items, together = self._spread(tables, padding, place, lengths)
        kinds = functional.pad(self.kinds[item_seq], (0, items.shape[1] - item_seq.shape[1]))
        same = (kinds[:, :, None] == kinds[:, None]) & (kinds[:, None] != 0)
        aligned = alignment_loss(items, together, same, lengths, self.alignment_temperature)
        return loss + self.alignment_weight * aligned
