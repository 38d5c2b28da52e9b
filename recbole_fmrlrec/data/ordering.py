"""Stable orders of long columns."""

from __future__ import annotations

import numpy as np
import torch


def stable_order(values: np.ndarray) -> np.ndarray:
    """``np.argsort(values, kind="stable")``, in less than half of the time for whole numbers.

    torch sorts integers by their digits, numpy by comparisons.

    Args:
        values: ``(M,)`` integers or floats.
    """
    if values.dtype.kind == "f":
        whole = _whole(values)
        if whole is None:
            return np.argsort(values, kind="stable")
        values = whole
    writable = np.require(values, requirements=["C", "W"])  # torch warns of others
    return torch.from_numpy(writable).sort(stable=True).indices.numpy()


def _whole(values: np.ndarray) -> np.ndarray | None:
    """Floats as int64, where every one is a whole number that int64 holds; else None."""
    if not (len(values) and np.isfinite(values).all() and np.abs(values).max() < 2.0**63):
        return None
    whole = values.astype(np.int64)
    return whole if np.array_equal(whole, values) else None
