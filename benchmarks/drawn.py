"""Interactions drawn in the shape of Amazon Beauty, for figures that depend on shapes alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: The name of the dataset.
DRAWN = "beauty-shaped"
#: Beauty's users, items, and the fewest and the mean number of events of a user.
BEAUTY = (22_363, 12_101, 5, 8.88)


def write_drawn(root: Path, users: int, items: int, fewest: int, mean: float) -> None:
    """Write interactions whose numbers are Beauty's; every item occurs.

    Args:
        root: the folder of datasets.
        users: number of users.
        items: number of items.
        fewest: events that a user has at least.
        mean: events that a user has on average; what is above ``fewest`` is geometric.
    """
    random = np.random.default_rng(0)
    counts = fewest - 1 + random.geometric(1 / (mean - fewest + 1), users)
    user = np.repeat(np.arange(users), counts)
    item = random.integers(items, size=len(user))
    item[random.permutation(len(user))[:items]] = np.arange(items)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"u{u}\ti{i}\t{t}" for t, (u, i) in enumerate(zip(user, item, strict=True))]
    (root / DRAWN).mkdir()
    (root / DRAWN / f"{DRAWN}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
