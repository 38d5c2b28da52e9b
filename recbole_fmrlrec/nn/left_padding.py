"""Rows padded on the left: what many authors' models see, where this package pads on the right."""

from __future__ import annotations

import torch
from torch import Tensor


def left_padded(item_seq: Tensor, lengths: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The last ``width`` items of right-padded rows, each at the right end of its row.

    Args:
        item_seq: ``(B, l)`` items, padded on the right.
        lengths: ``(B,)`` how many of a row they are.
        width: L, positions of the result.

    Returns:
        Items ``(B, L)``, 0 where there is none, and ``(B, L)`` where there is one.
    """
    place = torch.arange(-width, 0, device=item_seq.device) + lengths[:, None]
    valid = place >= 0
    return item_seq.gather(1, place.clamp(min=0)).masked_fill(~valid, 0), valid
