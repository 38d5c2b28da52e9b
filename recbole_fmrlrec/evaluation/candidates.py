"""Nested ranks where not every item is a candidate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_fmrlrec.evaluation.ranking import nested_mean_ranks


def candidate_mean_ranks(
    hidden: Tensor, table: Tensor, targets: Tensor, sizes: Sequence[int], candidates: Tensor | None
) -> Tensor:
    """Mean ranks ``(K, B)`` of targets among candidates, see `nested_mean_ranks`.

    Args:
        hidden: ``(B, d)``.
        table: ``(N+1, d)`` item vectors, row 0 the padding.
        targets: ``(B,)`` item ids. One that is no candidate itself comes after all of them, at the
            mean of the places that all such items and the padding share.
        sizes: nested sizes, ascending.
        candidates: item ids, ascending; None for 1 to N.
    """
    if candidates is None:
        return nested_mean_ranks(hidden, table[1:], targets - 1, sizes)
    place = torch.searchsorted(candidates, targets).clamp(max=len(candidates) - 1)
    ranks = nested_mean_ranks(hidden, table[candidates], place, sizes)
    after = (len(candidates) + 1 + len(table)) / 2
    return torch.where(candidates[place] == targets, ranks, ranks.new_tensor(after))
