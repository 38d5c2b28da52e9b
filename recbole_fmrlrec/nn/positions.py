"""Positions of items in packed sequences: see `recbole_fmrlrec.nn.packing`."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.packing import Packing


def from_end(packing: Packing) -> Tensor:
    """How many items of its sequence follow each packed position, ``(T,)``.

    Rows padded on the left to one length have their last item at the same place, so that a position
    there is a distance to the end. The host knows the steps: no GPU is asked.
    """
    counts = torch.tensor(packing.batch_sizes)
    step = torch.repeat_interleave(torch.arange(len(counts)), counts)
    rank = torch.arange(len(step)) - (counts.cumsum(0) - counts)[step]
    # The sequence of a rank reaches as many steps as have more sequences than it.
    lengths = len(counts) - torch.searchsorted(counts.flip(0), rank, right=True)
    return send(lengths - 1 - step, packing.index.device)
