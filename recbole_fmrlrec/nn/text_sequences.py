"""Histories as one text: the tokens of the items behind each other, read by a text encoder.

RecFormer's formulation (Li et al., KDD 2023, arXiv 2305.13731, section 2.1): a first token that
stands for the whole, then the tokens of the newest item, those of the one before it, and so on.
A token's vector is the sum of its word's, that of its kind (first token, name or value of an
attribute) and that of its item's place; the encoder adds its own positions.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from torch import Tensor, nn

#: Kinds of tokens.
FIRST, NAME, VALUE = range(3)


class ItemTokens(NamedTuple):
    """The tokens of every item, row 0 (the padding) without any.

    Attributes:
        ids: ``(N+1, W)`` numbers of tokens, filled up with anything.
        kinds: ``(N+1, W)`` `NAME` or `VALUE`.
        counts: ``(N+1,)`` how many there are.
    """

    ids: Tensor
    kinds: Tensor
    counts: Tensor


class TextRows(NamedTuple):
    """Texts padded on the right, ``(B, W)`` each.

    Attributes:
        ids: numbers of tokens.
        kinds: kinds of tokens.
        places: the place of a token's item, 1 for the newest; 0 for the first token.
        there: whether it is a token, and no padding.
    """

    ids: Tensor
    kinds: Tensor
    places: Tensor
    there: Tensor


def lay_out_texts(
    tokens: ItemTokens, item_seq: Tensor, lengths: Tensor, first: int, longest: int
) -> TextRows:
    """The texts of histories, as wide as the longest of them.

    Args:
        tokens: of all items.
        item_seq: ``(B, L)`` items, the oldest first, padded on the right.
        lengths: items of each row ``(B,)``.
        first: the number of the first token; it fills the padding too.
        longest: tokens at most, the first one included; the oldest ones are left out.
    """
    slot = torch.arange(item_seq.shape[1], device=item_seq.device)
    newest_first = (lengths[:, None] - 1 - slot).clamp(min=0)
    items = item_seq.gather(1, newest_first)
    counts = torch.where(slot < lengths[:, None], tokens.counts[items], 0)
    ends = counts.cumsum(1)
    width = min(longest - 1, int(ends[:, -1].max()))
    at = torch.arange(width, device=item_seq.device).expand(len(item_seq), -1).contiguous()
    there = at < ends[:, -1:]
    # The slot of the item that a token belongs to; items without tokens have none.
    slots = torch.searchsorted(ends, at, right=True).clamp(max=item_seq.shape[1] - 1)
    offset = (at - (ends - counts).gather(1, slots)).clamp(max=tokens.ids.shape[1] - 1)
    item = items.gather(1, slots)
    parts = (tokens.ids[item, offset], first), (tokens.kinds[item, offset], FIRST), (slots + 1, 0)
    ids, kinds, places = (
        nn.functional.pad(torch.where(there, part.long(), fill), (1, 0), value=fill)
        for part, fill in parts
    )
    return TextRows(ids, kinds, places, nn.functional.pad(there, (1, 0), value=True))


class TextSequenceEncoder(nn.Module):
    """A text encoder that knows kinds of tokens and places of items.

    Args:
        body: a transformer of the ``transformers`` library without a pooling layer. It takes
            ``inputs_embeds`` and ``attention_mask``, and gives ``last_hidden_state``.
        max_items: items of a history.
        init_std: the standard deviation of what is new at the start.

    Attributes:
        width: that of the outputs.
    """

    def __init__(self, body: nn.Module, max_items: int, init_std: float) -> None:
        super().__init__()
        self.body = body
        width = self.words.weight.shape[1]
        self.kind_embedding = nn.Embedding(3, width)
        self.place_embedding = nn.Embedding(max_items + 1, width)
        for table in (self.kind_embedding, self.place_embedding):
            nn.init.normal_(table.weight, std=init_std)
        self.width = int(body.config.hidden_size)  # type: ignore[union-attr, arg-type]
        # Longformer's attention is local but for the tokens that this names.
        self._globally = "global_attention_mask" in inspect.signature(body.forward).parameters

    @property
    def words(self) -> nn.Embedding:
        """The encoder's own vectors of tokens."""
        table: nn.Embedding = self.body.get_input_embeddings()  # type: ignore[operator]
        return table

    def forward(self, rows: TextRows) -> Tensor:
        """The output ``(B, d)`` at the first token of each text."""
        x = self.words(rows.ids) + self.kind_embedding(rows.kinds)
        x = x + self.place_embedding(rows.places)
        more = {}
        if self._globally:
            more["global_attention_mask"] = torch.zeros_like(rows.ids)
            more["global_attention_mask"][:, 0] = 1
        found = self.body(inputs_embeds=x, attention_mask=rows.there.long(), **more)
        first: Tensor = found.last_hidden_state[:, 0]
        return first
