"""One event of a log, as every raw format gives it."""

from __future__ import annotations

from typing import NamedTuple


class Interaction(NamedTuple):
    """One event; without a timestamp it comes after the user's earlier ones in the file."""

    user: str
    item: str
    timestamp: int | float | None = None
    rating: float | None = None
    part: int | None = None  # 0 training, 1 validation, 2 test, where the source has a split
    dated: bool = False  # the timestamp was written as a date and counts seconds
    line: int = 0  # where it stands in the source's file
