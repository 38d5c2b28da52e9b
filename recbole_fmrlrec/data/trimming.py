"""Padding that RecBole's sequential models need not compute: the key ``trim_batches``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_ATTENTION = "masks padding by its item 0, counts positions from the left"
_RECURRENT = "reads from left to right, and its last output at item_length - 1"
_GRAPH = "makes a graph of each row's own items, and reads the last one at item_length - 1"

#: Models that compute the same from lists cut to any width that holds the rows, and why. The others
#: are built for the full width (Caser, HGN, DIN), count positions or attend from the end (STAMP,
#: LightSANs, NextItNet), average over padding (HRM, NPE), or go back to the whole dataset (FEARec).
TRIMMABLE = {
    **dict.fromkeys(["SASRec", "SASRecF", "FDSA", "CORE", "BERT4Rec"], _ATTENTION),
    **dict.fromkeys(["GRU4Rec", "GRU4RecF", "GRU4RecKG", "KSR", "NARM"], _RECURRENT),
    **dict.fromkeys(["fMRLRec", "fMRLRecID"], _RECURRENT),
    **dict.fromkeys(["SRGNN", "GCSAN"], _GRAPH),
}

#: Rows go into groups of at most these shares of the longest row.
SHARES = (0.125, 0.25, 0.5, 1.0)


def encode_by_length(model: Any) -> None:
    """Let a model of RecBole encode the rows of a batch in groups of like length.

    One row of full length, and a large batch nearly always holds one, makes every row as wide. In
    groups that are cut to their own longest row most padding is gone: on Amazon Beauty five of six
    positions are padding. The outputs are the same up to the order of sums in float32; dropout
    draws other numbers, since shapes differ.

    Args:
        model: one of `TRIMMABLE`, whose ``forward`` takes ``item_seq`` ``(B, L)``, padded on the
            right, and other arguments of a row each, and returns ``(B, d)`` or, for every position,
            ``(B, L, d)``; behind a row's last item that is 0 then. It is changed.
    """
    forward = model.forward

    def grouped(item_seq: Tensor, *others: Tensor) -> Tensor:
        lengths = (item_seq != 0).sum(1).clamp(min=1)
        edges = (torch.tensor(SHARES) * int(lengths.max())).ceil().to(lengths)
        group = torch.bucketize(lengths, edges)
        rows = [torch.nonzero(group == n).flatten() for n in range(len(SHARES))]
        parts = [
            forward(item_seq[at, : int(lengths[at].max())], *(other[at] for other in others))
            for at in rows
            if len(at)
        ]
        if parts[0].dim() == 3:
            parts = [functional.pad(x, (0, 0, 0, item_seq.shape[1] - x.shape[1])) for x in parts]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    model.forward = grouped
