"""Slices of the test rows, from what is known of each before the test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: Upper ends of the classes of history length; the last class has none.
HISTORY = (5, 10, 20, 50)
#: Shares of the training interactions that head and head + middle items have.
HEAD, MIDDLE = 1 / 3, 2 / 3

_LOWS = (1, *(high + 1 for high in HISTORY))
_CLASSES = (
    *(f"history {low}-{high}" for low, high in zip(_LOWS, HISTORY, strict=False)),
    f"history {_LOWS[-1]} and more",
)
#: Names of the slices that any dataset may have; beside them are ``without MODALITY``.
NAMES = (*_CLASSES, "head", "middle", "tail", "cold", "new user")
WITHOUT = "without "


def slices(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Masks ``(R,)`` of test rows by name; slices without a row are left out.

    - ``history 1-5`` ...: by the number of interactions before the target.
    - ``head``, ``middle``, ``tail``: by how often training saw the target. Head items are the most
      popular ones that make up the first third of all training interactions, and so on; equally
      popular items stay together.
    - ``cold``: training never saw the target.
    - ``new user``: training never saw the user, as can be where the split is one by time.
    - ``without text`` ...: the target has nothing of a modality that the dataset has.

    Args:
        rows: what `measure` has written: ``history``, ``popularity`` (R,), ``item_counts`` (N,),
            and perhaps ``new_user`` and ``without_MODALITY`` (R,).
    """
    found = _by_history(rows["history"])
    head, middle = popularity_bounds(rows["item_counts"])
    seen = rows["popularity"]
    found["head"] = seen >= head
    found["middle"] = (seen >= middle) & (seen < head)
    found["tail"] = (seen > 0) & (seen < middle)
    found["cold"] = seen <= 0
    if "new_user" in rows:
        found["new user"] = rows["new_user"].astype(bool)
    for name, mask in rows.items():
        if name.startswith("without_"):
            found[name.replace("_", " ")] = mask.astype(bool)
    return {name: mask for name, mask in found.items() if mask.any()}


def _by_history(history: np.ndarray) -> dict[str, np.ndarray]:
    at = np.searchsorted(_LOWS, history, side="right") - 1
    return {name: at == index for index, name in enumerate(_CLASSES)}


def popularity_bounds(counts: np.ndarray) -> tuple[int, int]:
    """The least training counts of a head item and of a middle item, at least 1.

    Args:
        counts: ``(N,)`` training interactions of each item.
    """
    ordered = np.sort(counts)[::-1].astype(np.int64)
    total = np.cumsum(ordered)
    if not len(ordered) or total[-1] == 0:
        return 1, 1
    at = [int(np.searchsorted(total, share * total[-1])) for share in (HEAD, MIDDLE)]
    return max(1, int(ordered[at[0]])), max(1, int(ordered[at[1]]))
