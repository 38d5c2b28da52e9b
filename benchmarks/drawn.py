"""Interactions drawn in the shape of Amazon Beauty, for figures that depend on shapes alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

#: The dataset whose shape it is.
REAL = "amazon-beauty"

#: The name of the dataset.
DRAWN = "beauty-shaped"
#: Beauty's users, items, and the fewest and the mean number of events of a user.
BEAUTY = (22_363, 12_101, 5, 8.88)
#: What `beauty_or_drawn` draws: Beauty's shape, and one for a short trial.
SHAPES = {False: BEAUTY, True: (3_000, 2_000, 5, 8.88)}


@contextmanager
def beauty_or_drawn(data_path: str, quick: bool) -> Iterator[tuple[str, str]]:
    """Folder and name of the data: Beauty where it is below ``data_path``, else drawn data.

    Args:
        data_path: the folder of datasets.
        quick: draw a smaller one in any case.
    """
    if not quick and (Path(data_path) / REAL / f"{REAL}.inter").is_file():
        yield data_path, REAL
        return
    with tempfile.TemporaryDirectory() as folder:
        write_drawn(Path(folder), *SHAPES[quick])
        yield folder, DRAWN


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
