"""Items that training does not know, because their first interactions come after it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def known_items(dataset: Any) -> Tensor | None:
    """The items 0..N-1 that a split by time lets training know of; None where that is all.

    The others are in no loss: draws pass over them, and a bias takes them out of the softmax.
    """
    cold: Tensor | None = getattr(dataset, "cold_items", None)
    if cold is None or not len(cold):
        return None
    known = torch.ones(dataset.item_num - 1, dtype=torch.bool)
    known[cold - 1] = False
    return torch.nonzero(known).flatten()


def cold_bias(known: Tensor | None, n_items: int) -> Tensor | None:
    """What takes all but the known items out of a softmax, ``(N,)``."""
    if known is None:
        return None
    bias = torch.full((n_items - 1,), torch.finfo(torch.float32).min / 4)
    bias[known] = 0.0
    return bias
