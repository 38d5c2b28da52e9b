"""Faults of RecBole 1.2.1's BERT4Rec: a part of :mod:`recbole_fmrlrec.compat`.

What the model is to do is said by Sun et al., "BERT4Rec: Sequential Recommendation with
Bidirectional Encoder Representations from Transformer", CIKM 2019 (arXiv 1904.06690), section 3.
The model is patched when it is imported: importing it here would import all sequential models.
"""

from __future__ import annotations

import functools
from typing import Any

from recbole_fmrlrec.compat.imports import when_imported

_BERT4REC = "recbole.model.sequential_recommender.bert4rec"


def masks_alone_are_ranked() -> None:
    """BERT4Rec ranks all items at ten positions of each row, most of which hold no mask.

    ``mask_ratio * MAX_ITEM_LIST_LENGTH`` logits over all items are made for each row, and those
    that stand for no mask are multiplied by 0: on Amazon Beauty nine of ten, gigabytes at a time. A
    batch without a mask has the loss 0 / 0, which ends the training. Here the masks alone are
    ranked, by `recbole_fmrlrec.nn.loss`: the same loss and gradients up to the order of sums, and 0
    for a batch without a mask. Obsolete when RecBole selects the masks before it makes the logits.
    """
    when_imported(_BERT4REC, _rank_masks)


def _rank_masks(module: Any) -> None:
    original = module.BERT4Rec.calculate_loss
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def calculate_loss(self: Any, interaction: Any) -> Any:
        import torch
        from torch.nn import functional

        from recbole_fmrlrec.nn.loss import nested_cross_entropy

        index, items = interaction[self.MASK_INDEX], interaction[self.POS_ITEMS]
        row, place = (items > 0).nonzero(as_tuple=True)
        hidden = self.forward(interaction[self.MASK_ITEM_SEQ])[row, index[row, place]]
        if not len(row):
            return hidden.sum()
        hidden, items = functional.pad(hidden, (0, 1), value=1.0), items[row, place]
        vectors = self.item_embedding.weight[: self.n_items]
        table = torch.cat([vectors, self.output_bias[:, None]], dim=1)
        if self.loss_type == "CE":
            return nested_cross_entropy(hidden, table, items, (table.shape[1],))
        negatives = interaction[self.NEG_ITEMS][row, place]
        better, worse = (functional.embedding(ids, table) for ids in (items, negatives))
        gap = (hidden * better).sum(1) - (hidden * worse).sum(1)
        return -torch.log(1e-14 + torch.sigmoid(gap)).mean()

    module.BERT4Rec.calculate_loss = calculate_loss


def whole_histories_are_masked() -> None:
    """BERT4Rec trains neither a history's first item nor its last one.

    Rows hold a target and the items before it, and masks are drawn among these alone: what a user
    had last before the validation is never seen, not even as input. A mask at the first place,
    whose index is 0, is taken for none. Here the target stands at the end of its row, where half of
    the batches mask it, and a mask counts wherever it is. Obsolete when RecBole masks the whole
    training history, as section 3.6 of the paper has it.
    """
    from recbole.data.transform import MaskItemSequence

    original = MaskItemSequence.__call__

    @functools.wraps(original)
    def __call__(self: Any, dataset: Any, interaction: Any) -> Any:
        from recbole.data.interaction import Interaction

        length = self.config["MAX_ITEM_LIST_LENGTH"]
        rows, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        rows, lengths = followed_by(rows, lengths, interaction[self.ITEM_ID], length)
        masked = original(
            self, dataset, Interaction({self.ITEM_SEQ: rows, self.ITEM_SEQ_LEN: lengths})
        )
        made = (self.MASK_ITEM_SEQ, self.POS_ITEMS, self.NEG_ITEMS, self.config["MASK_INDEX"])
        interaction.update(Interaction({name: masked[name] for name in made}))
        return interaction

    MaskItemSequence.__call__ = __call__


def oldest_item_is_read() -> None:
    """BERT4Rec ranks without the oldest item of a history, however short that is.

    It makes room for the mask by dropping each row's first item; a history of one item is ranked
    from the mask alone. Here only a row of full length loses it. Obsolete when RecBole puts the
    mask behind rows that have room for it.
    """
    when_imported(_BERT4REC, _read_all)


def _read_all(module: Any) -> None:
    model = module.BERT4Rec
    if hasattr(model.predict, "__wrapped__"):
        return
    predict_before, rank_before = model.predict, model.full_sort_predict

    def output(self: Any, interaction: Any) -> Any:
        rows, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        mask = lengths.new_full(lengths.shape, self.mask_token)
        rows, lengths = followed_by(rows, lengths, mask, self.max_seq_length)
        return self.gather_indexes(self.forward(rows), lengths - 1)

    @functools.wraps(predict_before)
    def predict(self: Any, interaction: Any) -> Any:
        items = interaction[self.ITEM_ID]
        products = output(self, interaction) * self.item_embedding(items)
        return products.sum(dim=1) + self.output_bias[items]

    @functools.wraps(rank_before)
    def full_sort_predict(self: Any, interaction: Any) -> Any:
        items = self.item_embedding.weight[: self.n_items]
        return output(self, interaction) @ items.t() + self.output_bias

    model.predict, model.full_sort_predict = predict, full_sort_predict


def followed_by(rows: Any, lengths: Any, items: Any, length: int) -> tuple[Any, Any]:
    """Rows with one more item each; a row of the greatest length loses its first.

    Args:
        rows: ``(B, W)`` items, padded with 0 on the right.
        lengths: ``(B,)`` how many of them there are.
        items: ``(B,)`` what comes next.
        length: L, the greatest length, at least W.

    Returns:
        The rows ``(B, min(W + 1, L))``, and their lengths.
    """
    from torch.nn import functional

    wide = functional.pad(rows, (0, 1)).scatter(1, lengths[:, None], items[:, None])
    full = lengths == length
    wide = wide.roll(-1, dims=1).where(full[:, None], wide)[:, :length]
    return wide, (lengths + 1).clamp(max=length)
