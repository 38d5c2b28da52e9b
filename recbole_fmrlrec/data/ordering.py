"""Stable orders of long columns."""

from __future__ import annotations

import numpy as np
import torch

_BLOCK = 1 << 22


def stable_order(values: np.ndarray) -> np.ndarray:
    """``np.argsort(values, kind="stable")``, in less than half of the time for whole numbers.

    torch sorts integers by their digits, numpy by comparisons. Where the numbers span less than
    2**31, as seconds do, they are sorted as int32, which takes half of the memory.

    Args:
        values: ``(M,)`` integers or floats.
    """
    if values.dtype.kind == "f" and not _are_whole(values):
        return np.argsort(values, kind="stable")
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    low = values.min()
    span = int(values.max()) - int(low)
    keys = np.empty(len(values), dtype=np.int32 if span < 2**31 else np.int64)
    # Floats of so small a span differ by what a float holds exactly.
    shift = low if span < 2**31 else values.dtype.type(0)
    for start in range(0, len(values), _BLOCK):
        keys[start : start + _BLOCK] = values[start : start + _BLOCK] - shift
    return torch.from_numpy(keys).sort(stable=True).indices.numpy()


def _are_whole(values: np.ndarray) -> bool:
    """Whether floats are whole numbers that int64 holds."""
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        if not (np.abs(block) < 2.0**63).all() or (np.trunc(block) != block).any():
            return False
    return True
