"""Progress bars on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(rows: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterable[T]:
    """Show a progress bar on standard error, or nothing where that is no terminal."""
    if not sys.stderr.isatty():
        return rows
    from tqdm import tqdm

    return tqdm(rows, desc=what, unit=f" {unit}", total=total, file=sys.stderr, leave=False)
